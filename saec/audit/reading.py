"""Reads the topics into the books: requests, answers, the ledger, then the channels.

Two hands: one reads and decodes, the other writes what the first has read. Invariant: the books are
written in the order of reading, a whole number of blocks at a time.
"""

import gc
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from queue import Queue

import numpy as np
import pyarrow as pa

from saec.audit import canonical, kept
from saec.audit.books import Books
from saec.audit.records import Page, read_pages
from saec.audit.scope import Scope
from saec.contracts.headers import RawHeaders
from saec.contracts.rejected import RejectedError
from saec.contracts.status import answered
from saec.errors import Reason
from saec.kafka.bulk import Block, blocks
from saec.kafka.stretches import Stretch
from saec.settings import Settings

Told = Callable[[int], None]
"""Hears how many more offsets were read."""

_TRANSACTION_ROWS = 100_000
_STATEMENT_ROWS = 20_000
_AHEAD = 1
_INSERT = {
    "schedule_requested": """
        INSERT INTO requests
        SELECT partition, "offset", stamped_ms, TRY_CAST(request_id AS UUID), requester,
               campaign_id, channels, customers, len(customers), due_ms, expires_ms,
               md5_number(content_0 || content_1 || content_2 || content_3 || content_4),
               list_unique(customers) < len(customers)
        FROM page WHERE {scope}
    """,
    "cancel_requested": """
        INSERT INTO cancels
        SELECT partition, "offset", stamped_ms, TRY_CAST(request_id AS UUID), requester FROM page
    """,
    "request_status": """
        INSERT INTO answers
        SELECT partition, "offset", source_partition, source_offset,
               TRY_CAST(request_id AS UUID), status, reason, stopped, people_stopped, late
        FROM page WHERE source_offset IS NOT NULL
    """,
    "shard_taken": """
        INSERT INTO batches SELECT partition, "offset", 'taken', batch_no, epoch FROM page
    """,
    "batch_opened": """
        INSERT INTO batches SELECT partition, "offset", 'opened', batch_no, epoch FROM page
    """,
    "batch_committed": """
        INSERT INTO batches SELECT partition, "offset", 'committed', batch_no, epoch FROM page;
        INSERT INTO slices
        SELECT partition, "offset", batch_no, dispatched_ms, unnest(request_ids)::UUID,
               unnest(slice_nos), unnest(recipients), unnest(messages)
        FROM page;
        INSERT INTO skips
        SELECT partition, "offset", unnest(skip_request_ids)::UUID, unnest(skip_slice_nos),
               unnest(skip_channels), unnest(skip_reasons), unnest(skip_messages)
        FROM page WHERE len(skip_request_ids) > 0
    """,
    "dispatch_message": """
        INSERT INTO sent
        SELECT topic, partition, "offset", stamped_ms, message_id, content_no,
               hash(customer_id),
               coalesce(key = encode(coalesce(customer_id, request_id)), false)
                   AND channel = topic AND addressed = (topic <> 8),
               dispatched_ms
        FROM page
    """,
    "contents": """
        INSERT INTO contents
        SELECT content_no, TRY_CAST(request_id AS UUID), md5_number(content), due_ms, {scope}
        FROM page
    """,
    "strangers": """
        INSERT INTO strangers SELECT topic, partition, "offset", stamped_ms, reason FROM page
    """,
    **kept.INSERT,
}

# No more digits than a number of a partition and an offset take.
_PLACE = re.compile(r"(\d{1,9})/(\d{1,18})", re.ASCII)

Rows = tuple[str, pa.Table]
"""What to insert, by its name in `_INSERT`."""


def read(settings: Settings, books: Books, scope: Scope, told: Told) -> None:
    """Read what the books' extents name and do not hold yet.

    Raises:
        BrokerUnavailableError: no answer; what was read until then is kept.
    """
    reached = books.reached()
    left: dict[str, dict[int, Stretch]] = {}
    for one in books.extents():
        start = reached[one.topic, one.partition]
        left.setdefault(one.topic, {})[one.partition] = Stretch(start, one.last)
    truncated = {(one.topic, one.partition) for one in books.extents() if one.first == one.kept > 0}
    # Arrow's other allocators keep what they once took.
    pa.set_memory_pool(pa.system_memory_pool())
    with _no_collector(), _writing(books, scope) as write:
        for topic, understand in _topics(settings, books, scope).items():
            before = {partition: stretch.start for partition, stretch in left[topic].items()}
            for block in blocks(settings, topic, left[topic]):
                oldest_ms = _oldest(block, truncated)
                count, reached_now = len(block.values), block.reached
                write(_Written(topic, count, reached_now, oldest_ms, understand(block)))
                told(_advance(before, reached_now))
    pa.default_memory_pool().release_unused()  # the joins need the room


