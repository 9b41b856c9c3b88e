"""The plots of an audit, as SVG to stand inside a page.

Invariant: the same report gives the same bytes; colours are the page's own (CSS variables), and no
plot needs a colour to be read.
"""

import io
import math
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import matplotlib as mpl
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from saec.audit.report import Tally
from saec.audit.spans import Span
from saec.contracts.events import Channel

# Each is replaced by the page's variable of that name; alone, a plot has these (Okabe and Ito's).
COLOURS = {
    "ink": "#1d2329",
    "faint": "#c9ced4",
    "paper": "#fefefe",
    "dispatched": "#0072b2",
    "skipped": "#e69f00",
    "stopped": "#cc79a7",
    "awaited": "#56b4e9",
    "unjudged": "#8a8f94",
    "found": "#d55e00",
}
_HATCHES = {
    "dispatched": "",
    "skipped": "////",
    "stopped": "\\\\\\\\",
    "awaited": "---",
    "unjudged": "xxx",
    "found": "+++",
}
_STYLE = {
    "font.size": 9,
    "text.color": COLOURS["ink"],
    "axes.edgecolor": COLOURS["faint"],
    "axes.labelcolor": COLOURS["ink"],
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 9,
    "xtick.color": COLOURS["faint"],
    "xtick.labelcolor": COLOURS["ink"],
    "ytick.color": COLOURS["faint"],
    "ytick.labelcolor": COLOURS["ink"],
    "grid.color": COLOURS["faint"],
    "grid.linewidth": 0.5,
    "hatch.linewidth": 0.8,
    "svg.fonttype": "none",
}
_WIDTH_IN = 4.2  # narrow, so that its text can be read on a phone
_ROOT = re.compile(r".*?<svg[^>]*?(viewBox=\"[^\"]*\")[^>]*>(.*)</svg>", re.DOTALL)
# Nothing refers to a group, and two plots in one page would have the same ids. The metadata hold
# the date.
_UNWANTED = re.compile(
    r"<metadata>.*?</metadata>|<style.*?</style>|(?<=<g) id=\"[^\"]*\"|\n\s*", re.DOTALL
)
_FINE = re.compile(r"(\d\.\d\d)\d+(?=[ \"])")  # finer than a hundredth of a point
_PANELS: tuple[tuple[str, str, Callable[[Tally], int]], ...] = (
    ("Skipped", "skipped", lambda tally: tally.skipped),
    ("Stopped by a cancel", "stopped", lambda tally: tally.stopped),
    ("Awaited", "awaited", lambda tally: tally.awaited),
    ("Unjudged", "unjudged", lambda tally: tally.unjudged),
    ("In findings", "found", lambda tally: sum(tally.found.values())),
)


def by_time(spans: Sequence[Span]) -> str:
    """What was expected and dispatched, and what else became of it, span by span."""
    panels = [one for one in _PANELS if any(one[2](span.tally) for span in spans)]
    heights = [2.0, *(1.0 for _ in panels)]
    with mpl.rc_context({**_STYLE, "svg.hashsalt": "by_time"}):
        figure = Figure((_WIDTH_IN, 0.5 + 0.85 * sum(heights)), layout="constrained")
        axes = figure.subplots(len(heights), 1, sharex=True, squeeze=False, height_ratios=heights)
        edges = [_date(one.start_ms) for one in spans] + [_date(spans[-1].end_ms)]
        first, *others = axes[:, 0]
        dispatched = [one.tally.dispatched for one in spans]
        expected = [one.tally.expected for one in spans]
        _steps(first, dispatched, edges, "dispatched", top=max(expected))
        first.stairs(expected, edges, color=COLOURS["ink"], linewidth=1.2, baseline=None)
        _dress(first, "Dispatched (filled) and expected (line)")
        for ax, (title, name, count) in zip(others, panels, strict=True):
            counts = [count(one.tally) for one in spans]
            _steps(ax, counts, edges, name)
            _dress(ax, f"{title}: {sum(counts):,}")
        _dates(axes[-1, 0], edges)
        return _svg(figure, "by_time")


