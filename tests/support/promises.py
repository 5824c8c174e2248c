"""What docs/runtime.md and docs/reliability.md promise, and which tests hold it.

A test says so with `@pytest.mark.promise(id, ...)`, on a function or a class.
"""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from support.paths import ROOT, TESTS

RUNTIME = ROOT / "docs" / "runtime.md"
RELIABILITY = ROOT / "docs" / "reliability.md"

# By id: the words of docs/runtime.md.
OF_RUNTIME = {
    "budget-bytes": "bytes of the whole process on the device, as its allocator counts them",
    "budget-share": (
        "of the unplanned peak: the profile's measured one, or a predicted one if there is no "
        "profile"
    ),
    "budget-auto": "what the device has free for this process",
    "resident": (
        "With a profile the resident part is measured; without one it is what is alive at the "
        "first step (in CuPy's pools too) plus an estimate of the state the optimizer will make"
    ),
    "infeasible": (
        "A budget that no plan can meet ends the command with exit code 3 before the first step, "
        "naming the minimum and the op that sets it."
    ),
    "best-effort": "`--best-effort` trains at the lowest peak found instead, and says so.",
    "plan-lookup": (
        "A stored plan serves if graph, device, torch and CUDA version and planner version are the "
        "same and its peak fits; the fastest wins."
    ),
    "plan-better": (
        "If it was made for a budget more than 2% smaller than yours and is not proven optimal, "
        "fastsa plans again within `--time-limit` (5 s), starting from it, and keeps the better."
    ),
    "same-bits": (
        "Losses, gradients and buffers are bit-identical to torch's own compiled graph without a "
        "plan"
    ),
    "eager-bits": (
        "traced so that it computes what eager computes: the backward runs under the autocast that "
        "is active where `backward` is called, not under the forward's; draws that nobody reads "
        "are made; interpolation stays in one piece."
    ),
    "exact-order": (
        "The order is exactly the plan's; every storage is freed at its planned last use."
    ),
    "random-replay": (
        "Random ops draw in their original order; a repeated one runs from its saved generator "
        "state."
    ),
    "never-recomputed": "Never recomputed: ops that write",
    "script-freedom": (
        "A script may register and remove hooks, freeze and unfreeze layers, change a dropout, "
        "skip a bad batch by catching its exception, raise in a signal handler, turn warnings into "
        "errors, go on in threads and functions at exit: all as in `python`."
    ),
    "recompile-limit": "up to 64 times; after that the model runs unplanned, with a warning.",
    "tensor-subclass": "(a subclass of `torch.Tensor` that torch cannot trace) means unplanned",
    "plainly-unplanned": (
        "so does a call under `saved_tensors_hooks`, which would see what a plan saves, or inside "
        "a transform of `torch.func`."
    ),
    "tracing-limit": (
        "A function that takes the tracer more than two minutes, as a long loop does that it "
        "unrolls, runs as it is, and the model trains unplanned, with a warning."
    ),
    "second-order": (
        "where `create_graph=True` stands in them, the model trains unplanned, with a warning that "
        "names the line; where it is given another value, the first step runs as it is and is "
        "watched."
    ),
    "one-budget": (
        "One budget rules the whole of it, to the byte; recomputation stays inside its region."
    ),
    "micro-batches": "Of micro-batches that repeat the same forwards and backwards the last is in",
    "shared-regions": "runs in one order in all its calls",
    "step-seen": (
        "each region runs with as little memory as was found until the third step has been "
        "recorded; then the whole step is planned"
    ),
    "step-stored": "What was seen is stored: the next start knows it.",
    "step-too-large": (
        "If the step, once seen, turns out not to fit, the job goes on at the lowest peak found "
        "and says so; the next start is refused."
    ),
    "smaller-shapes": (
        "runs in the order it was planned in, if none of its storages is larger than then"
    ),
    "larger-shapes": "Larger ones are planned within the time limit, at most eight per region",
    "accumulation": (
        "A planned backward adds each gradient into its parameter's `.grad` in place, where it is "
        "made, so that the second set never exists; the bits are the same."
    ),
    "accumulation-seen": (
        "A gradient is returned to torch as ever when somebody could tell the difference"
    ),
    "unused-outputs": "Here a single zero takes their place",
    "measured-peak": (
        "The third training step is recorded through the allocator: its peak is compared with the "
        "prediction and stored as a *run*"
    ),
    "own-profiler": ("While a script uses `torch.profiler` itself, the peak is not measured."),
    "peak-warning": (
        "A measured peak that is above the predicted one by more than 1% and 1 MiB gives one "
        "warning."
    ),
    "margin": "a *margin* is stored for this graph on this device",
    "auto-tighter": (
        "With `auto`, a start that finds less memory free than an earlier one takes a tighter "
        "stored plan"
    ),
    "limit": "`FASTSA_LIMIT=8GiB` stands for a smaller device than there is.",
    "second-start": (
        "A job that starts again with the same model, shapes, budget and versions neither plans "
        "nor traces"
    ),
    "second-start-miss": "Another plan is another token, so a miss; so is another version of",
    "second-start-damage": "A damaged file of either kind is a miss: the model is traced.",
    "traced-always": "It is traced every time: with symbolic shapes, under `torch.distributed`",
    "fails-capture": "the model cannot be captured, or an op cannot be planned",
    "fails-store": "the store cannot be used | the plan is made and not kept, one warning",
    "fails-plan": "a stored plan is damaged, or fails the validator | a miss: planned again",
    "fails-script": "the script raises or exits | its own exception and exit code",
    "fails-memory": "it runs out of memory | the same, and beside it",
    "fails-otherwise": "anything else of ours | it trains unplanned, one warning",
    "backend": 'model = torch.compile(model, backend="fastsa", options={"budget": "40GiB"})',
    "backend-options": "An unknown option is an error.",
}

