"""Ties a database to another Kafka: what counted from offsets of the old topics begins anew.

Invariant: the caller does all of it in one transaction; source positions of the old topics never
look like positions in the new ones.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection

from saec.store.engine import count, rows

# More than a topic can have partitions: a source partition below 0 is one of an earlier topic.
GENERATION = 1_000_000


@dataclass(frozen=True, slots=True)
class OnItsWay:
    """What claims name: so many slices, of so many batches."""

    batches: int
    slices: int


_NO_BOUND = "SET LOCAL statement_timeout = 0"  # tables as large as the history are written
_AGE = "UPDATE {table} SET source_partition = source_partition - %(generation)s"
_FORGET = "DELETE FROM positions WHERE topic = %(topic)s"
_CLAIMED = "SELECT count(*)::int, coalesce(sum(cardinality(seqs)), 0)::int FROM claims"
_SLICES = "SELECT count(*)::int FROM pending"
_TAKE_AS_SENT = """
    DELETE FROM pending p USING claims c WHERE c.shard = p.shard AND p.seq = ANY(c.seqs)
"""
_UNCLAIM = "DELETE FROM claims"
_LEDGER = """
    UPDATE shards SET ledger_offset = later.at,
           halted = CASE WHEN halted LIKE '%%deleted or replaced%%' THEN NULL ELSE halted END
    FROM unnest(%(shards)s::smallint[], %(offsets)s::bigint[]) later(shard, at)
    WHERE shards.shard = later.shard
"""


def read_on_its_way(connection: Connection) -> OnItsWay:
    """What claims name now."""
    return OnItsWay(*rows(connection, _CLAIMED)[0])


def count_pending(connection: Connection) -> int:
    """How many slices are pending."""
    return int(rows(connection, _SLICES)[0][0])


def forget_source(connection: Connection, topic: str) -> None:
    """Forget how far a source topic was read."""
    count(connection, _FORGET, topic=topic)


def age_registry(connection: Connection) -> None:
    """Make the source positions of customers those of an earlier topic."""
    count(connection, _NO_BOUND)
    count(connection, _AGE.format(table="customers"), generation=GENERATION)


def age_sources(connection: Connection) -> None:
    """Make the source positions of requests and cancels those of an earlier topic."""
    count(connection, _NO_BOUND)
    for table in ("requests", "cancels"):
        count(connection, _AGE.format(table=table), generation=GENERATION)


def give_up_claims(connection: Connection, *, sent: bool) -> None:
    """Delete every claim; with `sent` the slices that they name as well."""
    if sent:
        count(connection, _TAKE_AS_SENT)
    count(connection, _UNCLAIM)


def begin_ledger(connection: Connection, offsets: Mapping[int, int]) -> None:
    """Let the ledger of each shard begin at this offset; clears halts for a replaced ledger."""
    count(connection, _LEDGER, shards=list(offsets), offsets=list(offsets.values()))
