"""What is installed: its version, its commands, and its backend."""

from __future__ import annotations

from importlib.metadata import entry_points, version

import fastsa


def test_the_versions_agree() -> None:
    assert version("fastsa") == fastsa.__version__


def test_the_entry_points_are_found() -> None:
    scripts = {point.name: point.value for point in entry_points(group="console_scripts")}
    assert scripts["fastsa"] == "fastsa.cli.main:main"
    assert scripts["fastsa-profile"] == "fastsa.cli.profile:main"
    (backend,) = entry_points(group="torch_dynamo_backends", name="fastsa")
    assert backend.value == "fastsa.runtime.dynamo_backend:backend"
    for point in (*entry_points(group="console_scripts"), backend):
        if point.value.startswith("fastsa."):
            assert callable(point.load())