_FAULT = re.compile(r"^\| (\d+) \| (.+?) \| (.+?) \|", re.MULTILINE)


@dataclass(frozen=True)
class Promise:
    """Something that the docs say happens."""

    id: str
    page: Path
    text: str


@dataclass(frozen=True)
class Holder:
    """A test, or a class of tests, that holds promises."""

    path: Path
    names: tuple[str, ...]  # classes and the function
    promises: tuple[str, ...]
    nightly: bool

    @property
    def nodeid(self) -> str:
        """As pytest has it, without a parameter."""
        return "::".join((self.path.relative_to(ROOT).as_posix(), *self.names))


def promises() -> list[Promise]:
    """All that is promised, in the order of the pages."""
    faults = _FAULT.findall(RELIABILITY.read_text("utf-8"))
    return [
        *(Promise(name, RUNTIME, text) for name, text in OF_RUNTIME.items()),
        *(
            Promise(f"fault-{number}", RELIABILITY, f"{fault}: {effect}")
            for number, fault, effect in faults
        ),
    ]


def holders() -> dict[str, list[Holder]]:
    """By id of a promise: the tests that hold it."""
    found = defaultdict(list)
    for path in sorted(TESTS.glob("*/**/test_*.py")):
        for holder in _holders(path, ast.parse(path.read_text("utf-8")), (), nightly=False):
            for name in holder.promises:
                found[name].append(holder)
    return dict(found)


def _holders(
    path: Path, tree: ast.AST, outer: tuple[str, ...], *, nightly: bool
) -> Iterator[Holder]:
    for node in ast.iter_child_nodes(tree):
        if not isinstance(node, ast.ClassDef | ast.FunctionDef):
            continue
        marks = [found for each in node.decorator_list if (found := _mark(each)) is not None]
        late = nightly or any(name == "nightly" for name, _ in marks)
        kept = tuple(each for name, given in marks if name == "promise" for each in given)
        names = (*outer, node.name)
        if kept:
            yield Holder(path, names, kept, late or "nightly" in path.parts)
        if isinstance(node, ast.ClassDef):
            yield from _holders(path, node, names, nightly=late)


def _mark(decorator: ast.expr) -> tuple[str, tuple[str, ...]] | None:
    """The name and the texts of a `pytest.mark`."""
    call = decorator if isinstance(decorator, ast.Call) else None
    mark = call.func if call else decorator
    if not isinstance(mark, ast.Attribute) or ast.unparse(mark.value) != "pytest.mark":
        return None
    texts = [each.value for each in (call.args if call else []) if isinstance(each, ast.Constant)]
    return mark.attr, tuple(each for each in texts if isinstance(each, str))
