"""The statements that a process waits for read their rows from an index, in order, and few of them.

Not how fast they are, but how PostgreSQL goes about them when a million slices are pending: right
after an ANALYZE, and when the tables were never analysed since they were empty, as it happens to a
queue that fills faster than autovacuum comes by.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import UUID

import pytest

from saec.store import (
    cancels,
    customers,
    history,
    inspection,
    listing,
    pending,
    recovery,
    requests,
)
from saec.store.customers import Mention
from saec.store.engine import Connection, Engine, count, rows, transaction
from saec.store.history import State
from saec.store.listing import LOOKED_AT, Cursor, Filters
from saec.store.pending import Apart, Choice, Room, Run, SkipRow
from saec.store.requests import RequestRow
from tests.store import million
from tests.store.million import BODY_BYTES, NOW_MS, ROWS, SHARDS, TABLES, request_id
from tests.store.plans import Plans, explained

# Filling a million rows takes as long as it takes.
pytestmark = pytest.mark.timeout(0)

ROOMY = 1_000_000_000
# As dispatch and ingest have them at most.
BATCH = 10_000
INGESTED = 5_000
# Accounts, as HTTP shows them.
PAGE = 50
# An index is three or four blocks high, and a row written is in each of them.
BLOCKS_A_ROW_READ = 5
BLOCKS_A_ROW_WRITTEN = 12


@pytest.fixture(scope="module")
def full(migrated: Engine) -> Engine:
    """A million of everything."""
    million.fill(migrated)
    return migrated


@pytest.fixture(scope="module", params=["analysed when empty", "analysed"])
def filled(full: Engine, request: pytest.FixtureRequest) -> Engine:
    """The same, with what PostgreSQL knows of it."""
    if request.param == "analysed":
        million.analyse(full)
    assert million.is_analysed(full) == (request.param == "analysed")
    return full


@pytest.fixture
def connection(filled: Engine) -> Iterator[Connection]:
    """A transaction of a test's own, as the code opens it; nothing of it stays."""
    with transaction(filled) as opened:
        yield opened
        count(opened, "ROLLBACK; BEGIN")


def chosen(connection: Connection, shards: Iterable[int], room: Room, lane: int = 0) -> list[Run]:
    return pending.choose(connection, shards, lane, now_ms=NOW_MS, room=room)


def claim(connection: Connection, runs: Iterable[Run]) -> None:
    """Have the slices of these runs on their way."""
    pending.insert_claims(connection, [(run.shard, 1, run.seqs) for run in runs])


@pytest.mark.parametrize("shards", [[3], [0, 1], list(range(SHARDS))], ids=len)
@pytest.mark.parametrize("lane", [0, 1])
@pytest.mark.parametrize("limit", [10, BATCH])
@pytest.mark.parametrize("claimed", [0, BATCH])
def test_choosing_merges_index_scans_and_stops_at_the_limit(
    connection: Connection, shards: list[int], lane: int, limit: int, claimed: int
) -> None:
    if claimed:
        claim(connection, chosen(connection, shards, Room(claimed, ROOMY, at_least=1), lane))
    with explained(connection, TABLES) as plans:
        chosen(connection, shards, Room(limit, ROOMY, at_least=1), lane)
    # Each branch may be one row ahead.
    most = limit + claimed + len(shards)
    check(plans, {"pending_pkey"}, rows_read=most, rows_sorted=limit, blocks=2 * most + 100)
    assert ("Merge Append" in plans.kinds()) == (len(shards) > 1)


@pytest.mark.parametrize("shards", [[3], list(range(SHARDS))], ids=len)
def test_what_is_set_apart_is_passed_over_in_index_order(
    connection: Connection, shards: list[int]
) -> None:
    first = chosen(connection, shards, Room(1, ROOMY, at_least=1))
    (one,) = pending.read_slices(connection, first)
    apart = Apart(kinds=((1 << 14, 0), (1, 10 * BODY_BYTES)), requests=(one.request_id,))
    room, choice = Room(BATCH, ROOMY, at_least=1), Choice(slices=10, apart=apart)
    with explained(connection, TABLES) as plans:
        runs = pending.choose(connection, shards, 0, now_ms=NOW_MS, room=room, choice=choice)
        due_ms = pending.next_due_ms(connection, shards, choice)
    most = BATCH + 3 * len(shards) + 1
    check(plans, {"pending_pkey"}, rows_read=most, rows_sorted=BATCH, blocks=2 * most + 200)
    taken = pending.read_slices(connection, runs)
    assert len(taken) == 10
    assert one.request_id not in {slice_.request_id for slice_ in taken}
    assert due_ms[0] == min(slice_.due_at_ms for slice_ in taken)
    alone = Choice(slices=1, only=Apart(requests=(one.request_id,)))
    (run,) = pending.choose(connection, [one.shard], 0, now_ms=NOW_MS, room=room, choice=alone)
    assert run.seqs == [one.seq]


