"""fastsa against other ways to train in less memory: seconds per step at equal measured peaks.

Each variant lives in a process of its own. On a CPU the processes take their steps in turn, one at
a time, so that ratios hold on a busy machine; on a GPU each has the card to itself. fastsa is given
the measured peak of every other variant as its budget.

    python benchmarks/peers.py [--layers 6 ...] [--json FILE] [--picture FILE] [--page FILE]
"""

from __future__ import annotations

import json
import multiprocessing
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import click
import msgspec
import torch
from peer_models import LanguageModel, Size

SMALL = Size(kind="gpt", layers=6, width=512, heads=8, vocabulary=1024, length=512, batch=4)
ON_GPU = (
    Size(kind="gpt", layers=12, width=768, heads=12, vocabulary=50304, length=1024, batch=0),
    Size(kind="llama", layers=16, width=2048, heads=16, vocabulary=32000, length=2048, batch=0),
)
FILL = 0.6  # of the card's memory, by the plain step
WARM_UP = 2  # a planned job records its third step itself
SAME_PEAK = 0.005  # budgets closer than this share are one
MIB = 2**20


class Variant(msgspec.Struct, frozen=True):
    """One way to train. `budget`: torch's activation_memory_budget, or fastsa's budget in bytes."""

    way: str  # eager, checkpoint, aot_eager, inductor, fastsa
    budget: float | None = None

    def label(self) -> str:
        """As the tables say it."""
        names = {"eager": "plain eager", "checkpoint": "checkpoint per layer"}
        if self.way in names:
            return names[self.way]
        if self.way == "fastsa":
            return f"fastsa, {(self.budget or 0) / MIB:.0f} MiB"
        return f"{self.way}, memory budget {self.budget:g}"


BASELINES = (
    Variant("eager"),
    Variant("checkpoint"),
    *(Variant(way, share) for way in ("aot_eager", "inductor") for share in (1.0, 0.5, 0.25)),
)


class Row(msgspec.Struct):
    """What a variant came to. Bytes are the whole process's; `ratio` is of its steps to eager's."""

    variant: Variant
    peak_bytes: int
    seconds: list[float]
    start_seconds: float  # the first step: compilation
    loss: float
    ratio: float = 0.0


class Missing(msgspec.Struct):
    """A variant that did not run, and why."""

    variant: Variant
    why: str


class Trainer:
    """One variant's model and optimizer, in its own process."""

    def __init__(self, variant: Variant, size: Size, store: str, time_limit: float) -> None:
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        torch.manual_seed(0)
        model = LanguageModel(size, checkpointed=variant.way == "checkpoint").to(self.device)
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
        self.ids = torch.randint(0, size.vocabulary, (size.batch, size.length + 1)).to(self.device)
        self.call = compiled(model, variant, store, time_limit)
        self.loss = float("nan")

    def answer(self, asked: str) -> float:
        """The seconds of a step, the peak of one, or the loss of the last."""
        if asked == "loss":
            return self.loss
        return self.step() if asked == "step" else self.peak()

    def step(self) -> float:
        """Take a step; its seconds."""
        self.synchronize()
        start = time.perf_counter()
        self.optimizer.zero_grad()
        with torch.autocast("cuda", torch.bfloat16, enabled=self.device.type == "cuda"):
            loss = self.call(self.ids[:, :-1], self.ids[:, 1:])
        loss.backward()
        self.optimizer.step()
        self.synchronize()
        seconds = time.perf_counter() - start
        self.loss = loss.item()
        return seconds

    def peak(self) -> int:
        """The peak of one step more, in bytes, by the allocator's own reports."""
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
            self.step()
            return torch.cuda.max_memory_allocated()
        from fastsa.instrumentation.allocators.events import peak_delta
        from fastsa.instrumentation.allocators.recorder import recorder
        from fastsa.instrumentation.storages import live_bytes

        self.optimizer.zero_grad()
        held = live_bytes(self.device)
        with recorder(self.device) as allocator:
            self.step()  # a release is reported only for what was allocated while recording
            self.optimizer.zero_grad()
            with allocator.span("step"):
                self.step()
        return held + peak_delta(allocator.events[slice(*allocator.spans["step"])])

    def synchronize(self) -> None:
        """Wait for the device."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()


def compiled(
    model: LanguageModel, variant: Variant, store: str, time_limit: float
) -> Callable[..., torch.Tensor]:
    """The model's call, as the variant has it."""
    if variant.way in ("eager", "checkpoint"):
        return model
    if variant.way == "fastsa":
        options: dict[str, Any] = {
            "budget": int(variant.budget or 0),
            "store": store,
            "time_limit": time_limit,
        }
        return torch.compile(model, backend="fastsa", options=options)
    torch._functorch.config.activation_memory_budget = variant.budget or 0.0
    return torch.compile(model, backend=variant.way)


