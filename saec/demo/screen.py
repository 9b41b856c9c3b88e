"""What the demo shows: a live table on a terminal, plain lines otherwise."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from rich import box
from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from saec.contracts.events import Channel
from saec.demo.tally import Tally
from saec.demo.verdict import Verdict

_LINE_EVERY_S = 2.0
_REFRESH_PER_S = 8
_SHOWN_DIFFERENCES = 20
_COUNTS = ("expected", "dispatched", "missing", "duplicate", "early", "extra", "altered")


class View(Protocol):
    """Shows a tally while it fills."""

    def show(self, tally: Tally, since_due_s: float) -> None:
        """Show it as it is, `since_due_s` seconds after the first due instant."""
        ...


class Screen:
    """The demo's output on one console."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def step(self, text: str, took_s: float) -> None:
        """Tell that something is done."""
        told = Text.assemble(("✓ ", "green"), text, (f"  ({took_s:.1f} s)", "dim"))
        self._console.print(told, soft_wrap=True)

    def note(self, text: str) -> None:
        """Tell something."""
        self._console.print(Text(text), soft_wrap=True)

    @contextmanager
    def live(self) -> Iterator[View]:
        """A view for the time in which messages arrive."""
        if not self._console.is_terminal:
            yield _Lines(self._console)
            return
        with Live(console=self._console, refresh_per_second=_REFRESH_PER_S) as live:
            yield _LiveTable(live)

    def verdict(self, verdict: Verdict) -> None:
        """Show expected against dispatched, and whether that is well."""
        for table in (_channels(verdict), _answers(verdict)):
            self._table(table)
        for difference in verdict.differences[:_SHOWN_DIFFERENCES]:
            self._console.print(Text(difference, "red"), soft_wrap=True)
        word = Text("OK", "bold green") if verdict.ok else Text("FAILED", "bold red")
        self._console.print(Text.assemble(word, "  ", _sentence(verdict)), soft_wrap=True)

    def _table(self, table: Table) -> None:
        if self._console.is_terminal:
            self._console.print(table)
            return
        with self._console.capture() as captured:
            self._console.print(table)
        for line in captured.get().splitlines():  # padded to the width, of no use in a file
            self._console.print(Text(line.rstrip()), soft_wrap=True)


class _Lines:
    """A line every two seconds, and one at the end."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._console.print("Arrived of expected, by channel (late: p50/p99/max)", soft_wrap=True)
        self._next_s = 0.0

    def show(self, tally: Tally, since_due_s: float) -> None:
        if since_due_s < self._next_s and not tally.complete:
            return
        self._next_s = since_due_s + _LINE_EVERY_S
        counts = "  ".join(
            f"{channel} {tally.arrived(channel):,}/{tally.expected.of_channel(channel):,}"
            f"{_late(tally, channel)}"
            for channel in Channel
        )
        self._console.print(Text(f"{since_due_s:5.1f} s  {counts}"), soft_wrap=True)


class _LiveTable:
    """One table, drawn over and over."""

    def __init__(self, live: Live) -> None:
        self._live = live

    def show(self, tally: Tally, since_due_s: float) -> None:
        since = f"{since_due_s:.0f} s since the first was due" if since_due_s > 0 else "waiting"
        numbers = ("", "arrived", "expected", "late p50", "p99", "max")
        table = _table(f"Channel topics: {since}", "channel", numbers)
        for channel in Channel:
            arrived, expected = tally.arrived(channel), tally.expected.of_channel(channel)
            bar = ProgressBar(total=expected, completed=arrived, width=20)
            table.add_row(channel, bar, f"{arrived:,}", f"{expected:,}", *_cells(tally, channel))
        for column in table.columns[-3:]:
            column.min_width = 8  # so that the table does not jump
        self._live.update(table)


def _channels(verdict: Verdict) -> Table:
    table = _table("Messages, read back from the topics", "channel", _COUNTS)
    for one in verdict.channels:
        counts = (f"{getattr(one, name):,}" for name in _COUNTS)
        table.add_row(one.channel, *counts, style="" if one.ok else "bold red")
    return table


def _answers(verdict: Verdict) -> Table:
    table = _table("Answers", "answer", ("expected", "found"))
    for one in verdict.answers:
        style = "" if one.expected == one.found else "bold red"
        table.add_row(one.answer, f"{one.expected:,}", f"{one.found:,}", style=style)
    return table


def _table(title: str, first: str, numbers: Sequence[str]) -> Table:
    table = Table(
        title=f"\n{title}",
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        padding=(0, 1),
        collapse_padding=True,
        show_edge=False,
    )
    table.add_column(first)
    for name in numbers:
        table.add_column(name, justify="right")
    return table


def _cells(tally: Tally, channel: Channel) -> tuple[str, str, str]:
    late = tally.lateness(channel)
    if late is None:
        return "–", "–", "–"
    return f"{late.p50_ms:,} ms", f"{late.p99_ms:,} ms", f"{late.max_ms:,} ms"


def _late(tally: Tally, channel: Channel) -> str:
    late = tally.lateness(channel)
    return f" (late {late.p50_ms}/{late.p99_ms}/{late.max_ms} ms)" if late else ""


def _sentence(verdict: Verdict) -> str:
    total = sum(channel.dispatched for channel in verdict.channels)
    if verdict.ok:
        return f"each of {total:,} messages is there once, none early; every answer is right."
    return f"{total:,} messages read; the table and the lines above it say what is wrong."