def check(
    plans: Plans, indexes: set[str], *, rows_read: int, rows_sorted: int, blocks: int
) -> None:
    """Hold what was read, and how, against what may be."""
    assert plans.indexes() == indexes
    assert plans.read_whole() == set()
    assert plans.rows_read() <= rows_read
    assert plans.rows_sorted() <= rows_sorted
    assert plans.blocks() <= blocks


def test_what_is_chosen_is_the_oldest_due(connection: Connection) -> None:
    room = Room(50, ROOMY, at_least=1)
    runs = chosen(connection, [1, 2], room)
    due = rows(
        connection,
        "SELECT shard, seq, due_at_ms FROM pending WHERE shard IN (1, 2) AND lane = 0"
        f" AND due_at_ms <= {NOW_MS} ORDER BY due_at_ms, seq LIMIT 51",
    )
    for run in runs:
        mine = [row for row in due[:50] if row[0] == run.shard]
        assert sorted(run.seqs) == sorted(row[1] for row in mine)
        assert (run.first_due_ms, run.last_due_ms) == (mine[0][2], mine[-1][2])
        assert (run.messages, run.size) == (len(mine), BODY_BYTES * len(mine))
    claim(connection, runs)
    (next_,) = chosen(connection, [1, 2], Room(1, ROOMY, at_least=1))
    assert next_.seqs == [due[50][1]]


@pytest.mark.parametrize(
    ("room", "taken"),
    [
        (Room(10, ROOMY, at_least=1), 10),
        (Room(10, 5 * BODY_BYTES, at_least=1), 5),
        (Room(10, 5 * BODY_BYTES - 1, at_least=1), 4),
        (Room(10, 1, at_least=1), 1),
        (Room(10, 1, at_least=0), 0),
    ],
)
def test_a_batch_has_room_for_so_much(connection: Connection, room: Room, taken: int) -> None:
    assert sum(len(run.seqs) for run in chosen(connection, range(SHARDS), room)) == taken


Act = Callable[[], object]


@dataclass(frozen=True)
class Case:
    """Statements, and what they may read of the tables that grow.

    `prepare` does what comes before them, and returns what is to be explained.
    """

    prepare: Callable[[Connection], Act]
    indexes: set[str]
    rows: int
    blocks_a_row: int = BLOCKS_A_ROW_READ


def of_a_batch(act: Callable[[Connection, Sequence[Run]], object], connection: Connection) -> Act:
    runs = chosen(connection, range(SHARDS), Room(BATCH, ROOMY, at_least=1))
    return partial(act, connection, runs)


def delete_by_name(connection: Connection) -> Act:
    runs = chosen(connection, range(SHARDS), Room(BATCH, ROOMY, at_least=1))
    named = [(one.request_id, one.slice_no) for one in pending.read_slices(connection, runs)]
    return partial(pending.delete_slices, connection, named)


def of_requests(
    act: Callable[[Connection, list[Any]], object], count: int, connection: Connection
) -> Act:
    return partial(act, connection, [request_id(number) for number in range(1, count + 1)])


def contacts(count: int, connection: Connection) -> Act:
    step = ROWS // count
    ids = [f"c{number}" for number in range(1, ROWS + 1, step)]
    return partial(customers.read_contacts, connection, ids)


def arrive(connection: Connection) -> Act:
    """Half of them are new."""
    first = ROWS - INGESTED // 2
    arriving = [
        RequestRow(request_id(n), "plans", None, 1, 0, NOW_MS, None, 1, 1, 1, bytes(16), 0, n, 0)
        for n in range(first, first + INGESTED)
    ]
    return partial(requests.insert_requests, connection, arriving)


