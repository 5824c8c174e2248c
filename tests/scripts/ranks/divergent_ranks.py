"""Ranks that do not do the same. Argument: how rank 1 differs, or `no`.

branch, shape: its model is another one from the start; later: a smaller batch in mid-training;
absent: it never trains; store: its store cannot be used; planner: rank 0's planner fails;
partition: it cannot run the plan.
"""

import os
import sys

import torch
import torch.distributed as dist
from together import GPT, RANK, STEPS, begin, end, say, train
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel


class Branching(GPT):
    """Another graph on rank 1, of the same parameters."""

    def forward(self, words: Tensor) -> Tensor:
        loss = super().forward(words)
        return loss.exp().log() if RANK else loss


def fails(*arguments: object, **more: object) -> None:
    raise RuntimeError("on purpose")


def break_here(how: str) -> None:
    if how == "store" and RANK == 1:
        os.environ["FASTSA_STORE"] = "/dev/null/store.db"
    if how == "planner" and RANK == 0:
        sys.modules["fastsa.runtime.selector"].plan = fails
    if how == "partition" and RANK == 1:
        sys.modules["fastsa.runtime.planned_region"].partition = fails


def rows(how: str, step: int) -> int:
    smaller = RANK == 1 and (how == "shape" or (how == "later" and step == 5))
    return 24 if smaller else 32


def main(how: str) -> None:
    if "fastsa.runtime.job" in sys.modules:
        break_here(how)
    begin()
    torch.manual_seed(0)
    model: nn.Module = Branching() if how == "branch" else GPT(0.1)
    if how != "absent":
        model = DistributedDataParallel(model)
    if how != "absent" or RANK == 0:
        train(model, STEPS, lambda step: rows(how, step))
    dist.barrier()
    say("through")
    end(model.parameters())


main(sys.argv[1])
