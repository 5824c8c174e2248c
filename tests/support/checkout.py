"""A copy of the checkout with an environment of its own, to be changed at will."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import sysconfig
from importlib.metadata import distribution
from pathlib import Path

import fastsa.planner._core
from support.paths import INSTALLED, ROOT

CORE = Path(fastsa.planner._core.__file__)


class Checkout:
    """The files that git knows, as they are now, importable as `fastsa` by `python`."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "checkout"
        self._copy_files()
        environment = folder / "environment"
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
        self.python = environment / "bin" / "python"
        self._install(environment)

    def _copy_files(self) -> None:
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT,
            check=True,
            capture_output=True,
            text=True,
        )
        for name in filter(None, listed.stdout.split("\0")):
            source, target = ROOT / name, self.root / name
            if source.is_symlink() or source.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, target, follow_symlinks=False)

    def _install(self, environment: Path) -> None:
        """As an editable install would be, without a build: the core is the one in use."""
        shutil.copy2(CORE, self.root / "planner" / CORE.name)
        packages = next((environment / "lib").glob("python*/site-packages"))
        paths = (self.root / "src", sysconfig.get_path("purelib"))
        # Of a path that a .pth file names, the .pth files are not read: no other fastsa is found,
        # and coverage.py's own, by which it measures subprocesses, has to be there as well.
        (packages / "paths.pth").write_text("".join(f"{path}\n" for path in paths))
        for each in Path(sysconfig.get_path("purelib")).glob("*coverage.pth"):
            shutil.copy2(each, packages / each.name)
        metadata = Path(str(distribution("fastsa").locate_file("")))
        for each in metadata.glob("fastsa-*.dist-info"):
            shutil.copytree(each, packages / each.name)
        script = INSTALLED.read_text("utf-8").splitlines(keepends=True)
        command = environment / "bin" / "fastsa"
        command.write_text("".join([f"#!{self.python}\n", *script[1:]]), "utf-8")
        command.chmod(0o755)

    def run(
        self, *arguments: str | Path, timeout: float | None = None, **more: str
    ) -> subprocess.CompletedProcess[str]:
        """Run `python ARGUMENTS` in it; when time is out, everything that it started is killed."""
        process = subprocess.Popen(
            [self.python, *arguments],
            cwd=self.root,
            env={**os.environ, **more},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            out, _ = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            raise
        return subprocess.CompletedProcess(process.args, process.returncode, out)
