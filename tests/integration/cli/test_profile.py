"""`fastsa profile`: real scripts, recorded as they are."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fastsa.cache.store import Store
from fastsa.records.profile import Profile
from fastsa.records.timeline import Timeline
from support.commands import only_json
from support.fork_server import Done
from support.paths import INSTALLED, SCRIPTS
from support.sandbox import CliSandbox, environment, steps

PIPES: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
RECORDED = 6  # training steps of a script before it is stopped


class Recorded:
    """One script, recorded; and what it does in plain python."""

    def __init__(self, sandbox: CliSandbox, *arguments: str) -> None:
        self.sandbox = sandbox
        self.plain = sandbox.plain(*arguments)
        self.done = sandbox.fastsa("profile", "--continue", *arguments)

    def same(self) -> None:
        """Nothing the script says or ends with tells of the recording."""
        assert self.done.stdout == self.plain.stdout
        assert self.done.returncode == self.plain.returncode == 0
        assert "left behind: nothing" in self.done.stdout

    @property
    def profile(self) -> Profile:
        with Store.open(self.sandbox.place) as store:
            (row,) = store.list_items("profile")
            return store.profile(row.id)


def alive_at_peak(timeline: Timeline) -> int:
    peak = timeline.peak_event
    return sum(
        each.bytes
        for each in timeline.allocations
        if (each.birth is None or each.birth <= peak) and (each.death is None or peak < each.death)
    )


@pytest.fixture(scope="module")
def plain(sandboxes: Callable[[], CliSandbox]) -> Recorded:
    return Recorded(sandboxes(), "plain.py")


class TestSurroundings:
    """A script sees what it sees under `python`."""

    def started(self, folder: Path, *command: str, **more: str) -> Done:
        env = environment(folder / "store.db", **more)
        return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        """With a package, and a script reached through a link and a relative path."""
        place = tmp_path / "scripts"
        place.mkdir()
        (place / "surroundings.py").write_bytes((SCRIPTS / "surroundings.py").read_bytes())
        (tmp_path / "linked.py").symlink_to(place / "surroundings.py")
        (place / "__init__.py").touch()
        return tmp_path

    @pytest.mark.parametrize(
        "script",
        [
            "linked.py",
            pytest.param("scripts/surroundings.py", marks=pytest.mark.nightly),
            pytest.param("./scripts/../linked.py", marks=pytest.mark.nightly),
        ],
    )
    def test_script(self, folder: Path, script: str) -> None:
        plain = self.started(folder, sys.executable, script, "--budget", "1", "-m", "--", "")
        done = self.started(
            folder, str(INSTALLED), "profile", script, "--budget", "1", "-m", "--", ""
        )
        assert done.stdout == plain.stdout
        assert plain.returncode == done.returncode == 0

    def test_module(self, folder: Path) -> None:
        plain = self.started(folder, sys.executable, "-m", "scripts.surroundings", "-x", "1")
        done = self.started(
            folder, str(INSTALLED), "profile", "-m", "scripts.surroundings", "-x", "1"
        )
        assert done.stdout == plain.stdout
        assert plain.returncode == done.returncode == 0

    @pytest.mark.nightly
    def test_started_as_a_module(self, folder: Path) -> None:
        """`python -m fastsa` puts its folder first; the script's imports do not look there."""
        script = "scripts/surroundings.py"
        plain = self.started(folder, sys.executable, script)
        done = self.started(folder, sys.executable, "-m", "fastsa", "profile", script)
        assert done.stdout == plain.stdout

    @pytest.mark.nightly
    def test_safe_path(self, folder: Path) -> None:
        script = "scripts/surroundings.py"
        plain = self.started(folder, sys.executable, script, PYTHONSAFEPATH="1")
        done = self.started(folder, str(INSTALLED), "profile", script, PYTHONSAFEPATH="1")
        assert done.stdout == plain.stdout

    def test_other_command(self, folder: Path) -> None:
        installed = str(INSTALLED.with_name("fastsa-profile"))
        done = self.started(folder, installed, "linked.py")
        assert done.stderr == (
            "fastsa: nothing recorded: no module with parameters was called in training mode\n"
        )
        assert not (folder / "__pycache__").exists()

    @pytest.mark.parametrize("command", ["profile", "run --budget 50%"])
    @pytest.mark.parametrize("missing", ["nosuch.py", "-m nosuch", "-m nosuch.inner", "/tmp"])
    def test_no_such_script(self, sandbox: CliSandbox, command: str, missing: str) -> None:
        done = sandbox.server.run(
            [str(INSTALLED), *command.split(), *missing.split()],
            sandbox.environment(),
            sandbox.folder,
        )
        assert done.returncode == 2
        assert "no such" in done.stderr
        assert done.stderr.count("\n") == 1


