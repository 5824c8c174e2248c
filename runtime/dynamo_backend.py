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


def backend(
    gm: fx.GraphModule, example_inputs: Sequence[Any], *, options: Mapping[str, Any] | None = None
) -> Any:
    """Compile a graph for training under a memory budget: the backend `fastsa` of `torch.compile`.

    torch finds it by its entry point `torch_dynamo_backends` and calls it for each traced graph;
    it wraps what is raised here in `BackendCompilerFailed`. With FASTSA_DISABLE in the environment,
    or with a setting of the config that makes no sense, the graph trains unplanned.

    Args:
        gm: A graph that Dynamo has traced.
        example_inputs: Inputs of the graph.
        options: `budget` (bytes, "40GiB", "50%" of the unplanned peak, or "auto") is required
            unless the config has one. The others are `time_limit` and `rank_timeout` (seconds),
            `threads`, `seed`, `best_effort` and `store`: see `fastsa.runtime.settings.Settings`.

    Returns:
        What runs in place of the graph.

    Raises:
        BadInput: An option makes no sense.
        InfeasibleBudget: No plan can meet the budget, or none was found in the time given. Not in
            mid-training: there the graph trains unplanned, with a warning.
    """
    if disabled():
        return compile_region(Region(), gm, example_inputs)
    try:
        configured = config.of_jobs()
    except BadInput as error:  # no mistake of the program's: it trains
        warn(f"training unplanned: {error}")
        return compile_region(Region(), gm, example_inputs)
    settings = from_options(options or {}, configured)
    if settings not in _jobs:
        _jobs[settings] = Job(settings)
    job = _jobs[settings]
    batch = [t for t in example_inputs if not isinstance(t, torch.nn.Parameter)]
    job.describe("compiled model", signature(batch, {}))  # the backend is not told which
    return job.compile(gm, example_inputs)
