"""Plan request: what a plan is made for: the graph of a region or of its step, and its job."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import msgspec
import torch

from fastsa.cache.profiles import ProfileSummary
from fastsa.cache.remote_session import remote_session
from fastsa.cache.store import Store
from fastsa.capture.accumulation import accumulating
from fastsa.capture.joint_graph import Capture
from fastsa.capture.op_timing import measure
from fastsa.errors import StoreUnusable, warn
from fastsa.instrumentation.device import device_name
from fastsa.instrumentation.storages import live_bytes, pending_optimizer_bytes
from fastsa.planner.graph import Graph
from fastsa.planner.step import region_names


class PlanRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What is decided on: a graph, and what is known of the job that runs it.

    `resident_bytes`: of the whole process, beside the graph's own; `summary`: of the profile that
    has the graph, if one has.
    """

    graph: Graph
    resident_bytes: int
    device: torch.device
    model: str
    shape: str
    captured_hash: str | None = None
    summary: ProfileSummary | None = None


def plan_request(
    captured: Capture,
    store: Store | None,
    *,
    model: str,
    shape: str,
    alone: bool = False,
    make_way: Callable[[], None] = lambda: None,
) -> PlanRequest:
    """What is known of a captured region: the step it is a part of, or (`alone`) its own graph.

    A graph that neither a profile nor an earlier job has measured is measured now, op by op, after
    `make_way`: that takes the profiler.
    """
    captured_hash, device = captured.graph.hash(), captured.device
    look = partial(known, captured_hash, device, store, model=model, shape=shape, alone=alone)
    found = look()
    if found is None and store:
        remote_session().fetch_graph(store, captured_hash, device_name(device))
        found = look()
    if found is None:
        make_way()
        graph = measure(captured)
        if store:
            if_possible(lambda: store.add_graph(graph, captured_hash), "a measured graph")
        remote_session().graph_made(graph, captured_hash)
        found = _subject(graph, captured_hash, device, store, model, shape)
    if region_names(found.graph):
        return found
    return msgspec.structs.replace(found, graph=accumulating(found.graph, captured.accumulated))


def known(
    captured_hash: str,
    device: torch.device,
    store: Store | None,
    *,
    model: str,
    shape: str,
    alone: bool = False,
) -> PlanRequest | None:
    """What a profile or an earlier job has measured of a captured region; None if none has."""
    if store is None:
        return None
    name = device_name(device)
    graph = None if alone else store.step_graph(captured_hash, name, model)
    graph = graph or store.measured_graph(captured_hash, name)
    if graph is None:
        return None
    return _subject(graph, captured_hash, device, store, model, shape)


def _subject(
    graph: Graph,
    captured_hash: str,
    device: torch.device,
    store: Store | None,
    model: str,
    shape: str,
) -> PlanRequest:
    summary = store.measured_profile(captured_hash, device_name(device)) if store else None
    return PlanRequest(
        graph=graph,
        resident_bytes=_resident_bytes(graph, device, summary),
        device=device,
        model=model,
        shape=shape,
        captured_hash=captured_hash,
        summary=summary,
    )


def _resident_bytes(graph: Graph, device: torch.device, summary: ProfileSummary | None) -> int:
    if region_names(graph):
        return graph.resident_bytes
    if summary is None:
        return live_bytes(device) + pending_optimizer_bytes(device)
    if device.type != "cuda":  # where counting means walking over all Python objects
        return summary.resident_bytes
    return max(summary.resident_bytes, live_bytes(device))


def if_possible(store: Callable[[], str], what: str) -> str | None:
    """Store something that is not to be lost, and made twice, because it cannot be stored."""
    try:
        return store()
    except StoreUnusable as error:
        warn(f"{what} is not stored: {error.message}")
        return None
