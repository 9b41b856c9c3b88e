"""What `saec rebuild` reads and writes beyond what a recovery does.

Invariant: a database that holds anything is never emptied, unless a rebuild of it did not finish;
that is marked on every shard from its first transaction to its last.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection

from saec.store import identity, installation, schema
from saec.store.engine import count, rows
from saec.store.installation import Installation

UNFINISHED = "a rebuild of the database has not finished"


@dataclass(frozen=True, slots=True)
class Doubtful:
    """Pending slices of so many requests, due from the first to the last instant."""

    requests: int
    slices: int
    first_due_ms: int | None
    last_due_ms: int | None


@dataclass(frozen=True, slots=True)
class Reached:
    """Where a shard stands: who had it last, its epoch, its last batch, and its ledger's next."""

    owner: str | None
    epoch: int
    batch_no: int
    ledger_offset: int


# Without `keys`: no topic has them, so those that were made already are to stay.
_FILLED = ("requests", "pending", "cancels", "skips", "customers", "positions", "claims")
_HOLDS = f"""
    SELECT EXISTS (SELECT FROM shards WHERE epoch > 0 OR batch_no > 0 OR ledger_offset > 0)
           {" ".join(f"OR EXISTS (SELECT FROM {table})" for table in _FILLED)}
"""
_IS_UNFINISHED = "SELECT EXISTS (SELECT FROM shards WHERE starts_with(halted, %(mark)s))"
_THERE = "SELECT to_regclass('shards') IS NOT NULL"
_NO_BOUND = "SET LOCAL statement_timeout = 0"  # tables as large as the history are read or written
_READ_WHOLE = "SET LOCAL enable_seqscan = on"
_EMPTY = f"TRUNCATE {', '.join(_FILLED)}, shards, installation"
_MARK = "UPDATE shards SET halted = %(mark)s"
_DOUBTFUL = """
    SELECT count(DISTINCT request_id), count(*), min(due_at_ms), max(due_at_ms)
    FROM pending WHERE due_at_ms <= %(until_ms)s
"""
_PRESUME = """
    WITH gone AS (
        DELETE FROM pending WHERE due_at_ms <= %(until_ms)s AND due_at_ms < %(before_ms)s
        RETURNING request_id, due_at_ms)
    SELECT count(DISTINCT request_id), count(*), min(due_at_ms), max(due_at_ms) FROM gone
"""
_FINISH = """
    UPDATE shards SET owner = reached.owner, epoch = reached.epoch, batch_no = reached.batch_no,
           ledger_offset = reached.ledger_offset, halted = NULL
    FROM unnest(%(shards)s::smallint[], %(owners)s::text[], %(epochs)s::bigint[],
                %(batches)s::bigint[], %(offsets)s::bigint[])
         reached(shard, owner, epoch, batch_no, ledger_offset)
    WHERE shards.shard = reached.shard AND shards.halted = %(mark)s
"""


def is_unfinished(connection: Connection) -> bool:
    """Whether a rebuild of this database began and did not finish."""
    if not rows(connection, _THERE)[0][0]:
        return False
    return bool(rows(connection, _IS_UNFINISHED, mark=UNFINISHED)[0][0])


def is_free(connection: Connection, topic_prefix: str) -> bool:
    """Whether a rebuild may write here: no tables, nothing in them, or an unfinished rebuild.

    Raises:
        ConfigurationError: another schema version, or another prefix.
    """
    if schema.version(connection) is None:
        return True
    installation.read(connection, topic_prefix)
    count(connection, _NO_BOUND)
    return is_unfinished(connection) or not rows(connection, _HOLDS)[0][0]


def begin(connection: Connection, wanted: Installation, mark: str) -> None:
    """Empty a database that is free, and keep every process out of it; `mark` is this rebuild's.

    Raises:
        ConfigurationError: the database belongs to another prefix.
    """
    if schema.version(connection) is not None:
        count(connection, _EMPTY)
    installation.create(connection, wanted)
    count(connection, _MARK, mark=_whole(mark))
    identity.mark_recovering(connection, recovering=True)


def read_doubtful(connection: Connection, until_ms: int) -> Doubtful:
    """The slices that are pending though they were due by then."""
    count(connection, _NO_BOUND)
    count(connection, _READ_WHOLE)
    return Doubtful(*rows(connection, _DOUBTFUL, until_ms=until_ms)[0])


def presume_sent(connection: Connection, until_ms: int, before_ms: int) -> Doubtful:
    """Take those out of `pending` that were due by `until_ms` and before `before_ms`."""
    count(connection, _NO_BOUND)
    count(connection, _READ_WHOLE)
    return Doubtful(*rows(connection, _PRESUME, until_ms=until_ms, before_ms=before_ms)[0])


def finish(connection: Connection, reached: Mapping[int, Reached], mark: str) -> bool:
    """Write down where each shard stands; False when another rebuild began meanwhile."""
    stands = list(reached.values())
    written = count(
        connection,
        _FINISH,
        mark=_whole(mark),
        shards=list(reached),
        owners=[one.owner for one in stands],
        epochs=[one.epoch for one in stands],
        batches=[one.batch_no for one in stands],
        offsets=[one.ledger_offset for one in stands],
    )
    return written == len(reached)


def _whole(mark: str) -> str:
    return f"{UNFINISHED} ({mark})"