def serve(
    pipe: Connection[Any, Any], variant: Variant, size: Size, store: str, time_limit: float
) -> None:
    """A process's life: do what is asked, one word at a time."""
    os.environ.update(KINETO_LOG_LEVEL="99", TORCH_CPP_LOG_LEVEL="ERROR")
    trainer: Trainer | None = None
    while (asked := pipe.recv()) != "end":
        try:
            if trainer is None:
                trainer = Trainer(variant, size, store, time_limit)
            pipe.send(trainer.answer(asked))
        except Exception as error:  # noqa: BLE001  told to the parent, which leaves the variant out
            pipe.send(f"{type(error).__name__}: {str(error).strip().splitlines()[0]}")


class Failed(Exception):
    """What went wrong in a variant's process."""


class Process:
    """A variant's process, seen from outside."""

    def __init__(self, variant: Variant, size: Size, store: str, time_limit: float) -> None:
        self.variant = variant
        self._pipe, theirs = multiprocessing.Pipe()
        self._process = multiprocessing.get_context("spawn").Process(
            target=serve, args=(theirs, variant, size, store, time_limit), daemon=True
        )
        self._process.start()
        theirs.close()

    def ask(self, word: str) -> Any:
        """Its answer. Raises Failed."""
        try:
            self._pipe.send(word)
            answer = self._pipe.recv()
        except (EOFError, OSError) as error:
            raise Failed("its process died") from error
        if isinstance(answer, str):
            raise Failed(answer)
        return answer

    def begin(self) -> Row:
        """Warm up, measure the peak."""
        start = self.ask("step")
        self.ask("step")
        loss = self.ask("loss")  # of the second step, whoever it is
        for _ in range(WARM_UP if self.variant.way == "fastsa" else 0):
            self.ask("step")
        return Row(self.variant, self.ask("peak"), [], start, loss)

    def end(self) -> None:
        """Let it go."""
        if self._process.is_alive():
            self._pipe.send("end")
        self._process.join(10)


class Contest:
    """All variants of one size, until `deadline` (time.monotonic)."""

    def __init__(
        self, size: Size, rounds: int, time_limit: float, deadline: float, store: str
    ) -> None:
        self.size, self.rounds, self.time_limit = size, rounds, time_limit
        self.deadline, self.store = deadline, store
        self.rows: list[Row] = []
        self.missing: list[Missing] = []
        self._alive: list[tuple[Process, Row]] = []

    def run(self, baselines: tuple[Variant, ...]) -> None:
        """Rivals first, then fastsa at each of their peaks."""
        with self.ending():
            for baseline in baselines:
                self.enter(baseline)
            for budget in budgets(self.rows):
                self.enter(Variant("fastsa", budget))
            self.take_turns()
        plain = next(row for row in self.rows if row.variant.way == "eager")
        for row in self.rows:
            row.ratio = ratio(row.seconds, plain.seconds)

    @contextmanager
    def ending(self) -> Iterator[None]:
        """Ends the processes, whatever happens."""
        try:
            yield
        finally:
            for process, _ in self._alive:
                process.end()

    def enter(self, variant: Variant) -> None:
        """Start a variant, or say why not."""
        if time.monotonic() > self.deadline:
            self.missing.append(Missing(variant, "no time left"))
            return
        process = Process(variant, self.size, self.store, self.time_limit)
        try:
            row = process.begin()
        except Failed as failure:
            self.missing.append(Missing(variant, str(failure)))
            process.end()
            return
        self.rows.append(row)
        if torch.cuda.is_available():  # a process that stays would hold its part of the card
            row.seconds = [process.ask("step") for _ in range(self.rounds)]
            process.end()
        else:
            self._alive.append((process, row))

    def take_turns(self) -> None:
        """Alternate the steps of all processes."""
        for _ in range(self.rounds if self._alive else 0):
            for process, row in self._alive:
                row.seconds.append(process.ask("step"))


def budgets(rows: list[Row]) -> list[int]:
    """The peaks of the baselines, largest first, without those that are the same."""
    found: list[int] = []
    for peak in sorted((row.peak_bytes for row in rows), reverse=True):
        if not found or peak < found[-1] * (1 - SAME_PEAK):
            found.append(peak)
    return found


def ratio(seconds: list[float], plain: list[float]) -> float:
    """Median of step against plain step; both are of the same round, so load cancels out."""
    return statistics.median(a / b for a, b in zip(seconds, plain, strict=True))


def opponent(row: Row, rows: list[Row]) -> Row | None:
    """The fastsa row whose measured peak comes closest to this one's from below.

    Not the fastest: of several, that would be the luckiest.
    """
    ours = [
        r
        for r in rows
        if r.variant.way == "fastsa" and r.peak_bytes <= row.peak_bytes * (1 + SAME_PEAK)
    ]
    return max(ours, key=lambda r: r.peak_bytes, default=None)


