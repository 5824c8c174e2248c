"""A graph in the form the native core takes."""

from __future__ import annotations

from fastsa.errors import BadInput
from fastsa.planner import _core
from fastsa.planner.graph import Graph


def native(graph: Graph) -> _core.Graph:
    """The graph for the core. Raises BadInput if the core finds it senseless."""
    try:
        return _core.Graph(
            [segment.region for segment in graph.segments],
            [value.bytes for value in graph.values],
            [
                (
                    op.seconds,
                    op.workspace_bytes,
                    op.segment,
                    op.recomputable,
                    op.inputs,
                    op.outputs,
                )
                for op in graph.ops
            ],
            graph.outputs,
        )
    except (_core.BadRequest, TypeError) as error:  # TypeError: a number out of the core's range
        raise BadInput(f"graph {graph.name}: {error}", hint="check the graph's file") from error
