"""The capture of a test's model. As a program: prints the hash of its graph.

python capturing.py MODEL
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import fx

from fastsa.capture.joint_graph import Capture, capture
from fastsa.capture.region import Modules, Region, compile_region

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from support.models import CASES


class Capturing(Region):
    """Keeps the capture of a region that runs as it is."""

    def __init__(self) -> None:
        self.captured: list[Capture] = []

    def partition(self, joint: fx.GraphModule, num_fwd_outputs: int) -> Modules:
        """The two graphs, as torch would cut them."""
        self.captured.append(capture(joint, num_fwd_outputs, name="m", device_name="cpu"))
        return super().partition(joint, num_fwd_outputs)


def capture_of(name: str) -> Capture:
    """Compile a model of CASES, run it once, and return its only region's capture."""
    torch._dynamo.reset()
    region = Capturing()
    torch.manual_seed(0)
    model = CASES[name].make()
    model.compile(backend=lambda gm, inputs: compile_region(region, gm, inputs))
    CASES[name].loss(model).backward()
    torch._dynamo.reset()
    (only,) = region.captured
    return only


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.stdout.write(capture_of(sys.argv[1]).graph.hash())