class TestToTheEnd:
    def test_same_as_plain_python(self, plain: Recorded) -> None:
        plain.same()
        assert len(steps(plain.done)) == 12

    def test_next(self, plain: Recorded) -> None:
        script = SCRIPTS / "plain.py"
        assert f"fastsa plan {plain.profile.id()[:12]} --budget 50%" in plain.done.stderr
        assert f"fastsa run --budget 50% {script}" in plain.done.stderr

    def test_the_peak_is_what_is_alive(self, plain: Recorded) -> None:
        profile = plain.profile
        assert alive_at_peak(profile.timeline) == profile.peak_bytes
        assert profile.timeline.peak_bytes == profile.peak_bytes
        assert profile.resident_bytes < profile.peak_bytes

    def test_what_the_timeline_says(self, plain: Recorded) -> None:
        """Sizes that follow from the model: parameters, Adam's two copies, saved activations."""
        profile = plain.profile
        sizes: dict[str, int] = {}
        for each in profile.timeline.allocations:
            if each.birth is None:
                category = profile.timeline.site(each).category
                sizes[category] = sizes.get(category, 0) + each.bytes
        assert sizes["parameter"] == 4 * profile.parameters
        assert sizes["optimizer"] == 8 * profile.parameters + 4 * len("wb") * 4
        activation = 4 * 1024 * 128
        saved = [each.bytes for each in profile.saved if not each.parameter]
        assert saved.count(activation) >= 9  # of each layer: two inputs and what gelu gave

    def test_what_it_is_of(self, plain: Recorded) -> None:
        profile = plain.profile
        assert profile.model == "tiny.Net"
        assert profile.shape == "float32[1024,128]"
        assert profile.script == str(SCRIPTS / "plain.py")
        assert profile.parameters == 3 * (128 * 128 + 128) + 128 + 1
        assert len(profile.regions) == 1

    @pytest.mark.parametrize("ending", [pytest.param(0, marks=pytest.mark.nightly), 5])
    def test_exit_code(self, sandbox: CliSandbox, ending: int) -> None:
        done = sandbox.fastsa("profile", "--continue", "plain.py", "--exit", str(ending))
        assert done.returncode == ending
        assert "trained" in done.stdout
        assert sandbox.kinds() == ["profile", "graph"]


class TestStopped:
    def test_by_default(self, sandbox: CliSandbox) -> None:
        done = sandbox.fastsa("profile", "plain.py", "--steps", "100000")
        assert done.returncode == 0
        assert len(steps(done)) == RECORDED
        assert "trained" not in done.stdout
        assert "left behind: nothing" in done.stdout
        assert done.stderr.count("\n") == 8
        assert "            fastsa plan " in done.stderr
        assert sandbox.kinds() == ["profile", "graph"]

    @pytest.mark.parametrize(
        "arguments", [pytest.param([], marks=pytest.mark.nightly), ["everything"]]
    )
    def test_a_script_that_catches(self, sandbox: CliSandbox, arguments: list[str]) -> None:
        """`except Exception` does not see the stop; `except BaseException` does, and trains on."""
        done = sandbox.fastsa("profile", "careful.py", *arguments)
        assert done.returncode == 0
        assert ("trained" in done.stdout) == bool(arguments)
        assert done.stdout.count("failed: StopScript") == len(arguments)
        assert "left behind: nothing" in done.stdout
        assert sandbox.kinds() == ["profile", "graph"]


