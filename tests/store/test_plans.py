"""The statements that dispatch waits for read their rows in order, from an index, and few of them.

Not how fast they are, but how PostgreSQL goes about them on a table that has grown.
"""

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import event

from saec.store import pending
from saec.store.engine import Connection, Engine, rows, transaction

ROWS = 20_000
SHARDS = 4
NOW_MS = 1_800_000_000_000

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
    """A transaction of a test's own, as the code opens it."""
    with transaction(filled) as opened:
        yield opened


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


@pytest.mark.parametrize("shards", [[3], [0, 1], list(range(SHARDS))], ids=len)
@pytest.mark.parametrize("lane", [0, 1])
@pytest.mark.parametrize("limit", [10, 100])
@pytest.mark.parametrize("claimed", [0, 100])
def test_choosing_merges_index_scans_and_stops_at_the_limit(
    connection: Connection, shards: list[int], lane: int, limit: int, claimed: int
) -> None:
    named = [
        row[0]
        for row in rows(
            connection,
            "SELECT seq FROM pending WHERE shard = ANY(%(shards)s) AND lane = %(lane)s"
            " ORDER BY due_at_ms, seq LIMIT %(claimed)s",
            shards=shards,
            lane=lane,
            claimed=claimed,
        )
    ]
    explained = Explained(connection)
    pending.choose(connection, shards, lane, now_ms=NOW_MS, claimed=named, limit=limit)
    kinds = explained.kinds()
    assert kinds & {"Index Scan", "Index Only Scan"}
    assert not kinds & {"Seq Scan", "Sort", "Incremental Sort", "Bitmap Heap Scan", "Hash"}
    assert ("Merge Append" in kinds) == (len(shards) > 1)
    # Each branch may be one row ahead.
    assert explained.most_rows_read() <= limit + claimed + len(shards)


def test_what_is_chosen_is_the_oldest_due(connection: Connection) -> None:
    chosen = pending.choose(connection, [1, 5], 0, now_ms=NOW_MS, claimed=[], limit=50)
    due = rows(
        connection,
        "SELECT shard, seq FROM pending WHERE shard IN (1, 5) AND lane = 0"
        f" AND due_at_ms <= {NOW_MS} ORDER BY due_at_ms, seq LIMIT 50",
    )
    assert [(one.shard, one.seq) for one in chosen] == [tuple(row) for row in due]
    rest = pending.choose(
        connection, [1, 5], 0, now_ms=NOW_MS, claimed=[one.seq for one in chosen[:49]], limit=50
    )
    assert rest[0] == chosen[49]


def test_a_probe_reads_one_row_a_shard_and_lane(connection: Connection) -> None:
    explained = Explained(connection)
    pending.next_due_ms(connection, range(SHARDS))
    assert "Seq Scan" not in explained.kinds()
    assert explained.most_rows_read() <= 2 * SHARDS


def test_reading_and_deleting_a_batch_finds_each_slice_by_an_index(connection: Connection) -> None:
    chosen = pending.choose(connection, range(SHARDS), 0, now_ms=NOW_MS, claimed=[], limit=500)
    explained = Explained(connection)
    pending.read_slices(connection, chosen)
    assert "Seq Scan" not in explained.kinds()
    assert explained.most_rows_read() <= len(chosen)


def test_the_guard_notices_a_missing_index(connection: Connection) -> None:
    """The tests above can fail."""
    connection.exec_driver_sql("ALTER TABLE pending DROP CONSTRAINT pending_pkey")
    explained = Explained(connection)
    pending.choose(connection, [0, 1], 0, now_ms=NOW_MS, claimed=[], limit=10)
    assert "Seq Scan" in explained.kinds()
    connection.rollback()
