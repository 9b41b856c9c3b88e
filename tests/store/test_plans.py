"""The statements that dispatch waits for read their rows in order, from an index, and few of them.

Not how fast they are, but how PostgreSQL goes about them on a table that has grown.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import pytest
from sqlalchemy import event

from saec.store import pending
from saec.store.engine import Connection, Engine, rows, transaction
from saec.store.pending import Room, Run

ROWS = 20_000
SHARDS = 4
NOW_MS = 1_800_000_000_000
ROOMY = 1_000_000

FILL = f"""
    INSERT INTO pending (shard, lane, due_at_ms, request_id, slice_no, channels, recipients,
                         messages, requester, customers, schema_version, message)
    SELECT n %% {SHARDS}, n / {SHARDS} %% 2, {NOW_MS} + (hashint4(n) %% 3600000),
           md5(n::text)::uuid, 0, 1, 1, 1, 'plans', ARRAY[n::text], 1, repeat('x', 200)::bytea
    FROM generate_series(1, {ROWS}) n
"""


@pytest.fixture(scope="module")
def filled(migrated: Engine) -> Engine:
    """Slices due within two hours around now, with what PostgreSQL knows of them."""
    with transaction(migrated) as connection:
        connection.exec_driver_sql(FILL)
        connection.exec_driver_sql("ANALYZE pending")
    return migrated


@pytest.fixture
def connection(filled: Engine) -> Iterator[Connection]:
    """A transaction of a test's own, as the code opens it; nothing of it stays."""
    with transaction(filled) as opened:
        yield opened
        opened.rollback()


class Explained:
    """The plan of the statement that ran last, as PostgreSQL carried it out."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.plan: dict[str, Any] = {}
        event.listen(connection, "before_cursor_execute", self._explain)

    def _explain(
        self, _conn: Connection, cursor: Any, statement: str, parameters: Any, *_: object
    ) -> None:
        cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", parameters)
        self.plan = cursor.fetchone()[0][0]["Plan"]

    def nodes(self) -> list[dict[str, Any]]:
        """Every node of the plan."""
        return list(_nodes(self.plan))

    def kinds(self) -> set[str]:
        """The kinds of its nodes."""
        return {node["Node Type"] for node in self.nodes()}

    def scans(self) -> set[str]:
        """How the slices are come by."""
        return {
            node["Node Type"]
            for node in self.nodes()
            if "Scan" in node["Node Type"] and node.get("Relation Name") == "pending"
        }

    def most_rows_read(self) -> int:
        """How many rows all its scans took from the table, those filtered out as well."""
        return sum(
            int(node["Actual Loops"])
            * int(node["Actual Rows"] + node.get("Rows Removed by Filter", 0))
            for node in self.nodes()
            if "Scan" in node["Node Type"] and node.get("Relation Name") == "pending"
        )


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from _nodes(child)


def chosen(connection: Connection, shards: Iterable[int], room: Room, lane: int = 0) -> list[Run]:
    return pending.choose(connection, shards, lane, now_ms=NOW_MS, room=room)


def claim(connection: Connection, runs: Iterable[Run]) -> None:
    """Have the slices of these runs on their way."""
    pending.insert_claims(connection, [(run.shard, 1, run.seqs) for run in runs])


@pytest.mark.parametrize("shards", [[3], [0, 1], list(range(SHARDS))], ids=len)
@pytest.mark.parametrize("lane", [0, 1])
@pytest.mark.parametrize("limit", [10, 100])
@pytest.mark.parametrize("claimed", [0, 100])
def test_choosing_merges_index_scans_and_stops_at_the_limit(
    connection: Connection, shards: list[int], lane: int, limit: int, claimed: int
) -> None:
    if claimed:
        claim(connection, chosen(connection, shards, Room(claimed, ROOMY, at_least=1), lane))
    explained = Explained(connection)
    chosen(connection, shards, Room(limit, ROOMY, at_least=1), lane)
    kinds = explained.kinds()
    assert explained.scans() <= {"Index Scan", "Index Only Scan"}
    assert not kinds & {"Incremental Sort", "Hash"}
    # Only what was chosen is sorted, by shard.
    assert all(node["Actual Rows"] <= limit for node in explained.nodes() if "Sort Key" in node)
    assert ("Merge Append" in kinds) == (len(shards) > 1)
    # Each branch may be one row ahead.
    assert explained.most_rows_read() <= limit + claimed + len(shards)


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
        assert (run.messages, run.size) == (len(mine), 200 * len(mine))
    claim(connection, runs)
    (next_,) = chosen(connection, [1, 2], Room(1, ROOMY, at_least=1))
    assert next_.seqs == [due[50][1]]


@pytest.mark.parametrize(
    ("room", "taken"),
    [
        (Room(10, ROOMY, at_least=1), 10),
        (Room(10, 5 * 200, at_least=1), 5),
        (Room(10, 5 * 200 - 1, at_least=1), 4),
        (Room(10, 1, at_least=1), 1),
        (Room(10, 1, at_least=0), 0),
    ],
)
def test_a_batch_has_room_for_so_much(connection: Connection, room: Room, taken: int) -> None:
    assert sum(len(run.seqs) for run in chosen(connection, range(SHARDS), room)) == taken


def test_a_probe_reads_one_row_a_shard_and_lane(connection: Connection) -> None:
    explained = Explained(connection)
    pending.next_due_ms(connection, range(SHARDS))
    assert "Seq Scan" not in explained.kinds()
    assert explained.most_rows_read() <= 2 * SHARDS


@pytest.mark.parametrize("act", [pending.read_slices, pending.delete_runs])
def test_a_batch_is_read_and_deleted_in_one_stretch_a_shard(
    connection: Connection, act: Callable[[Connection, Sequence[Run]], Any]
) -> None:
    runs = chosen(connection, range(SHARDS), Room(500, ROOMY, at_least=1))
    explained = Explained(connection)
    act(connection, runs)
    assert explained.scans() == {"Index Scan"}
    assert explained.most_rows_read() == 500


def test_what_only_the_ledger_names_is_deleted_by_an_index(connection: Connection) -> None:
    runs = chosen(connection, range(SHARDS), Room(500, ROOMY, at_least=1))
    slices = [(one.request_id, one.slice_no) for one in pending.read_slices(connection, runs)]
    explained = Explained(connection)
    pending.delete_slices(connection, slices)
    assert "Seq Scan" not in explained.kinds()
    assert explained.most_rows_read() == 500


def test_the_guard_notices_a_missing_index(connection: Connection) -> None:
    """The tests above can fail."""
    connection.exec_driver_sql("ALTER TABLE pending DROP CONSTRAINT pending_pkey")
    explained = Explained(connection)
    chosen(connection, [0, 1], Room(10, ROOMY, at_least=1))
    assert "Seq Scan" in explained.kinds()
    connection.rollback()
