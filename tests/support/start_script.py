"""Trains a small model under a plan and prints, as JSON, every bit of it and where it came from."""

from __future__ import annotations

import hashlib
import json
import sys

import torch
from torch._dynamo.utils import counters

from support.models import CASES


class Bits:
    """A hash of tensors, none of which is kept: that would be memory of the job's."""

    def __init__(self) -> None:
        self.found = hashlib.sha256()

    def add(self, *tensors: torch.Tensor) -> None:
        for tensor in tensors:
            flat = tensor.detach().reshape(-1).contiguous()
            self.found.update(flat.view(torch.uint8).numpy().tobytes())


def main() -> None:
    name, budget, steps = sys.argv[1], sys.argv[2], 5
    torch.manual_seed(0)
    case = CASES[name]
    model = case.make()
    options: dict[str, object] = {"budget": budget, "time_limit": 0.3, "best_effort": True}
    if budget == "none":
        model.compile(backend="aot_eager_default_partitioner")
    else:
        model.compile(backend="fastsa", options=options)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    bits = Bits()
    for _ in range(steps):
        optimizer.zero_grad()
        loss = case.loss(model)
        loss.backward()
        bits.add(loss, *(p.grad for p in model.parameters() if p.grad is not None))
        bits.add(*model.buffers())
        del loss
        optimizer.step()
    bits.add(torch.rand(3))  # the generator is where it would be
    # Not earlier: the module would hide the function of its name from torch's entry points.
    from fastsa.runtime.dynamo_backend import _jobs

    for job in _jobs.values():
        job.close()
    runs = [job.record.run for job in _jobs.values() if job.record.run is not None]
    sys.stdout.write(
        json.dumps(
            {
                "bits": bits.found.hexdigest(),
                "hits": counters["aot_autograd"]["autograd_cache_hit"],
                "traced": counters["aot_autograd"]["autograd_cache_miss"]
                + counters["aot_autograd"]["autograd_cache_bypass"],
                "plans": [run.plan for run in runs],
                "peaks": [[run.predicted_peak_bytes, run.measured_peak_bytes] for run in runs],
                "recomputed": sum(
                    len(d.plan.sequence) - len(d.graph.ops)
                    for job in _jobs.values()
                    for d in job.decisions
                ),
            }
        )
    )


if __name__ == "__main__":
    main()