class TestIncomplete:
    """What was recorded is kept, and says what is missing."""

    def test_an_exception_in_an_unrecorded_step(self, sandbox: CliSandbox) -> None:
        done = sandbox.fastsa("profile", "plain.py", "--raise-at", "2")
        self.ends_with_its_own_exception(done, 2)
        profile = the_profile(sandbox)
        assert "only the first step was recorded" in " ".join(profile.missing)
        assert profile.ended == "ValueError: mine"
        assert alive_at_peak(profile.timeline) == profile.peak_bytes == profile.allocator_peak_bytes

    @pytest.mark.nightly
    def test_an_exception_after_the_recorded_step(self, sandbox: CliSandbox) -> None:
        done = sandbox.fastsa("profile", "plain.py", "--raise-at", "5")
        self.ends_with_its_own_exception(done, 5)
        profile = the_profile(sandbox)
        assert (profile.missing, profile.ended) == ((), "ValueError: mine")
        assert len(profile.regions) == 1

    @pytest.mark.parametrize(
        "phase", [pytest.param("forward", marks=pytest.mark.nightly), "backward"]
    )
    def test_an_exception_in_the_middle_of_the_recorded_step(
        self, sandbox: CliSandbox, phase: str
    ) -> None:
        done = sandbox.fastsa("profile", "breaks.py", phase, "3")
        self.ends_with_its_own_exception(done, 3)
        profile = the_profile(sandbox)
        assert profile.missing[0] == "step 4 was recorded and broke off"
        assert profile.ended == "ValueError: mine"
        assert alive_at_peak(profile.timeline) == profile.peak_bytes == profile.allocator_peak_bytes
        assert bool(profile.saved) == (phase == "backward")

    def ends_with_its_own_exception(self, done: Done, at: int) -> None:
        assert done.returncode == 1
        assert len(steps(done)) == at
        assert "fastsa: incomplete profile " in done.stderr or "fastsa: profile " in done.stderr
        trace = done.stderr[done.stderr.index("Traceback (most recent call last):\n") :]
        assert trace.endswith('raise ValueError("mine")\nValueError: mine\n')
        assert "left behind: nothing" in done.stdout

    @pytest.mark.nightly
    def test_an_exit(self, sandbox: CliSandbox) -> None:
        done = sandbox.fastsa("profile", "plain.py", "--exit-at", "2", "3")
        assert done.returncode == 3
        assert "only the first step was recorded" in done.stderr
        assert sandbox.kinds() == ["profile"]

    def test_too_few_steps(self, sandbox: CliSandbox) -> None:
        done = sandbox.fastsa("profile", "plain.py", "--steps", "3")
        assert done.returncode == 0
        assert "trained" in done.stdout
        assert (
            "  missing   there is no graph to plan: the script ended in its training step 3, "
            "and 5 are needed\n"
        ) in done.stderr
        assert sandbox.kinds() == ["profile"]

    @pytest.mark.nightly
    def test_just_enough_steps(self, sandbox: CliSandbox) -> None:
        done = sandbox.fastsa("profile", "plain.py", "--steps", "5")
        assert done.returncode == 0
        assert sandbox.kinds() == ["profile", "graph"]

    @pytest.mark.parametrize(
        ("script", "why"),
        [
            ("opaque.py", "the model could not be captured as a graph"),
            pytest.param(
                "compiles.py hooked",
                "the script compiles its model itself: there is no graph to plan",
                marks=pytest.mark.nightly,
            ),
        ],
    )
    def test_no_graph(self, sandbox: CliSandbox, script: str, why: str) -> None:
        recorded = Recorded(sandbox, *script.split())
        recorded.same()
        assert recorded.profile.missing == (why,)
        assert recorded.profile.timeline.peak_bytes == recorded.profile.allocator_peak_bytes
        assert sandbox.kinds() == ["profile"]

    @pytest.mark.parametrize(
        ("start", "what"),
        [
            pytest.param("0", "nothing", marks=pytest.mark.nightly),
            ("3", "first"),
            pytest.param("4", "some", marks=pytest.mark.nightly),
        ],
    )
    def test_a_script_that_profiles_itself(
        self, sandbox: CliSandbox, start: str, what: str
    ) -> None:
        """It gets its own profile; two cannot record at a time."""
        recorded = Recorded(sandbox, "profiles.py", start)
        recorded.same()
        assert "seen: True" in recorded.done.stdout
        assert "torch.profiler" in recorded.done.stderr
        assert sandbox.kinds() == ([] if what == "nothing" else ["profile"])

    def test_interrupted(self, sandbox: CliSandbox) -> None:
        done = sandbox.fastsa("profile", "--continue", "endless.py", "9")
        plain = sandbox.plain("endless.py", "9")
        assert done.returncode == plain.returncode != 0
        assert done.stderr.endswith("KeyboardInterrupt\n")
        assert the_profile(sandbox).ended == "KeyboardInterrupt"

    @pytest.mark.nightly
    def test_output_closed(self, sandbox: CliSandbox) -> None:
        """`| head -1`"""
        script = [str(SCRIPTS / "plain.py"), "--steps", "2000"]
        plain = head(sandbox, sys.executable, *script)
        done = head(sandbox, str(INSTALLED), "profile", "--continue", *script)
        assert done.returncode == plain.returncode
        assert "BrokenPipeError" in plain.stderr
        assert "BrokenPipeError" in done.stderr
        assert sandbox.kinds() == ["profile", "graph"]

    def test_an_unusable_store(self, sandbox: CliSandbox) -> None:
        """Known before the script runs."""
        done = sandbox.fastsa("profile", "plain.py", FASTSA_STORE="/dev/null/store.db")
        assert (done.returncode, done.stdout) == (4, "")
        assert done.stderr.count("\n") == 1


