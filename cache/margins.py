"""Margins: bytes that are kept free of plans which take more than predicted."""

from __future__ import annotations

import sqlite3

from fastsa.cache import integrity, records, rows
from fastsa.cache.keys import bare
from fastsa.cache.table import StoreTable
from fastsa.records.margin import Margin


class MarginTable(StoreTable):
    """The margins of a store: bytes kept free of plans which take more than predicted."""

    def set_margin(self, margin: Margin) -> None:
        """Keep bytes free of a graph's plans on a device, in place of what was kept before.

        Args:
            margin: Graph, device and bytes; with 0 bytes the margin is forgotten.

        Raises:
            BadInput: It cannot be stored.
        """
        record = records.margin_record(margin, integrity.encode(margin))

        def work(connection: sqlite3.Connection) -> None:
            where = [record["graph"], record["device"]]
            connection.execute("DELETE FROM margins WHERE graph = ? AND device = ?", where)
            if margin.bytes:
                rows.insert(connection, "margins", record)

        self._write(work)

    def margin(self, graph_hash: str, device: str) -> Margin | None:
        """Read what is kept free of a graph's plans on a device; a damaged row is none.

        Args:
            graph_hash: The graph's hash.
            device: The device's name.

        Returns:
            The margin, or None if nothing is kept free.
        """
        where = "graph = ? AND device = ?"
        intact = self._intact("margin", Margin, where, [bare(graph_hash), device], [])
        return next((margin for _, margin in intact), None)