def hold(connection: Connection) -> Act:
    """Cancels of half of the requests were read before them."""
    arrive(connection)()
    new = range(ROWS + 1, ROWS + INGESTED // 2)
    return partial(cancels.hold_unknown, connection, map(request_id, new))


def register(connection: Connection) -> Act:
    """Half of them are new."""
    first = ROWS - INGESTED // 2
    arriving = [
        Mention(f"c{n}", "", None, 0, erases=False, appended_at_ms=NOW_MS, source_partition=0,
                source_offset=ROWS + n)
        for n in range(first, first + INGESTED)
    ]  # fmt: skip
    return partial(customers.register, connection, arriving)


def skip(connection: Connection) -> Act:
    skips = [SkipRow(request_id(n), 0, 1, "expired", 1) for n in range(1, BATCH + 1)]
    return partial(pending.insert_skips, connection, skips)


def a_page(filters: Filters, connection: Connection) -> Act:
    """One from the middle of a million."""
    behind = Cursor(0, UUID(int=1 << 127))
    return partial(listing.read_page, connection, "plans", filters, PAGE, behind)


KEY, SLICE, STORED = {"pending_pkey"}, {"pending_slice_idx"}, {"requests_pkey"}
ACCOUNT = STORED | SLICE | {"cancels_request_id_idx", "skips_pkey"}
NEWEST = {"requests_newest_idx"}
CASES = {
    "next due": Case(
        lambda connection: partial(pending.next_due_ms, connection, range(SHARDS)), KEY, 2 * SHARDS
    ),
    "read a batch": Case(partial(of_a_batch, pending.read_slices), KEY, BATCH),
    "delete a batch": Case(partial(of_a_batch, pending.delete_runs), KEY, BATCH),
    "delete by name": Case(delete_by_name, SLICE, BATCH),
    "contacts of one": Case(partial(contacts, 1), {"customers_pkey"}, 1),
    "contacts of a batch": Case(partial(contacts, BATCH), {"customers_pkey"}, BATCH),
    "requests by id": Case(
        partial(of_requests, requests.read_requests, INGESTED), STORED, INGESTED
    ),
    "answers to cancels": Case(
        partial(of_requests, cancels.read_answers, INGESTED), {"cancels_request_id_idx"}, INGESTED
    ),
    "late cancels": Case(
        partial(of_requests, cancels.read_late, INGESTED), {"cancels_request_id_idx"}, INGESTED
    ),
    "stop one": Case(partial(of_requests, cancels.stop_slices, 1), SLICE, 1, BLOCKS_A_ROW_WRITTEN),
    "stop many": Case(
        partial(of_requests, cancels.stop_slices, INGESTED), SLICE, INGESTED, BLOCKS_A_ROW_WRITTEN
    ),
    "status": Case(
        lambda connection: partial(history.read_account, connection, request_id(7)),
        ACCOUNT,
        4,
    ),
    "doctor": Case(lambda connection: partial(inspection.read_shards, connection), KEY, 0),
    "known to a recovery": Case(
        partial(of_requests, recovery.known_requests, INGESTED), STORED, INGESTED
    ),
    "sizes for a recovery": Case(
        partial(of_requests, recovery.slice_sizes, INGESTED), SLICE, INGESTED
    ),
}
LISTS = {
    "accounts": Case(partial(of_requests, history.read_accounts, PAGE), ACCOUNT, 4 * PAGE),
    "a page": Case(partial(a_page, Filters()), NEWEST | ACCOUNT, 5 * (PAGE + 1)),
    "a page of a campaign": Case(partial(a_page, Filters(campaign_id="c")), NEWEST, LOOKED_AT),
    "a page of a state": Case(
        partial(a_page, Filters(state=State.CANCELLED)), NEWEST | ACCOUNT, 5 * LOOKED_AT
    ),
}
WRITES = {
    "requests": Case(arrive, STORED, INGESTED, BLOCKS_A_ROW_WRITTEN),
    "hold cancels": Case(
        hold, STORED | {"cancels_pkey", "cancels_unknown_idx"}, 2 * INGESTED, BLOCKS_A_ROW_WRITTEN
    ),
    "customers": Case(register, {"customers_pkey"}, INGESTED, BLOCKS_A_ROW_WRITTEN),
    "skips": Case(skip, set(), BATCH, BLOCKS_A_ROW_WRITTEN),
}


def checked(connection: Connection, case: Case) -> None:
    """Run its statements, and check them."""
    act = case.prepare(connection)
    with explained(connection, TABLES) as plans:
        act()
    check(
        plans,
        case.indexes,
        rows_read=case.rows,
        rows_sorted=case.rows + SHARDS,
        blocks=case.blocks_a_row * case.rows + 100,
    )


@pytest.mark.parametrize("case", (CASES | LISTS | WRITES).values(), ids=CASES | LISTS | WRITES)
def test_rows_are_come_by_through_their_index(connection: Connection, case: Case) -> None:
    checked(connection, case)


DROPPED = {
    "pending_pkey": "ALTER TABLE pending DROP CONSTRAINT pending_pkey",
    "pending_slice_idx": "DROP INDEX pending_slice_idx",
    "requests_newest_idx": "DROP INDEX requests_newest_idx",
    "requests_pkey": "ALTER TABLE requests DROP CONSTRAINT requests_pkey",
    "customers_pkey": "ALTER TABLE customers DROP CONSTRAINT customers_pkey",
    "cancels_request_id_idx": "DROP INDEX cancels_request_id_idx",
    "skips_pkey": "ALTER TABLE skips DROP CONSTRAINT skips_pkey",
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_missing_index_is_noticed(connection: Connection, case: Case) -> None:
    """The test above can fail."""
    for index in case.indexes:
        connection.exec_driver_sql(DROPPED[index])
    with pytest.raises(AssertionError):
        checked(connection, case)


@pytest.mark.parametrize("case", LISTS.values(), ids=LISTS)
def test_a_list_without_its_index_is_noticed(connection: Connection, case: Case) -> None:
    """Only the index that it begins with: without the others each row would read a whole table."""
    (first,) = case.indexes & NEWEST or STORED
    connection.exec_driver_sql(DROPPED[first])
    with pytest.raises(AssertionError):
        checked(connection, case)