def table(contest: Contest) -> list[str]:
    """The rows as markdown: each baseline beside fastsa at its peak."""
    lines = [
        f"### {contest.size.label()}",
        "",
        "| | peak, measured | step, fastest | of eager | first step "
        "| fastsa at that peak: peak | step, fastest | of eager | loss |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in contest.rows:
        if row.variant.way == "fastsa":
            continue
        ours = opponent(row, contest.rows)
        beside = "| - | - | - | - |"
        if ours is not None:
            same = "same" if ours.loss == row.loss else f"{ours.loss - row.loss:+.1e}"
            beside = (
                f"| {ours.peak_bytes / MIB:.1f} MiB | {min(ours.seconds):.3f} s "
                f"| {ours.ratio:.3f} | {same} |"
            )
        lines.append(
            f"| {row.variant.label()} | {row.peak_bytes / MIB:.1f} MiB | {min(row.seconds):.3f} s "
            f"| {row.ratio:.3f} | {row.start_seconds:.1f} s {beside}"
        )
    lines += [""] + [f"Not run: {m.variant.label()}: {m.why}." for m in contest.missing]
    return lines


def device_label() -> str:
    """The hardware the numbers are from."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"{platform.machine()} CPU, {torch.get_num_threads()} threads"


def draw(contests: list[Contest], path: Path) -> None:
    """Step time over peak, one panel per size."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, len(contests), squeeze=False, figsize=(8, 5))
    for contest, panel in zip(contests, panels[0], strict=True):
        for way in dict.fromkeys(row.variant.way for row in contest.rows):
            rows = [row for row in contest.rows if row.variant.way == way]
            rows.sort(key=lambda row: row.peak_bytes)
            peaks = [row.peak_bytes / MIB for row in rows]
            panel.plot(peaks, [row.ratio for row in rows], "o-", label=way)
        panel.set(
            title=contest.size.label(),
            xlabel="measured peak, MiB of the process",
            ylabel="step time, of plain eager",
        )
        panel.legend()
        panel.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(path)


def filled(size: Size, store: str) -> Size:
    """The size with a batch whose plain step fills a good part of the card."""
    peaks = []
    for batch in (1, 2):
        one = msgspec.structs.replace(size, batch=batch)
        process = Process(Variant("eager"), one, store, 0.0)
        peaks.append(process.begin().peak_bytes)
        process.end()
    room = FILL * torch.cuda.get_device_properties(0).total_memory
    more = int((room - peaks[1]) / max(1, peaks[1] - peaks[0]))
    return msgspec.structs.replace(size, batch=2 + max(0, more))


def document(contests: list[Contest]) -> dict[str, Any]:
    """All that was measured."""
    return {
        "schema": "fastsa.peers/1",
        "date": date.today().isoformat(),
        "device": device_label(),
        "torch": str(torch.__version__),
        "contests": [
            msgspec.to_builtins({"size": c.size, "rows": c.rows, "missing": c.missing})
            for c in contests
        ],
    }


@click.command()
@click.option("--layers", default=SMALL.layers)
@click.option("--width", default=SMALL.width)
@click.option("--length", default=SMALL.length)
@click.option("--batch", default=SMALL.batch)
@click.option("--dropout", default=SMALL.dropout)
@click.option("--rounds", default=7)
@click.option(
    "--ways", default="checkpoint,aot_eager,inductor", help="baselines beside plain eager"
)
@click.option("--time-limit", default=10.0, help="seconds of planning per budget")
@click.option("--deadline", default=420.0, help="seconds after which no variant is started")
@click.option("--json", "json_path", type=click.Path(path_type=Path))
@click.option("--picture", type=click.Path(path_type=Path))
@click.option("--page", type=click.Path(path_type=Path))
def main(
    layers: int,
    width: int,
    length: int,
    batch: int,
    dropout: float,
    rounds: int,
    ways: str,
    time_limit: float,
    deadline: float,
    json_path: Path | None,
    picture: Path | None,
    page: Path | None,
) -> None:
    """Print the table; on a GPU of sizes that fill it, else of the size given."""
    change = {"layers": layers, "width": width, "length": length, "batch": batch}
    sizes = [msgspec.structs.replace(SMALL, **change, heads=width // 64, dropout=dropout)]
    baselines = tuple(r for r in BASELINES if r.way in ("eager", *ways.split(",")))
    end = time.monotonic() + deadline
    contests = []
    with tempfile.TemporaryDirectory() as folder:
        store = str(Path(folder) / "store.db")
        if torch.cuda.is_available() and sizes == [SMALL]:
            sizes = [filled(size, store) for size in ON_GPU]
        for i, size in enumerate(sizes):
            left = (end - time.monotonic()) / (len(sizes) - i)
            contest = Contest(size, rounds, time_limit, time.monotonic() + left, store)
            contest.run(baselines)
            contests.append(contest)
    lines = [
        f"{date.today().isoformat()}, {device_label()}, torch {torch.__version__}, "
        f"Python {platform.python_version()}. By `python benchmarks/peers.py`.",
        "",
    ]
    for contest in contests:
        lines += table(contest)
    print("\n".join(lines))
    if page is not None:
        page.write_text("\n".join(lines) + "\n", encoding="utf-8")
    if json_path is not None:
        json_path.write_text(json.dumps(document(contests), indent=1), encoding="utf-8")
    if picture is not None:
        draw(contests, picture)


if __name__ == "__main__":
    main()
