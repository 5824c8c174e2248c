"""Profiles: what a real step did, with its allocations and graphs."""

from __future__ import annotations

import sqlite3

import msgspec

from fastsa.cache import integrity, records, rows
from fastsa.cache.keys import bare
from fastsa.cache.table import StoreTable, encode_graph
from fastsa.planner.step import region_names
from fastsa.records.profile import Profile


class ProfileSummary(msgspec.Struct, frozen=True):
    """What a job asks a profile: measured on the whole process, bytes and seconds of one step.

    `step_seconds` is None where no step was timed.
    """

    id: str
    created: str
    model: str
    shape: str
    device: str
    resident_bytes: int
    peak_bytes: int
    step_seconds: float | None


class ProfileTable(StoreTable):
    """The profiles of a store: what real steps did, with their allocations and graphs."""

    def add_profile(self, profile: Profile) -> str:
        """Store a profile, its allocations, the graph of its step and those of regions beside it.

        Args:
            profile: The profile to store.

        Returns:
            The profile's id.

        Raises:
            BadInput: It cannot be stored: a number is not finite or out of range, a graph makes no
                sense, or the document is larger than 1 GiB.
        """
        data = integrity.encode(profile)
        in_step = () if profile.step is None else region_names(profile.step)
        regions = [
            (region.captured_hash, region.graph, encode_graph(region.graph))
            for region in profile.regions
            if region.captured_hash not in in_step
        ]
        step = None if profile.step is None else encode_graph(profile.step)
        record = records.profile_record(profile, data)

        def work(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM profiles WHERE id = ?", [record["id"]])
            number = rows.insert(connection, "profiles", record)
            rows.insert_all(connection, "sites", records.site_records(profile, number))
            # There can be a million: sqlite-utils would take a minute.
            connection.executemany(
                "INSERT INTO allocations VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                records.allocation_rows(profile, number),
            )
            for position, (captured_hash, graph, document) in enumerate(regions):
                row = records.graph_record(graph, document, captured_hash)
                row |= {"profile": number, "region": position, "device": profile.device}
                rows.insert_graph(connection, graph, row)
            if profile.step is not None and step is not None:
                row = records.graph_record(profile.step, step, None)
                row |= {"profile": number, "device": profile.device}
                rows.insert_graph(connection, profile.step, row)

        self._write(work)
        return str(record["id"])

    def profile(self, profile_id: str) -> Profile:
        """Read a stored profile.

        Args:
            profile_id: The profile's id.

        Returns:
            The profile.

        Raises:
            BadInput: There is none.
            StoreUnusable: It is damaged.
        """
        return self._one("profile", Profile, profile_id)[1]

    def measured_profile(self, captured_hash: str, device: str) -> ProfileSummary | None:
        """Find the latest profile on a device of a model with this captured graph.

        Args:
            captured_hash: Hash of a region's graph as capture alone sees it.
            device: The device's name.

        Returns:
            A summary, or None if there is no such profile.
        """
        sql = """
            SELECT id, profiles.created, model, shape, profiles.device, profiles.resident_bytes,
                   peak_bytes, step_seconds
            FROM graph_regions JOIN graphs ON graphs.number = graph_regions.graph
            JOIN profiles ON profiles.number = graphs.profile
            WHERE graph_regions.captured_hash = ? AND graphs.device = ?
            ORDER BY profiles.number DESC LIMIT 1"""
        rows = self._connection.rows(sql, bare(captured_hash), device)
        return msgspec.convert(dict(rows[0]), ProfileSummary) if rows else None

    def profile_of(self, graph_hash: str) -> str | None:
        """Find the latest profile with this graph.

        Args:
            graph_hash: Hash of the measured graph of a step or a region.

        Returns:
            The profile's id, or None if there is none.
        """
        sql = """SELECT id FROM graphs JOIN profiles ON profiles.number = graphs.profile
                 WHERE hash = ? ORDER BY profiles.number DESC LIMIT 1"""
        rows = self._connection.rows(sql, bare(graph_hash))
        return str(rows[0]["id"]) if rows else None