@contextmanager
def _no_collector() -> Iterator[None]:
    """Python looks for cycles among ten thousand records at a time, and there are none."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


@dataclass(frozen=True, slots=True)
class _Written:
    """What a block came to, without its records: they take room until nobody holds them.

    `oldest_ms`: of partitions whose beginning is gone, the stamp of the first record here.
    """

    topic: str
    records: int
    reached: Mapping[int, int]
    oldest_ms: Mapping[int, int]
    rows: Sequence[Rows]


def _topics(
    settings: Settings, books: Books, scope: Scope
) -> dict[str, Callable[[Block], list[Rows]]]:
    """Causes before effects, so that a scope can be told by what was read."""
    names, messages, key = settings.topics, _Messages(books), books.digest_key
    compared: dict[str, Callable[[Block], list[Rows]]] = {
        names.requests: lambda block: _with_details(_requests(block), block),
        names.registry: lambda block: [("registered", kept.registered(block, key))],
    }
    return {
        names.requests: _requests,
        **(compared if scope.store else {}),
        names.status: lambda block: _answers(block, names.requests),
        names.ledger: _ledger,
        **{name: messages.of(channel.bit) for channel, name in names.dispatch.items()},
    }


def _requests(block: Block) -> list[Rows]:
    def as_written(row: int) -> bytes:
        if block.is_lost(row):
            raise RejectedError(Reason.UNREADABLE_RECORD, "not readable by the client")
        return canonical.request(block.values[row], block.headers(row))

    return _rows(block, ("schedule_requested", "cancel_requested"), as_written)


def _with_details(found: list[Rows], block: Block) -> list[Rows]:
    """With what PostgreSQL keeps of the requests."""
    more = [kept.details(page, block) for name, page in found if name == "schedule_requested"]
    return [*found, *(("details", page) for page in more)]


class _Messages:
    """Numbers the contents of messages, over all of an audit."""

    def __init__(self, books: Books) -> None:
        self._next = int(books.rows("SELECT coalesce(max(content_no), 0) + 1 FROM contents")[0][0])

    def of(self, bit: int) -> Callable[[Block], list[Rows]]:
        """What understands a block of the channel with this bit."""
        return lambda block: self._rows(block, bit)

    def _rows(self, block: Block, bit: int) -> list[Rows]:
        def as_written(row: int) -> bytes:
            return canonical.message(block.values[row])

        found: list[Rows] = []
        for name, page, shared in _pages(block, ("dispatch_message",), as_written):
            if shared is None:
                found.append((name, page))
                continue
            numbers = pa.array(np.arange(self._next, self._next + len(shared), dtype=np.int32))
            self._next += len(shared)
            found.append(("contents", shared.append_column("content_no", numbers)))
            keys = pa.array(block.keys, pa.binary()).take(page["row"])
            messages = (
                page.append_column("key", keys)
                .append_column("topic", pa.repeat(pa.scalar(bit, pa.uint8()), len(page)))
                .append_column("content_no", numbers.take(page["content"]))
                .append_column("request_id", _spread(shared["request_id"], page["content"]))
            )
            found.append((name, messages))
        return found


def _spread(values: pa.ChunkedArray, which: pa.ChunkedArray) -> pa.Array:
    return pa.DictionaryArray.from_arrays(which.combine_chunks(), values.combine_chunks())


def _answers(block: Block, requests: str) -> list[Rows]:
    found = _rows(block, ("request_status",), lambda row: canonical.status(block.values[row]))
    return [
        (name, page if name == "strangers" else _with_sources(page, block, requests))
        for name, page in found
    ]


def _with_sources(page: pa.Table, block: Block, requests: str) -> pa.Table:
    """Which record of saec.requests each answers; null when it is none of them."""
    places = [_source(block.headers(row), requests) for row in page["row"].to_pylist()]
    return (
        page.append_column("source_partition", pa.array([place[0] for place in places], pa.int32()))
        .append_column("source_offset", pa.array([place[1] for place in places], pa.int64()))
        .append_column("late", pa.array([place[2] for place in places], pa.bool_()))
    )


def _source(headers: RawHeaders, requests: str) -> tuple[int | None, int | None, bool]:
    for name, value in headers or ():
        if name == "ce_id" and value is not None:
            about, late = answered(value.decode("utf-8", "replace"))
            named, _, place = about.partition("/")
            found = _PLACE.fullmatch(place) if named == requests else None
            return (int(found[1]), int(found[2]), late) if found else (None, None, False)
    return None, None, False


def _ledger(block: Block) -> list[Rows]:
    events = ("shard_taken", "batch_opened", "batch_committed")
    return _rows(block, events, lambda row: canonical.ledger(block.values[row]))


def _rows(block: Block, events: Sequence[str], as_written: Callable[[int], bytes]) -> list[Rows]:
    return [(name, page) for name, page, _ in _pages(block, events, as_written)]


def _pages(
    block: Block, events: Sequence[str], as_written: Callable[[int], bytes]
) -> list[tuple[str, pa.Table, pa.Table | None]]:
    """A block's pages, with the place of each record and what they share; and what is no event."""
    if not block.values:
        return []
    pages, strange = read_pages(block.values, events, as_written)
    found = [(page.event, _placed(page, block), page.shared) for page in pages]
    if strange:
        places = [
            {
                "topic": block.topic,
                "partition": block.partitions[one.row],
                "offset": block.offsets[one.row],
                "stamped_ms": block.stamps_ms[one.row],
                "reason": one.reason,
            }
            for one in strange
        ]
        found.append(("strangers", pa.Table.from_pylist(places), None))
    return found


