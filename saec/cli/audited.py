"""How an audit is told: for people, as JSON, as CSV.

Invariant: ids and positions, never an address or what a message says.
"""

import csv
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

from saec.audit import MEANING, Audit, Finding, Kind, Report, Scope, Tally, audit
from saec.cli import output
from saec.contracts.instants import iso

__all__ = ["Scope", "as_dict", "audit", "show", "write_csv"]

_COLUMNS = (
    "kind",
    "messages",
    "request_id",
    "campaign_id",
    "channel",
    "customer_id",
    "due_at",
    "places",
    "detail",
)
# What a spreadsheet may take for the beginning of a formula, or skip to find one.
_FORMULAS = (
    "=",
    "+",
    "-",
    "@",
    "\t",
    "\r",
    "\n",
    "\N{FULLWIDTH EQUALS SIGN}",
    "\N{FULLWIDTH PLUS SIGN}",
    "\N{FULLWIDTH HYPHEN-MINUS}",
    "\N{FULLWIDTH COMMERCIAL AT}",
)


def write_csv(path: Path, done: Audit) -> None:
    """Write every finding."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, _COLUMNS)
        writer.writeheader()
        for finding in done.findings():
            row = _finding(finding)
            cells = {**row, "places": " ".join(row["places"])}
            writer.writerow({name: _cell(value) for name, value in cells.items()})


def _cell(value: Any) -> Any:
    """A cell that no spreadsheet takes for a formula: requesters choose what ids begin with."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULAS) else value


def _finding(one: Finding) -> dict[str, Any]:
    return {
        "kind": one.kind.value,
        "messages": one.messages,
        "request_id": None if one.request_id is None else str(one.request_id),
        "campaign_id": one.campaign_id,
        "channel": None if one.channel is None else one.channel.value,
        "customer_id": one.customer_id,
        "due_at": iso(one.due_ms),
        "places": [str(place) for place in one.places],
        "detail": one.detail,
    }


def as_dict(done: Audit, seconds: float, most: int) -> dict[str, Any]:
    """For JSON: the report, and so many of the findings."""
    report = done.report
    return {
        "reconciles": report.reconciles,
        "as_of": iso(report.as_of_ms),
        "scope": {
            "since": iso(report.scope.since_ms),
            "until": iso(report.scope.until_ms),
            "campaign_id": report.scope.campaign_id,
            "requester": report.scope.requester,
        },
        "late_ms": report.late_ms,
        "records": report.records,
        "seconds": round(seconds, 3),
        "sources": {channel.value: source for channel, source in report.sources.items()},
        "total": _tally(report.total),
        "by_channel": [{"channel": c.value, **_tally(t)} for c, t in report.by_channel.items()],
        "by_campaign": [{"campaign_id": c, **_tally(t)} for c, t in report.by_campaign.items()],
        "by_hour": [{"hour": iso(h), **_tally(t)} for h, t in report.by_hour.items()],
        "skipped": [asdict(one) for one in report.skipped],
        "gaps": [asdict(one) for one in report.gaps],
        "store": None
        if report.store is None
        else {table: asdict(one) for table, one in report.store.items()},
        "found": {kind.value: count for kind, count in report.findings.items()},
        "findings": [_finding(one) for one in islice(done.findings(), most)],
    }


def _tally(tally: Tally) -> dict[str, Any]:
    return {**asdict(tally), "found": {kind.value: n for kind, n in tally.found.items()}}


def show(done: Audit, seconds: float, most: int) -> None:
    """For people."""
    report = done.report
    rate = f"{report.records / seconds:,.0f}/s"
    output.line(f"{report.records:,} records, {seconds:,.1f} s ({rate}), as of {_as_of(report)}")
    rows = [(channel.value, *_row(tally)) for channel, tally in report.by_channel.items()]
    sources = [report.sources.get(channel) for channel in report.by_channel]
    output.table(
        "Messages",
        ("Channel", *_HEADS, "By"),
        [
            *((*row, source) for row, source in zip(rows, sources, strict=True)),
            ("all", *_row(report.total), None),
        ],
    )
    _show_campaigns(report.by_campaign, most)
    if report.skipped:
        skips = [(one.channel.value, one.reason, one.messages) for one in report.skipped]
        output.table("Skipped", ("Channel", "Reason", "Messages"), skips)
    if report.store is not None:
        rows_of = [(table, one.rows, one.unjudged) for table, one in report.store.items()]
        output.table("PostgreSQL", ("Table", "Rows", "Unjudged"), rows_of)
    for gap in report.gaps:
        output.line(
            f"{gap.topic}, partition {gap.partition}: what was before offset {gap.kept_from} was "
            "deleted by retention"
        )
    _show_findings(done, most)


_HEADS = ("Asked", "Expected", "Dispatched", "Skipped", "Stopped", "Awaited", "Findings")


def _row(tally: Tally) -> tuple[int, ...]:
    return (
        tally.asked,
        tally.expected,
        tally.dispatched,
        tally.skipped,
        tally.stopped,
        tally.awaited,
        sum(tally.found.values()),
    )


def _show_campaigns(tallies: Mapping[str | None, Tally], most: int) -> None:
    """Those that disagree first, then the largest."""
    named = {name: tally for name, tally in tallies.items() if name is not None}
    order = sorted(named, key=lambda name: (-sum(named[name].found.values()), -named[name].asked))
    if order:
        rows = [(name, *_row(named[name])) for name in order[:most]]
        more = f" ({most} of {len(order)})" if len(order) > most else ""
        output.table(f"Campaigns{more}", ("Campaign", *_HEADS), rows)


def _show_findings(done: Audit, most: int) -> None:
    found = done.report.findings
    if done.report.reconciles:
        output.line(
            "\nIt reconciles: everything that was expected was dispatched, once."
            if done.report.total.asked
            else "\nNothing was asked for, and nothing was dispatched; is the scope as meant?"
        )
        return
    output.line("\nIt does not reconcile.")
    rows = [(kind.value, count, MEANING[kind]) for kind, count in found.items()]
    output.table("Findings", ("Kind", "Count", "What it means"), rows)
    for one in _first_of_each(done.findings(), most):
        output.line(_line(one))
    if sum(found.values()) > most:
        output.line("… `--csv FILE` has all of them.")


def _first_of_each(findings: Iterator[Finding], most: int) -> Iterator[Finding]:
    shown: dict[Kind, int] = {}
    for one in findings:
        shown[one.kind] = shown.get(one.kind, 0) + 1
        if shown[one.kind] <= most:
            yield one


def _line(one: Finding) -> str:
    about = [
        one.kind.value,
        output.counted(one.messages, "message") if one.messages else None,
        None if one.request_id is None else f"request {one.request_id}",
        None if one.channel is None else one.channel.value,
        None if one.customer_id is None else f"customer {one.customer_id}",
        " ".join(str(place) for place in one.places[:3]) + (" …" if len(one.places) > 3 else ""),
        one.detail,
    ]
    return "  ".join(part for part in about if part)


def _as_of(report: Report) -> str:
    return iso(report.as_of_ms)
