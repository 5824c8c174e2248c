"""Region: one captured piece of a model, compiled op for op, that says when its parts run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal, Protocol

from torch import fx
from torch._dynamo import convert_frame
from torch._dynamo.backends.common import aot_autograd
from torch._dynamo.exc import BackendCompilerFailed
from torch._functorch.partitioners import default_partition
from torch._guards import CompileContext, TracingContext
from torch.fx._lazy_graph_module import _LazyGraphModule
from torch.fx.graph import _BoxedCodeGen

from fastsa.capture.faithful import Boxed, faithful, own_draws, run_backward
from fastsa.capture.tangents import Tangents, write_down
from fastsa.errors import warn

Modules = tuple[fx.GraphModule, fx.GraphModule]
Part = Literal["forward", "backward", "inference"]


class MakeCode(Protocol):
    """Makes a compiled graph of a region a function."""

    def __call__(self, region: Region, module: fx.GraphModule, part: Part) -> Boxed:
        """`part` is what the graph is of the region."""


class Region:
    """Base of what is done with one region. `partition` makes its forward and backward.

    The other methods are told when the two run; what they raise becomes a warning.
    """

    tangents: Tangents | None = None

    def partition(self, joint: fx.GraphModule, num_fwd_outputs: int) -> Modules:
        """Split the joint graph. The base class does what torch does when nothing is planned."""
        return own_draws(*default_partition(joint, (), num_fwd_outputs=num_fwd_outputs))

    def backward_compiled(self, module: fx.GraphModule) -> None:
        """The backward's graph, traced or out of torch's cache, is about to become a function."""
        self.tangents = Tangents.of(module)

    def forward_begins(self, arguments: Sequence[Any]) -> None:
        """The forward is about to run. References to its arguments must not be kept."""

    def forward_ended(self, outputs: Sequence[Any]) -> None:
        """The forward has run; `outputs` are what the script gets, then what is saved."""

    def backward_begins(self, arguments: Sequence[Any]) -> None:
        """The backward is about to run; `arguments` are what was saved, then the tangents.

        A reference to one of them that is kept keeps its memory.
        """

    def backward_ended(self, gradients: Sequence[Any]) -> None:
        """The backward has run."""


def code(region: Region, module: fx.GraphModule, part: Part) -> Boxed:
    """A graph as a function that tells its region when it runs."""
    if part == "inference":
        return boxed(module)
    if part == "forward":
        return _reported(boxed(module), _forward_begins(region), region.forward_ended)
    region.backward_compiled(module)
    backward = partial(run_backward, module, boxed(module))
    return _reported(backward, _backward_begins(region), region.backward_ended)


def _forward_begins(region: Region) -> Hook:
    def begins(arguments: list[Any]) -> None:
        if region.tangents is not None:
            region.tangents.may_be_missing()
        region.forward_begins(arguments)

    return begins


def _backward_begins(region: Region) -> Hook:
    def begins(arguments: list[Any]) -> None:
        if region.tangents is not None:
            region.tangents.fill(arguments)
        region.backward_begins(arguments)

    return begins


def compile_region(
    region: Region, gm: fx.GraphModule, example_inputs: Sequence[Any], make_code: MakeCode = code
) -> Any:
    """Compile a Dynamo graph through AOTAutograd under a region's partition.

    Without gradients (evaluation) there is no joint graph: the graph runs as it is.
    """
    partitioned = False

    def partition(
        joint: fx.GraphModule, joint_inputs: object, *, num_fwd_outputs: int, **ignored: object
    ) -> Modules:
        nonlocal partitioned
        partitioned = True
        joint.graph.eliminate_dead_code()
        joint.recompile()
        forward, backward = region.partition(joint, num_fwd_outputs)
        region.tangents = write_down(joint, backward)
        return forward, backward

    def compile_forward(module: fx.GraphModule, inputs: object) -> Boxed:
        _donate_nothing()
        return make_code(region, module, "forward" if partitioned else "inference")

    def compile_backward(module: fx.GraphModule, inputs: object) -> Boxed:
        return make_code(region, module, "backward")

    compiler = aot_autograd(
        fw_compiler=compile_forward,
        bw_compiler=compile_backward,
        partition_fn=partition,
        keep_inference_input_mutations=True,
    )
    with faithful():
        return compiler(gm, example_inputs)


def _donate_nothing() -> None:
    """To be called while the forward is compiled.

    With saved tensors to donate, which only inductor makes use of, torch refuses a backward that
    retains the graph.
    """
    context = TracingContext.try_get()
    if context is not None and context.fw_metadata is not None:
        context.fw_metadata.bw_donated_idxs = []


def next_frame() -> int:
    """The number that the tracer gives to the next function it meets."""
    return convert_frame.FRAME_COUNTER


def covers_frame(gm: fx.GraphModule, frame: int) -> bool:
    """Whether a graph that is being compiled is all of the function that was given a number.

    If not, the tracer broke off in it, or left it aside for the functions it calls.
    """
    compiling = CompileContext.current_compile_id()
    broke_off = getattr(getattr(gm, "compile_subgraph_reason", None), "graph_break", False)
    return compiling is not None and compiling.frame_id == frame and not broke_off


def first_line(error: BaseException) -> str:
    """What an error says, without its pages of advice; of a failed backend, what failed in it."""
    if isinstance(error, BackendCompilerFailed):
        inner = error.inner_exception
        return f"{type(inner).__name__}: {first_line(inner)}"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


Hook = Callable[[list[Any]], None]


def boxed(module: fx.GraphModule) -> Boxed:
    """A graph as a function that frees each storage at its last use.

    Under the boxed calling convention the argument list is emptied at entry; otherwise the
    caller's references keep every saved tensor alive to the end of the backward.
    """
    module.graph.set_codegen(_BoxedCodeGen())
    module.recompile()
    # One that is lazy makes its forward in its first call, which the script's global hooks see.
    _LazyGraphModule.force_recompile(module)
    forward = module.forward

    def run(arguments: list[Any]) -> Sequence[Any]:
        result: Sequence[Any] = forward(arguments)
        return result

    run._boxed_call = True  # type: ignore[attr-defined]  # read by AOTAutograd
    return run


_run_count = 0


def region_run_count() -> int:
    """How often a forward or backward of any region has begun to run in this process."""
    return _run_count


def _reported(run: Boxed, begins: Hook, ended: Hook) -> Boxed:
    def run_and_report(arguments: list[Any]) -> Sequence[Any]:
        global _run_count
        _run_count += 1
        _safely(begins, arguments)
        outputs = run(arguments)
        _safely(ended, outputs)
        return outputs

    run_and_report._boxed_call = True  # type: ignore[attr-defined]
    return run_and_report


def _safely(hook: Callable[[Any], None], tensors: Sequence[Any]) -> None:
    try:
        hook(tensors)
    except Exception as error:  # noqa: BLE001  a failure of ours must not stop the job
        warn(f"{type(error).__name__}: {error}")
