"""Pictures of curves and comparisons: matplotlib's first start may start a process."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import msgspec
import pytest

from support import builders
from support.commands import Fastsa
from support.planner_graphs import random_training_graph

LITTLE = ("--iterations", "300", "--points", "6")


@pytest.fixture
def chain(tmp_path: Path) -> Path:
    path = tmp_path / "chain.graph.json"
    builders.graph(12, name="chain").write(path)
    return path


class TestCurve:
    @pytest.mark.parametrize(
        ("name", "begins"), [("curve.svg", b"<?xml"), ("curve.png", b"\x89PNG")]
    )
    def test_a_picture(
        self, fastsa: Fastsa, chain: Path, tmp_path: Path, name: str, begins: bytes
    ) -> None:
        picture = tmp_path / name
        done = fastsa("curve", "--graph", str(chain), *LITTLE, "--picture", str(picture))
        assert done.returncode == 0, done.stderr
        drawn = picture.read_bytes()
        assert drawn.startswith(begins)
        again = fastsa("curve", "--graph", str(chain), *LITTLE, "--picture", str(picture))
        assert again.returncode == 0
        assert picture.read_bytes() == drawn

    def test_a_graph_of_nothing(self, fastsa: Fastsa, tmp_path: Path) -> None:
        path = tmp_path / "empty.json"
        bare = msgspec.structs.replace(
            builders.graph(), values=(), ops=(), outputs=(), segments=(), name="$\x1b[2J"
        )
        bare.write(path)
        done = fastsa("curve", "--graph", str(path), "--picture", str(tmp_path / "a.svg"))
        assert done.returncode == 0, done.stderr
        assert "the graph has no ops" in done.stdout
        assert "\x1b" not in done.stdout


class TestCompare:
    @pytest.mark.parametrize(
        ("name", "begins"), [("picture.svg", b"<?xml"), ("picture.png", b"\x89PNG")]
    )
    def test_pictures(self, fastsa: Fastsa, tmp_path: Path, name: str, begins: bytes) -> None:
        graph, picture = tmp_path / "small.json", tmp_path / name
        random_training_graph(1, 7).write(graph)
        budgets = ("--time-limit", "0.2", "--budget", "90%", "--budget", "80%")
        algorithms = ("--algorithm", "fastsa", "--algorithm", "checkpoint-every-block")
        done = fastsa(
            "compare", "--graph", str(graph), *budgets, *algorithms, "--picture", str(picture)
        )
        assert done.returncode == 0, done.stderr
        assert f"{picture}: written" in done.stdout
        assert picture.read_bytes().startswith(begins)
        if name.endswith("svg"):
            assert ElementTree.parse(picture).getroot().tag.endswith("svg")

    def test_a_picture_of_nothing_that_fits(
        self, fastsa: Fastsa, chain: Path, tmp_path: Path
    ) -> None:
        picture = tmp_path / "picture.svg"
        arguments = ("--budget", "1%", "--algorithm", "fastsa", "--picture", str(picture))
        done = fastsa("compare", "--graph", str(chain), *arguments)
        assert done.returncode == 0, done.stderr
        assert picture.exists()