def by_channel(tallies: Mapping[Channel, Tally]) -> str:
    """Which part of what was asked on each channel was dispatched, skipped, and so on."""
    shares = {channel: _shares(tally) for channel, tally in tallies.items()}
    names = [name for name in _HATCHES if any(share[name] for share in shares.values())]
    with mpl.rc_context({**_STYLE, "svg.hashsalt": "by_channel"}):
        figure = Figure((_WIDTH_IN, 0.9 + 0.34 * len(shares)), layout="constrained")
        ax = figure.subplots()
        lefts = [0.0] * len(shares)
        for name in names:
            widths = [share[name] for share in shares.values()]
            label = "missing" if name == "found" else name
            ax.barh(
                [channel.value for channel in shares],
                widths,
                left=lefts,
                label=label,
                height=0.62,
                facecolor=COLOURS[name],
                edgecolor=COLOURS["paper"],
                hatch=_HATCHES[name],
            )
            lefts = [left + width for left, width in zip(lefts, widths, strict=True)]
        ax.invert_yaxis()
        ax.set_xlim(0, 100)
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}%"))
        ax.tick_params(axis="y", length=0)
        ax.spines["left"].set_visible(False)
        figure.legend(
            loc="outside upper left", ncols=3, frameon=False, handlelength=1.6, borderpad=0
        )
        return _svg(figure, "by_channel")


def _shares(tally: Tally) -> dict[str, float]:
    parts = {
        "dispatched": tally.dispatched,
        "skipped": tally.skipped,
        "stopped": tally.stopped,
        "awaited": tally.awaited,
        "unjudged": tally.unjudged,
        "found": max(tally.expected - tally.dispatched, 0),
    }
    whole = sum(parts.values()) or 1
    return {name: 100 * part / whole for name, part in parts.items()}


def _steps(
    ax: Any, counts: Sequence[int], edges: Sequence[float], name: str, *, top: int = 1
) -> None:
    ax.stairs(counts, edges, fill=True, facecolor=COLOURS[name])
    # A few beside many cannot be seen: a dash below says that there are some.
    highest = max(*counts, top)
    dash_y = -0.07 * highest
    xs = [x for i, n in enumerate(counts) if n for x in (edges[i], edges[i + 1], math.nan)]
    ax.plot(xs, [dash_y] * len(xs), color=COLOURS[name], linewidth=2, solid_capstyle="butt")
    ax.set_ylim(2 * dash_y, 1.05 * highest)


def _dress(ax: Any, title: str) -> None:
    ax.set_title(title)
    ax.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
    ax.grid(visible=True, axis="y")
    ax.set_axisbelow(True)
    ax.spines["left"].set_visible(False)
    ax.tick_params(axis="y", length=0)


def _dates(ax: Any, edges: Sequence[float]) -> None:
    locator = AutoDateLocator(tz=UTC, minticks=3, maxticks=6)
    ax.set_xlim(edges[0], edges[-1])
    ax.xaxis.set_major_locator(locator)
    ax.xaxis.set_major_formatter(ConciseDateFormatter(locator, tz=UTC))


def short(value: float) -> str:
    """A count for an axis: `900`, `1.5k`, `20M`."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{unit}"
    return f"{value:g}"


def _date(at_ms: int) -> float:
    return float(date2num(datetime.fromtimestamp(at_ms / 1000, UTC)))


def _svg(figure: Any, name: str) -> str:
    """As an element of HTML, named by the elements `name-title` and `name-text`."""
    file = io.StringIO()
    figure.savefig(file, format="svg", transparent=True)
    found = _ROOT.match(file.getvalue())
    if found is None:
        raise RuntimeError("matplotlib wrote no SVG")
    body = _FINE.sub(r"\1", _UNWANTED.sub("", found[2]))
    for variable, colour in COLOURS.items():
        body = body.replace(colour, f"var(--{variable}, {colour})")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'{found[1]} role="img" aria-labelledby="{name}-title" aria-describedby="{name}-text">'
        f"{body}</svg>"
    )
