"""Real training scripts, run plain and under budgets, and what is to be the same of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from fastsa.cache.store import Store
from fastsa.runtime.run import Run
from support.fork_server import Done, ForkServer
from support.sandbox import CliSandbox

__all__ = ["ITEMS", "LIBRARIES", "CliSandbox", "Done", "ForkServer", "Item", "Trained"]

# Imported once for all scripts; each still runs in a process of its own.
LIBRARIES = (
    "accelerate",
    "lightning",
    "transformers.models.bert.modeling_bert",
    "transformers.models.gpt2.modeling_gpt2",
    "transformers.models.llama.modeling_llama",
    "transformers.models.t5.modeling_t5",
    "transformers.models.vit.modeling_vit",
    "transformers.trainer",
)


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

    @cached_property
    def reference(self) -> Done:
        """What the script prints without a plan that recomputes anything."""
        if self.item.exact:
            return self.sandbox.plain(*self.item.command)
        return self.under("100%")

    @cached_property
    def profile(self) -> Done:
        return self.sandbox.fastsa("profile", *self.item.command)

    def under(self, *budget: str) -> Done:
        """`fastsa run --budget ...` with the profile that is there."""
        assert self.profile.returncode == 0, self.profile.stderr
        return self.sandbox.fastsa(
            "run", "--budget", *budget, "--time-limit", "0.7", *self.item.command
        )

    def run(self) -> Run | None:
        """The latest run in the store."""
        with Store.open(self.sandbox.place) as store:
            rows = store.list_items("run")
            return store.run(rows[0].id) if rows else None
