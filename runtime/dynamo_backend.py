"""Backend: `torch.compile(model, backend="fastsa", options={"budget": "40GiB"})`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import fx

from fastsa import config
from fastsa.capture.region import Region, compile_region
from fastsa.errors import BadInput, warn
from fastsa.profiler.assembly import signature
from fastsa.runtime.job import Job, disabled
from fastsa.runtime.settings import Settings, from_options

_jobs: dict[Settings, Job] = {}


def compile_graph(
    gm: fx.GraphModule, example_inputs: Sequence[Any], options: Mapping[str, Any]
) -> Any:
    """Compile one graph under `options` (see Settings). Raises BadInput, InfeasibleBudget."""
    if disabled():
        return compile_region(Region(), gm, example_inputs)
    try:
        configured = config.of_jobs()
    except BadInput as error:  # no mistake of the program's: it trains
        warn(f"training unplanned: {error}")
        return compile_region(Region(), gm, example_inputs)
    settings = from_options(options, configured)
    if settings not in _jobs:
        _jobs[settings] = Job(settings)
    job = _jobs[settings]
    batch = [t for t in example_inputs if not isinstance(t, torch.nn.Parameter)]
    job.shape = signature(batch, {})
    job.model = "compiled model"  # the backend is not told which
    return job.compile(gm, example_inputs)
