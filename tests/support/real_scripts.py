"""Real training scripts, run plain and under budgets, and what is to be the same of them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

from fastsa.cache.store import Store
from fastsa.records.run import Run
from support.fork_server import Done
from support.sandbox import CliSandbox

STEPS = 6
"""At least: profiling watches a few, and the trainers evaluate after the third or the fifth."""


@dataclass(frozen=True)
class Item:
    """A script with its arguments."""

    script: str
    arguments: tuple[str, ...] = ()
    exact: bool = True  # whether torch's compiled graph has the bits of eager
    lowest_share: float = 0.99  # of the predicted peak that may be measured
    half: str = "50%"  # the budget; more where the script itself keeps little for its backward
    is_planned: bool = True  # not where a function is compiled: the model's call is inside of it
    keeps_budget: bool = True  # not where a retained graph keeps what the plan lets go

    @property
    def name(self) -> str:
        return " ".join((self.script.removesuffix(".py"), *self.arguments))

    @property
    def command(self) -> tuple[str, ...]:
        return f"real/{self.script}", *self.arguments


ITEMS = {
    item.name: item
    for item in (
        Item("hf_gpt2.py"),
        Item("hf_llama.py"),
        Item("hf_bert.py"),
        Item("hf_t5.py"),
        Item("hf_vit.py"),
        Item("hf_trainer.py"),
        # What validation leaves alive is recorded, in a later step than the one that is measured.
        Item("lightning_trainer.py", lowest_share=0.96),
        Item("accelerate_loop.py"),
        Item("convnet.py"),
        Item("unet.py"),
        Item("gan.py"),
        Item("accumulation.py"),
        Item("clipping.py"),
        Item("autocast.py", ("bf16",), exact=False),
        Item("autocast.py", ("fp16",), exact=False),
        Item("autocast.py", ("scaled",), exact=False),
        Item("frozen.py"),
        Item("tied.py"),
        Item("averages.py"),
        Item("checkpointed.py", ("reentrant",), half="80%"),
        Item("checkpointed.py", ("non-reentrant",), half="80%"),
        Item("evaluates.py"),
        Item("retains.py", keeps_budget=False),
        Item("two_forwards.py"),
        Item("hooks.py"),
        Item("compiles.py", ("wrapped", "aot_eager")),
        Item("compiles.py", ("in-place", "aot_eager")),
        Item("compiles.py", ("blocks", "aot_eager")),
        Item("compiles.py", ("function", "aot_eager"), is_planned=False),
    )
}


class Trained:
    """An item run plain, profiled, and trained under one budget after the other."""

    def __init__(self, item: Item, sandbox: CliSandbox) -> None:
        self.item = item
        self.sandbox = sandbox

    def plain(self, *arguments: str) -> Done:
        """What the script prints by itself."""
        return self.sandbox.plain(*self.item.command, *arguments, REAL_STEPS=str(STEPS))

    def fastsa(self, *arguments: str) -> Done:
        """A command on the script."""
        return self.sandbox.fastsa(*arguments, *self.item.command, REAL_STEPS=str(STEPS))

    @cached_property
    def reference(self) -> Done:
        """What the script prints without a plan that recomputes anything."""
        return self.plain() if self.item.exact else self.under("100%")

    @cached_property
    def profile(self) -> Done:
        return self.fastsa("profile")

    def under(self, *budget: str) -> Done:
        """`fastsa run --budget ...` with the profile that is there."""
        assert self.profile.returncode == 0, self.profile.stderr
        return self.fastsa("run", "--budget", *budget, "--time-limit", "0.7")

    def run(self) -> Run | None:
        """The latest run in the store."""
        with Store.open(self.sandbox.place) as store:
            rows = store.list_items("run")
            return store.run(rows[0].id) if rows else None

    def check_half(self) -> None:
        """At half its memory: the same output, planned, measured, and as predicted."""
        done = self.under(self.item.half)
        check_same(done, self.reference)
        if not self.item.is_planned:
            assert self.run() is None
            assert "so nothing was planned" in done.stderr
        elif not self.item.keeps_budget:
            assert re.search("OVER +the measured peak is .* above the budget", done.stderr)
        else:
            run = check_peak(self.run(), self.item.lowest_share)
            assert (run.measured_peak_bytes or 0) <= run.process_budget_bytes
            assert "trains unplanned" not in done.stderr


def check_same(done: Done, wanted: Done) -> None:
    """To the last bit of each loss and of the trained state."""
    assert wanted.returncode == 0, wanted.stderr
    assert done.returncode == 0, done.stderr
    assert "state " in wanted.stdout
    assert done.stdout == wanted.stdout


def check_peak(run: Run | None, lowest_share: float) -> Run:
    """It was planned and measured, and is what was predicted."""
    assert run is not None
    assert run.measured_peak_bytes is not None
    share = run.measured_peak_bytes / run.predicted_peak_bytes
    assert lowest_share <= share <= 1.01
    return run
