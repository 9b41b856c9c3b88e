"""Where the commands write: results to stdout, everything else to stderr.

Invariant: what a stranger wrote is printed without its control characters and never as markup.
"""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import typer
from rich import box
from rich.console import Console, JustifyMethod
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

_PROGRESS_FROM = 500
_MIN_WIDTH = 100
Advance = Callable[[int], None]


def stdout() -> Console:
    """The console of results; wide enough for a table when it is not a terminal."""
    console = Console(highlight=False, soft_wrap=False)
    if not console.is_terminal:
        console.width = max(console.width, _MIN_WIDTH)
    return console


def stderr() -> Console:
    """The console of everything that is not the result."""
    return Console(stderr=True, highlight=False, soft_wrap=True)


def as_json(value: Any) -> None:
    """Print a result as one line of JSON; what a terminal would obey is escaped in it."""
    typer.echo(_escaped(json.dumps(value, ensure_ascii=False, separators=(",", ":"))))


def line(text: str) -> None:
    """Print one line of a result."""
    typer.echo(printable(text))


def note(text: str) -> None:
    """Tell something that is not the result."""
    stderr().print(Text(printable(text)))


def error(text: str) -> None:
    """Tell what went wrong."""
    stderr().print(Text.assemble(("error: ", "bold red"), printable(text)))


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print a table; whole numbers are right-aligned and get thousands separators."""
    shown = Table(
        title=f"\n{title}",
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        padding=(0, 1),
        collapse_padding=True,
        show_edge=False,
    )
    numeric = {i for row in rows for i, cell in enumerate(row) if isinstance(cell, int)}
    for index, column in enumerate(columns):
        justify: JustifyMethod = "right" if index in numeric else "left"
        shown.add_column(column, justify=justify, overflow="fold")
    for row in rows:
        shown.add_row(*(_cell(cell) for cell in row))
    console = stdout()
    if console.is_terminal:
        console.print(shown)
        return
    with console.capture() as captured:
        console.print(shown)
    for text in captured.get().splitlines():  # padded to the width, of no use in a file
        typer.echo(text.rstrip())


@contextmanager
def progress(label: str, total: int) -> Iterator[Advance]:
    """A bar on stderr when there is much to do and somebody to see it."""
    console = stderr()
    if total < _PROGRESS_FROM or not console.is_terminal:
        yield lambda _: None
        return
    columns = (TextColumn(label), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(label, total=total)
        yield lambda done: bar.update(task, completed=done)


@contextmanager
def progress_of(label: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on stderr with a rate, for what is told as `(done, total)`."""
    console = stderr()
    if not console.is_terminal:
        yield lambda _done, _total: None
        return
    columns = (
        TextColumn(label),
        BarColumn(),
        _DoneColumn(),
        _RateColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(label, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


class _DoneColumn(ProgressColumn):
    """How many of how many, thousands apart."""

    def render(self, task: Task) -> Text:
        """Nothing until it is known of how many."""
        return Text("" if task.total is None else f"{task.completed:,.0f}/{task.total:,.0f}")


class _RateColumn(ProgressColumn):
    """How many a second."""

    def render(self, task: Task) -> Text:
        """The rate of the last half minute."""
        return Text("" if task.speed is None else f"{task.speed:,.0f}/s")


def counted(number: int, noun: str) -> str:
    """`1 customer`, `2 customers`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def stdout_is_terminal() -> bool:
    """True when a person reads the result."""
    return sys.stdout.isatty()


def printable(text: str) -> str:
    """The text without what a terminal would obey."""
    return "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text)


def _escaped(text: str) -> str:
    """JSON with an escape in place of each character that cannot be printed."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text)


def _cell(value: Any) -> Text:
    if value is None:
        return Text("–")
    return Text(f"{value:,}" if isinstance(value, int) else printable(str(value)))
