"""Runs programs in processes forked from one that has imported torch: each saves seconds.

A child is as good as new: torch has computed nothing and started no thread, and the child runs to
the end of this file as any program does, to its own exit code. Requests and answers are lines of
JSON. Arguments are further modules to import beforehand.
"""

from __future__ import annotations

import importlib
import json
import os
import runpy
import sys
from pathlib import Path
from typing import Any


def preload() -> None:
    # As `fastsa` does before it imports torch.
    os.environ.update(KINETO_LOG_LEVEL="99", TORCH_CPP_LOG_LEVEL="ERROR")
    import torch._dynamo
    import torch._functorch.aot_autograd
    import torch.profiler  # noqa: F401

    for name in sys.argv[1:]:
        importlib.import_module(name)


def become(request: dict[str, Any]) -> None:
    """In the child: take the request's place in the world."""
    for number, name in ((0, os.devnull), (1, request["stdout"]), (2, request["stderr"])):
        descriptor = os.open(name, os.O_RDWR | os.O_CREAT, 0o600)
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    sys.argv = request["argv"]
    sys.path[0] = os.fspath(Path(sys.argv[0]).parent)


def serve() -> dict[str, Any]:
    """Answer requests; comes back in a child only, with its own."""
    for line in sys.stdin:
        request: dict[str, Any] = json.loads(line)
        child = os.fork()
        if not child:
            return request
        _, status = os.waitpid(child, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()
    os._exit(0)


preload()
request = serve()
become(request)
runpy.run_path(request["argv"][0], run_name="__main__")
