"""The process behind `fork_server.ForkServer`: imports torch once, then forks for each program.

python fork_server_main.py DESCRIPTOR [MODULE ...]
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import runpy
import signal
import socket
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

# All that a planned training imports on its way.
MODULES = (
    "fastsa.cli.main",
    "fastsa.cli.check",
    "fastsa.cli.profile",
    "fastsa.cli.run",
    "fastsa.daemon.client",
    "fastsa.planner.explain.peak",
    "fastsa.profiler.recorder",
    "fastsa.instrumentation.synchronized_stop",
    "fastsa.report.out_of_memory",
    "fastsa.report.profile_text",
    "fastsa.report.ran",
    "fastsa.report.recorded",
    "fastsa.runtime.dynamo_backend",
    "fastsa.runtime.launch",
    "fastsa.runtime.equivalence.observer",
    "fastsa.runtime.ranks",
    "sqlite_utils",
    "torch._dynamo",
    "torch._functorch.aot_autograd",
    "torch._inductor.codecache",
    "torch._inductor.codegen.cuda_combined_scheduling",
    "torch._inductor.compile_fx",
    "torch._inductor.scheduler",
    "torch.profiler",
)
# The same, of one version of torch or another.
OF_TORCH = (
    "torch._dynamo.backends.cudagraphs",
    "torch._dynamo.backends.distributed",
    "torch._dynamo.backends.inductor",
    "torch._dynamo.backends.onnxrt",
    "torch._dynamo.backends.tensorrt",
    "torch._dynamo.backends.torchxla",
    "torch._dynamo.backends.tvm",
    "torch._dynamo.dce_extra_outputs",
    "torch._dynamo.repro.after_dynamo",
    "torch._functorch._aot_autograd.subclass_codegen",
    "torch._higher_order_ops.passes.inline_invoke_subgraph",
    "torch._inductor.codegen.cpp_wrapper_gpu",
    "torch._inductor.codegen.halide",
    "torch._inductor.codegen.mps",
    "torch._inductor.codegen.pallas",
    "torch._inductor.codegen.python_wrapper_mtia",
    "torch._inductor.codegen.wrapper_fxir",
    "torch._inductor.codegen.xpu.xpu_combined_scheduling",
    "torch._inductor.compiler_bisector",
    "torch._subclasses.schema_check_mode",
    "torch.distributed.tensor.experimental._attention",
    "torch.export._trace",
    "torch.fx.experimental.validator",
)


def preload(modules: list[str]) -> None:
    # As `fastsa` does before it imports torch.
    os.environ.update(KINETO_LOG_LEVEL="99", TORCH_CPP_LOG_LEVEL="ERROR")
    for name in (*MODULES, *modules):
        importlib.import_module(name)
    for name in OF_TORCH:
        with suppress(ImportError):
            importlib.import_module(name)
    # A hash over torch's files, which every region compiled asks for.
    sys.modules["torch._inductor.codecache"].torch_key()
    gc.collect()
    gc.freeze()  # a child's collector would copy every page that it looks at


def serve(server: socket.socket) -> dict[str, Any]:
    """Answer requests; comes back in a child only, with its own."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the minders
    while True:
        head, descriptors, _, _ = socket.recv_fds(server, 8, 3)
        if not head:
            os._exit(0)
        size = int.from_bytes(head, "big")
        request: dict[str, Any] = json.loads(server.recv(size, socket.MSG_WAITALL))
        if not os.fork():
            server.close()
            return mind(request, *descriptors)
        for descriptor in descriptors:
            os.close(descriptor)


def mind(request: dict[str, Any], answers: int, out: int, err: int) -> dict[str, Any]:
    """Fork the program, and say which process it is and how it ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    child = os.fork()
    if not child:
        os.close(answers)
        become(request, out, err)
        return request
    os.write(answers, child.to_bytes(8, "big"))
    _, status = os.waitpid(child, 0)
    os.write(answers, f"{os.waitstatus_to_exitcode(status)}\n".encode())
    os._exit(0)


def become(request: dict[str, Any], out: int, err: int) -> None:
    """In the child: take the request's place in the world."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    for number, descriptor in enumerate((nothing, out, err)):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    if "coverage" in sys.modules:  # measured: by the test that asks, not by the server's first one
        measured = sys.modules["coverage"].Coverage.current()
        if measured is not None:
            measured.switch_context(os.environ.get("COVERAGE_TEST", ""))
    sys.argv = request["argv"]
    sys.path[0] = os.fspath(Path(sys.argv[0]).parent)
    sys.path[1:1] = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))


def run(program: str) -> NoReturn:
    """Run a program as Python does, and end as it does, but for the interpreter's own end."""
    code = 0
    try:
        runpy.run_path(program, run_name="__main__")
    except SystemExit as ending:
        code = exit_code(ending)
    except BaseException as error:
        trace = error.__traceback__
        while trace is not None and trace.tb_frame.f_code.co_filename != program:
            trace = trace.tb_next
        sys.excepthook(type(error), error, trace or error.__traceback__)
        code = -signal.SIGINT if isinstance(error, KeyboardInterrupt) else 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    flush()
    if code < 0:
        signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


def exit_code(ending: SystemExit) -> int:
    """As Python takes it: a number, nothing, or a text for stderr."""
    if ending.code is None:
        return 0
    if isinstance(ending.code, int):
        return ending.code & 0xFF
    print(ending.code, file=sys.stderr)
    return 1


def flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):  # closed, or nobody reads it any more
            continue


if __name__ == "__main__":
    socket_number, *more = sys.argv[1:]
    preload(more)
    serving = socket.socket(fileno=int(socket_number))
    run(serve(serving)["argv"][0])
