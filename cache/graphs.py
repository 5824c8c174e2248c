"""Graphs: of the steps and regions that were captured and measured."""

from __future__ import annotations

import sqlite3

from fastsa.cache import records, rows
from fastsa.cache.keys import bare, prefixed
from fastsa.cache.table import StoreTable, encode_graph
from fastsa.errors import StoreUnusable
from fastsa.planner.graph import Graph


class GraphTable(StoreTable):
    """The graphs of a store: of steps and regions that were captured and measured."""

    def add_graph(self, graph: Graph, captured_hash: str | None = None) -> str:
        """Store a graph of no profile.

        Args:
            graph: The graph to store.
            captured_hash: Hash of the graph as capture alone sees it: a job that captures that
                finds this one as its measured graph.

        Returns:
            The graph's hash (`sha256:...`).

        Raises:
            BadInput: The graph makes no sense or cannot be stored.
        """
        record = records.graph_record(graph, encode_graph(graph), captured_hash)

        def work(connection: sqlite3.Connection) -> None:
            connection.execute(
                """DELETE FROM graphs WHERE profile IS NULL
                   AND hash = ? AND captured_hash IS ? AND device IS ?""",
                [record["hash"], record["captured_hash"], record["device"]],
            )
            rows.insert_graph(connection, graph, record)

        self._write(work)
        return prefixed(record["hash"])

    def graph(self, graph_hash: str) -> Graph | None:
        """Read the latest stored graph with this hash; damaged ones are passed over.

        Args:
            graph_hash: The graph's hash.

        Returns:
            The graph, or None if there is no undamaged one.
        """
        where = "hash = ? ORDER BY number DESC"
        intact = self._intact("graph", Graph, where, [bare(graph_hash)], [])
        return next((graph for _, graph in intact), None)

    def known_graph(self, graph_hash: str) -> Graph:
        """Read a graph like `graph`, but raise if there is no undamaged one.

        Args:
            graph_hash: The graph's hash.

        Returns:
            The graph.

        Raises:
            StoreUnusable: There is no undamaged graph with this hash.
        """
        found = self.graph(graph_hash)
        if found is None:
            raise StoreUnusable(
                f"{self.path}: there is no undamaged graph {bare(graph_hash)[:12]}",
                hint="record a profile again",
            )
        return found

    def graph_hashes(self, *, loose: bool = False) -> list[tuple[str, str | None]]:
        """List the hashes of all graphs, in the order they came.

        Args:
            loose: Whether only graphs of no profile are listed.

        Returns:
            Of each graph the hash, without `sha256:`, and the captured hash, None if it has none.
        """
        which = "profile IS NULL" if loose else "TRUE"
        sql = f"SELECT hash, captured_hash FROM graphs WHERE {which} ORDER BY number"
        return [(row["hash"], row["captured_hash"]) for row in self._connection.rows(sql)]

    def measured_graph(self, captured_hash: str, device: str) -> Graph | None:
        """Find the latest measured graph of a captured one; counts as `graph.hit` or `graph.miss`.

        Args:
            captured_hash: Hash of the graph as capture alone sees it.
            device: Name of the device on which it was measured.

        Returns:
            The graph with measured seconds and workspace, or None.
        """
        where = "captured_hash = ? AND device = ? ORDER BY number DESC"
        damage: list[str] = []
        intact = self._intact("graph", Graph, where, [bare(captured_hash), device], damage)
        for _, graph in intact:
            self.count("graph.hit")
            return graph
        self.count("graph.miss.damaged" if damage else "graph.miss.absent")
        return None

    def step_graph(self, captured_hash: str, device: str, model: str) -> Graph | None:
        """Find the latest step graph of which this captured graph is a region.

        Args:
            captured_hash: Hash of the region's graph as capture alone sees it.
            device: Name of the device on which it was measured.
            model: Name of the model; its own step graphs come before those of others.

        Returns:
            The graph of the step, or None.
        """
        where = """number IN (SELECT graph FROM graph_regions WHERE captured_hash = ?)
                   AND captured_hash IS NULL AND device = ? ORDER BY name = ? DESC, number DESC"""
        intact = self._intact("graph", Graph, where, [bare(captured_hash), device, model], [])
        return next((graph for _, graph in intact), None)
