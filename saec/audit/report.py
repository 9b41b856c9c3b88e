"""The result of an audit, as plain values: what was expected, what was dispatched, do they agree?

Invariant: `reconciles` is true only when nothing was found, nothing was left unjudged, and what was
expected is what was dispatched.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from saec.audit.books import Books
from saec.audit.findings import Kind
from saec.audit.scope import Scope
from saec.contracts.events import Channel, bits_to_channels
from saec.store.export import EXPORTED

HOUR_MS = 3_600_000


@dataclass(frozen=True, slots=True)
class Tally:
    """Messages. `asked` = `expected` + `skipped` + `stopped` + `awaited` + `unjudged`.

    `stopped`: by a cancel. `awaited`: not due, or on their way, when the audit began. `from_ledger`
    of the dispatched are known from the ledger alone, their topic does not hold them any more.
    `found`: how many messages the findings of each kind are about.
    """

    asked: int
    expected: int
    dispatched: int
    from_ledger: int
    skipped: int
    stopped: int
    awaited: int
    unjudged: int
    found: Mapping[Kind, int]


@dataclass(frozen=True, slots=True)
class Skipped:
    """Messages that could not go out by a channel, and why (a reason code)."""

    channel: Channel
    reason: str
    messages: int


@dataclass(frozen=True, slots=True)
class Gap:
    """A partition whose beginning retention took: it begins at `kept_from` now."""

    topic: str
    partition: int
    kept_from: int


@dataclass(frozen=True, slots=True)
class Compared:
    """Rows of a table of PostgreSQL; of `unjudged` of them the records are not kept any more."""

    rows: int
    unjudged: int


@dataclass(frozen=True, slots=True)
class Report:
    """What an audit found. Instants are epoch milliseconds.

    `records` were read, of `topics`; `findings` counts them by kind. `sources`: by channel, whether
    its topic or the ledger says what was dispatched, or both. `store`: by table, what of PostgreSQL
    was compared; None when that was not asked for.
    """

    scope: Scope
    as_of_ms: int
    late_ms: int
    records: int
    total: Tally
    by_channel: Mapping[Channel, Tally]
    by_campaign: Mapping[str | None, Tally]
    by_hour: Mapping[int, Tally]
    skipped: tuple[Skipped, ...]
    findings: Mapping[Kind, int]
    sources: Mapping[Channel, str]
    gaps: tuple[Gap, ...]
    store: Mapping[str, Compared] | None = None

    @property
    def reconciles(self) -> bool:
        """True when asked and dispatched agree, as far as the scope goes."""
        return not self.findings and self.total.expected == self.total.dispatched


_MEASURES = ", ".join(
    f"coalesce(sum({measure}), 0)::BIGINT"
    for measure in (
        "asked",
        "asked - skipped - stopped - awaited - unjudged",
        "dispatched",
        "from_ledger",
        "skipped",
        "stopped",
        "awaited",
        "unjudged",
    )
)
_TALLIES = """
    CREATE TABLE tallies AS
    SELECT channel, campaign_id, due_ms // 3600000 * 3600000 AS hour_ms, sum(asked) AS asked,
           sum(dispatched) AS dispatched, sum(from_ledger) AS from_ledger, sum(skipped) AS skipped,
           sum(stopped) AS stopped,
           sum(CASE WHEN fate = 'awaited' THEN rest + lacking ELSE 0 END) AS awaited,
           sum(CASE WHEN fate = 'unjudged' THEN rest ELSE 0 END) AS unjudged
    FROM judged GROUP BY ALL
"""
_FOUND = """
    CREATE TABLE found AS
    SELECT kind, channel, campaign_id, due_ms // 3600000 * 3600000 AS hour_ms,
           sum(messages) AS messages FROM findings GROUP BY ALL
"""
_SKIPPED = """
    SELECT channel, reason, sum(messages)::BIGINT FROM skipped SEMI JOIN accepted USING (request_id)
    GROUP BY ALL ORDER BY channel, reason
"""
_SOURCES = """
    SELECT channel, sum(dispatched)::BIGINT, sum(from_ledger)::BIGINT FROM judged
    GROUP BY channel ORDER BY channel
"""


def summarise(books: Books, scope: Scope, as_of_ms: int, late_ms: int) -> Report:
    """Add up what was derived and found."""
    books.run(_TALLIES)
    books.run(_FOUND)
    by_channel = {_channel(bit): t for bit, t in _grouped(books, "channel").items() if bit}
    found = books.rows("SELECT kind, count(*) FROM findings GROUP BY kind")
    return Report(
        scope,
        as_of_ms,
        late_ms,
        int(books.rows("SELECT coalesce(sum(last - first), 0)::BIGINT FROM extents")[0][0]),
        _grouped(books, "NULL").get(None) or _tally((0,) * 8, {}),
        by_channel,
        _grouped(books, "campaign_id"),
        {hour: t for hour, t in _grouped(books, "hour_ms").items() if hour is not None},
        tuple(Skipped(_channel(bit), *rest) for bit, *rest in books.rows(_SKIPPED)),
        dict(
            sorted(((Kind(kind), count) for kind, count in found), key=lambda one: _place(one[0]))
        ),
        {_channel(bit): _source(*rest) for bit, *rest in books.rows(_SOURCES)},
        tuple(
            Gap(*row)
            for row in books.rows(
                "SELECT topic, partition, kept FROM extents WHERE kept > 0 ORDER BY ALL"
            )
        ),
        _compared(books) if scope.store else None,
    )


def _compared(books: Books) -> dict[str, Compared]:
    unjudged = dict(
        books.rows('SELECT "table", sum("rows")::BIGINT FROM not_compared GROUP BY "table"')
    )
    return {
        table: Compared(
            int(books.rows(f"SELECT count(*) FROM pg.{table}")[0][0]), unjudged.get(table, 0)
        )
        for table in EXPORTED
    }


def _grouped(books: Books, by: str) -> dict[Any, Tally]:
    found: dict[Any, dict[Kind, int]] = {}
    for key, kind, messages in books.rows(
        f"SELECT {by}, kind, sum(messages)::BIGINT FROM found GROUP BY ALL ORDER BY ALL"
    ):
        found.setdefault(key, {})[Kind(kind)] = messages
    tallies = {
        key: _tally(counts, found.get(key, {}))
        for key, *counts in books.rows(
            f"SELECT {by}, {_MEASURES} FROM tallies GROUP BY ALL ORDER BY ALL"
        )
    }
    return {**{key: _tally((0,) * 8, kinds) for key, kinds in found.items()}, **tallies}


def _tally(counts: Sequence[int | None], found: Mapping[Kind, int]) -> Tally:
    # Of no rows the sums are NULL.
    asked, expected, dispatched, from_ledger, skipped, stopped, awaited, unjudged = (
        count or 0 for count in counts
    )
    return Tally(
        asked,
        expected,
        dispatched,
        from_ledger,
        skipped,
        stopped,
        awaited,
        unjudged,
        dict(found),
    )


def _place(kind: Kind) -> int:
    return list(Kind).index(kind)


def _channel(bit: int) -> Channel:
    return bits_to_channels(bit)[0]


def _source(dispatched: int, from_ledger: int) -> str:
    if not from_ledger:
        return "topic"
    return "ledger" if from_ledger == dispatched else "topic and ledger"
