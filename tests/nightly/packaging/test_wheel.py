"""What is built is what is in the checkout, whole, and importable from anywhere."""

import subprocess
import sys
import tarfile
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from zipfile import ZipFile

from support.paths import ROOT

ROOMS = sorted(path.parent.name for path in ROOT.glob("*/__init__.py"))


def python(*arguments: str, cwd: Path) -> str:
    process = subprocess.run(
        [sys.executable, *arguments], cwd=cwd, capture_output=True, text=True, check=False
    )
    assert process.returncode == 0, process.stdout + process.stderr
    return process.stdout.strip()


def pip_wheel(source: Path, target: Path) -> Path:
    options = ["-q", "--no-index", "--no-build-isolation", "--no-deps", "-w", str(target)]
    python("-m", "pip", "wheel", *options, str(source), cwd=target)
    (wheel,) = target.glob("*.whl")
    return wheel


def modules(names: Iterable[str]) -> set[str]:
    return {name for name in names if name.endswith((".py", ".pyi"))}


def modules_in_checkout() -> set[str]:
    files = {f"fastsa/{path.name}" for path in (ROOT / "src" / "fastsa").glob("*.py")}
    for room in ROOMS:
        files |= {f"fastsa/{path.relative_to(ROOT)}" for path in (ROOT / room).rglob("*.py*")}
    return modules(files)


def test_the_wheel_is_whole_and_imports_from_anywhere(tmp_path: Path) -> None:
    wheel = pip_wheel(ROOT, tmp_path)
    with ZipFile(wheel) as archive:
        names = archive.namelist()
    assert modules(names) == modules_in_checkout()
    assert "fastsa/py.typed" in names
    assert {"fastsa/report/html/page.css", "fastsa/report/html/page.js"} <= set(names)
    assert {name.split("/")[0] for name in names} == {
        "fastsa",
        f"fastsa-{version('fastsa')}.dist-info",
    }
    assert [name for name in names if name.endswith((".cpp", ".h", ".a", ".pyc"))] == []

    target = tmp_path / "target"
    options = ["-q", "--no-index", "--no-deps", "--target", str(target)]
    python("-m", "pip", "install", *options, str(wheel), cwd=tmp_path)
    # -S leaves out site-packages, and with it the editable install.
    code = "import fastsa.planner._core as core; print(core.__file__)"
    assert Path(python("-S", "-c", code, cwd=target)).parent == target / "fastsa" / "planner"


def test_the_sdist_builds_the_same_wheel(tmp_path: Path) -> None:
    code = f"from scikit_build_core.build import build_sdist; build_sdist({str(tmp_path)!r})"
    python("-c", code, cwd=ROOT)
    (sdist,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        links = {Path(member.name).name for member in archive.getmembers() if member.issym()}
    assert links == set(ROOMS)
    with ZipFile(pip_wheel(sdist, tmp_path)) as archive:
        assert modules(archive.namelist()) == modules_in_checkout()
