"""Graphs: of the steps and regions that were captured and measured."""

from __future__ import annotations

import sqlite3

from fastsa.cache import records, rows
from fastsa.cache.keys import bare, prefixed
from fastsa.cache.table import StoreTable, encode_graph
from fastsa.errors import StoreUnusable
from fastsa.planner.graph import Graph


class GraphTable(StoreTable):
    """of the steps and regions that were captured and measured."""

    def add_graph(self, graph: Graph, captured_hash: str | None = None) -> str:
        """Store a graph of no profile and return its hash (`sha256:...`).

        With `captured_hash`, a job that captures that graph finds this one as its measured graph.
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
        """The latest stored graph with this hash; a damaged one is passed over."""
        where = "hash = ? ORDER BY number DESC"
        intact = self._intact("graph", Graph, where, [bare(graph_hash)], [])
        return next((graph for _, graph in intact), None)

    def known_graph(self, graph_hash: str) -> Graph:
        """Like `graph`, but raises StoreUnusable when there is no undamaged one."""
        found = self.graph(graph_hash)
        if found is None:
            raise StoreUnusable(
                f"{self.path}: there is no undamaged graph {bare(graph_hash)[:12]}",
                hint="record a profile again",
            )
        return found

    def graph_hashes(self, *, loose: bool = False) -> list[tuple[str, str | None]]:
        """Hash and captured hash of each graph (`loose`: of no profile), in the order they came."""
        which = "profile IS NULL" if loose else "TRUE"
        sql = f"SELECT hash, captured_hash FROM graphs WHERE {which} ORDER BY number"
        return [(row["hash"], row["captured_hash"]) for row in self._connection.rows(sql)]

    def measured_graph(self, captured_hash: str, device: str) -> Graph | None:
        """The latest graph measured on `device` of what capture alone sees as `captured_hash`."""
        where = "captured_hash = ? AND device = ? ORDER BY number DESC"
        damage: list[str] = []
        intact = self._intact("graph", Graph, where, [bare(captured_hash), device], damage)
        for _, graph in intact:
            self.count("graph.hit")
            return graph
        self.count("graph.miss.damaged" if damage else "graph.miss.absent")
        return None

    def step_graph(self, captured_hash: str, device: str, model: str) -> Graph | None:
        """The latest step graph measured on `device` of which this captured graph is a region.

        One of the same model comes before those of others.
        """
        where = """number IN (SELECT graph FROM graph_regions WHERE captured_hash = ?)
                   AND captured_hash IS NULL AND device = ? ORDER BY name = ? DESC, number DESC"""
        intact = self._intact("graph", Graph, where, [bare(captured_hash), device, model], [])
        return next((graph for _, graph in intact), None)