def _placed(page: Page, block: Block) -> pa.Table:
    rows = page.rows["row"].to_numpy()
    return (
        page.rows.append_column("partition", pa.array(np.array(block.partitions, np.int32)[rows]))
        .append_column("offset", pa.array(np.array(block.offsets, np.int64)[rows]))
        .append_column("stamped_ms", pa.array(np.array(block.stamps_ms, np.int64)[rows]))
    )


def _oldest(block: Block, truncated: set[tuple[str, int]]) -> dict[int, int]:
    found: dict[int, int] = {}
    if truncated:
        for partition, stamp in zip(block.partitions, block.stamps_ms, strict=True):
            if (block.topic, partition) in truncated:
                found.setdefault(partition, stamp)
    return found


def _advance(before: dict[int, int], reached: Mapping[int, int]) -> int:
    """How many offsets were passed; `before` is brought up to it."""
    passed = sum(offset - before[partition] for partition, offset in reached.items())
    before.update(reached)
    return passed


@contextmanager
def _writing(books: Books, scope: Scope) -> Iterator[Callable[[_Written], None]]:
    """A second hand that writes; what it could not write is raised here."""
    handed: Queue[_Written | None] = Queue(_AHEAD)
    failures: list[BaseException] = []

    def run() -> None:
        try:
            _write_all(books, scope, iter(handed.get, None))
        except BaseException as error:
            failures.append(error)
            while handed.get() is not None:
                pass  # nobody waits for room in vain

    def write(one: _Written) -> None:
        if failures:
            raise failures[0]
        handed.put(one)

    thread = threading.Thread(target=run, name="books", daemon=True)
    thread.start()
    try:
        yield write
    finally:
        handed.put(None)
        thread.join()
    if failures:
        raise failures[0]


def _write_all(books: Books, scope: Scope, given: Iterator[_Written]) -> None:
    """Write blocks, some at a time: a statement and a commit cost as much as a block."""
    held = _Held(books, scope)
    for one in given:
        if held.topic not in {None, one.topic}:
            held.commit()
        held.add(one)
    held.commit()


class _Held:
    """What was read and is not committed yet, of one topic."""

    def __init__(self, books: Books, scope: Scope) -> None:
        self._books = books
        self._condition, self._values = scope.condition()
        self._clear()

    def _clear(self) -> None:
        self.topic: str | None = None
        self._inserted = 0
        self._pages: dict[str, list[pa.Table]] = {}
        self._held = 0
        self._reached: dict[int, int] = {}
        self._oldest_ms: dict[int, int] = {}

    def add(self, one: _Written) -> None:
        """One more block."""
        if self.topic is None:
            self._books.begin()
        self.topic = one.topic
        self._reached.update(one.reached)
        self._oldest_ms = {**one.oldest_ms, **self._oldest_ms}
        for name, page in one.rows:
            self._pages.setdefault(name, []).append(page)
        self._held += one.records
        if self._held >= _STATEMENT_ROWS:
            self._insert()
        if self._inserted >= _TRANSACTION_ROWS:
            self.commit()

    def commit(self) -> None:
        """End the transaction, if there is one."""
        if self.topic is not None:
            self._insert()
            self._books.commit(self.topic, self._reached, self._oldest_ms)
            self._clear()

    def _insert(self) -> None:
        for name, pages in self._pages.items():
            sql = _INSERT[name]
            values = self._values if "{scope}" in sql else ()
            self._books.insert(sql.format(scope=self._condition), pa.concat_tables(pages), *values)
        self._inserted += self._held
        self._pages, self._held = {}, 0