def head(sandbox: CliSandbox, *command: str) -> Done:
    """`| head -8`"""
    process = subprocess.Popen(
        command, env=sandbox.environment(), cwd=sandbox.folder, **PIPES, text=True
    )
    assert process.stdout
    assert process.stderr
    for _ in range(8):
        process.stdout.readline()
    process.stdout.close()
    err = process.stderr.read()
    return Done(command, process.wait(), "", err)


def the_profile(sandbox: CliSandbox) -> Profile:
    with Store.open(sandbox.place) as store:
        (row,) = store.list_items("profile")
        return store.profile(row.id)


@pytest.mark.promise("fault-22")
class TestOutOfMemory:
    """The script's own error, and beside it what was alive; the snapshot is stored."""

    @pytest.mark.parametrize("step", [pytest.param("0", marks=pytest.mark.nightly), "3"])
    def test_in_a_recorded_step(self, sandbox: CliSandbox, step: str) -> None:
        done = self.ends(sandbox, "backward", FATAL=step)
        profile = the_profile(sandbox)
        assert f"step {int(step) + 1} was recorded and broke off" in profile.missing
        assert "made by line" in done.stderr
        assert "scripts/tiny.py" in done.stderr
        assert alive_at_peak(profile.timeline) == profile.peak_bytes == profile.allocator_peak_bytes
        assert profile.saved

    @pytest.mark.parametrize(
        "where",
        [
            "loss",
            pytest.param("model", marks=pytest.mark.nightly),
            pytest.param("backward", marks=pytest.mark.nightly),
        ],
    )
    def test_in_another_step(self, sandbox: CliSandbox, where: str) -> None:
        done = self.ends(sandbox, where)
        assert "held by line" in done.stderr
        assert the_profile(sandbox).timeline.events == 0

    @pytest.mark.nightly
    def test_without_memory_for_the_recording(self, sandbox: CliSandbox) -> None:
        """What is left is too little to read the recording: the script's own error is the last.

        In a cold process: one that was forked has room that its limit does not count.
        """
        done = subprocess.run(
            [INSTALLED, "profile", SCRIPTS / "runs_out.py", "limit", "40"],
            env=sandbox.environment(),
            capture_output=True,
            text=True,
        )
        assert done.returncode == 1
        # torch has a callback for the end that needs memory of its own.
        said = done.stderr.partition("Exception ignored in atexit callback")[0]
        assert "can't allocate memory: you tried to allocate" in said.splitlines()[-1]
        assert "another exception" not in said
        assert "fastsa: the profile is not stored: " in done.stderr

    @pytest.mark.nightly
    def test_a_script_that_goes_on(self, sandbox: CliSandbox) -> None:
        done = sandbox.fastsa("profile", "--continue", "runs_out.py", "retries")
        assert done.returncode == 0
        assert "out of memory" not in done.stderr
        assert sandbox.kinds() == ["profile", "graph"]

    def ends(self, sandbox: CliSandbox, *arguments: str, **more: str) -> Done:
        done = sandbox.fastsa("profile", "runs_out.py", *arguments, **more)
        assert done.returncode == 1
        assert done.stderr.startswith("fastsa: out of memory on cpu")
        assert "can't allocate memory" in done.stderr
        return done


class TestScripts:
    """Ways to train that the recording must not disturb."""

    @pytest.mark.parametrize(
        ("script", "regions"),
        [
            pytest.param("two_modules.py", 2, marks=pytest.mark.nightly),
            ("loader.py", 1),
            pytest.param("accumulates.py", 1, marks=pytest.mark.nightly),
            pytest.param("autocast.py", 1, marks=pytest.mark.nightly),
            ("branches.py", 2),
            pytest.param("last_batch.py", 1, marks=pytest.mark.nightly),
            ("gan.py", 3),  # one for a fake whose gradient the generator needs
            pytest.param("two_forwards.py", 1, marks=pytest.mark.nightly),
            pytest.param("no_optimizer.py", 1, marks=pytest.mark.nightly),
            pytest.param(
                "threads.py", 0, marks=pytest.mark.nightly
            ),  # what they compute could be captured with it
            pytest.param("evaluates.py", 1, marks=pytest.mark.nightly),
            pytest.param("checkpoints.py", 2, marks=pytest.mark.nightly),
        ],
    )
    def test_recorded(self, sandbox: CliSandbox, script: str, regions: int) -> None:
        recorded = Recorded(sandbox, script)
        recorded.same()
        profile = recorded.profile
        assert alive_at_peak(profile.timeline) == profile.peak_bytes
        assert len(profile.regions) == regions

    @pytest.mark.parametrize(
        "what",
        [
            "deletes",
            pytest.param("forks", marks=pytest.mark.nightly),
            pytest.param("generator", marks=pytest.mark.nightly),
            pytest.param("grouped", marks=pytest.mark.nightly),
            "mode",
            pytest.param("nested", marks=pytest.mark.nightly),
            pytest.param("penalty", marks=pytest.mark.nightly),
            pytest.param("script", marks=pytest.mark.nightly),
            "setprofile",
            pytest.param("strict", marks=pytest.mark.nightly),
            pytest.param("subclass", marks=pytest.mark.nightly),
        ],
    )
    def test_hostile(self, sandbox: CliSandbox, what: str) -> None:
        recorded = Recorded(sandbox, "hostile.py", what)
        recorded.same()
        assert recorded.profile.timeline.peak_bytes == recorded.profile.allocator_peak_bytes

    def test_patches_of_the_script_stay(self, sandbox: CliSandbox) -> None:
        recorded = Recorded(sandbox, "hostile.py", "patches")
        assert recorded.done.stdout == recorded.plain.stdout
        assert "Module.__call__" in recorded.plain.stdout

    def test_checkpointed_layers_run_no_more_often(self, sandbox: CliSandbox) -> None:
        """Reading what a checkpoint saved would run it again."""
        recorded = Recorded(sandbox, "checkpoints.py")
        recorded.same()
        assert "forwards 24" in recorded.plain.stdout
        assert recorded.profile.model == "__main__.Checkpointing"

    def test_a_model_in_evaluation_mode(self, sandbox: CliSandbox) -> None:
        done = sandbox.fastsa("profile", "frozen.py")
        assert done.returncode == 0
        assert "nothing recorded: no module with parameters was called in training" in done.stderr

    @pytest.mark.nightly
    def test_spawned_workers(self, sandbox: CliSandbox) -> None:
        """They import the script again, by its file."""
        done = sandbox.fastsa("profile", "loader.py", "spawn")
        assert done.returncode == 0
        assert len(steps(done)) == RECORDED
        assert sandbox.kinds() == ["profile", "graph"]


@pytest.fixture(scope="module")
def planned(plain: Recorded) -> Done:
    return plain.sandbox.fastsa("plan", plain.profile.id(), "--budget", "65%", "--json")


class TestWhatComesNext:
    def test_show(self, plain: Recorded) -> None:
        shown = only_json(plain.sandbox.fastsa("show", plain.profile.id(), "--json"))
        assert shown["peak_bytes"] == plain.profile.peak_bytes
        assert shown["model"] == "tiny.Net"

    def test_export(self, plain: Recorded) -> None:
        sandbox, profile = plain.sandbox, plain.profile
        file = sandbox.folder / "profile.json"
        done = sandbox.fastsa("export", profile.id(), "--what", "profile", "--output", str(file))
        assert done.returncode == 0, done.stderr
        assert msgspec.json.decode(file.read_bytes(), type=Profile) == profile

    def test_plan(self, plain: Recorded, planned: Done) -> None:
        assert planned.returncode == 0, planned.stderr
        plan = msgspec.json.decode(planned.stdout)
        assert plan["peak_bytes"] <= plan["budget_bytes"]
        whole = int(plain.profile.peak_bytes * 0.65)
        assert plan["budget_bytes"] == whole - plain.profile.resident_beside_graph

    def test_a_run_finds_the_plan(self, plain: Recorded, planned: Done) -> None:
        """The run captures the same graph; beside the plan it has states of generators to fit."""
        done = plain.sandbox.fastsa("run", "--budget", "66%", "plain.py")
        assert done.returncode == 0
        assert done.stdout == plain.plain.stdout
        assert "fastsa: plan found " in done.stderr
        assert plain.sandbox.kinds().count("plan") == 1
