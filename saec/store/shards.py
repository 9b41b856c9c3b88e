"""Shards: who dispatches one, and up to which batch its ledger has been applied.

Invariant: epoch only grows, and every change to a shard's dispatch state is made while its row is
locked and still carries the owner and epoch that the caller believes in.
"""

import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Connection

from saec.errors import SaecError
from saec.store.engine import count, rows


@dataclass(frozen=True, slots=True)
class Seen:
    """What a look at a shard that is not mine showed."""

    owner: str | None
    epoch: int
    halted: str | None = None


@dataclass(frozen=True, slots=True)
class Owned:
    """A shard of mine: its epoch, the last batch applied, and where its ledger goes on."""

    epoch: int
    batch_no: int
    ledger_offset: int


class ShardsLostError(SaecError):
    """Other owner or epoch than mine: somebody took these shards over."""

    def __init__(self, shards: frozenset[int]) -> None:
        super().__init__(f"shards {sorted(shards)} were taken over by another worker")
        self.shards = shards


class UnexpectedBatchError(SaecError):
    """My own shard stands at another batch than the one I know: an outcome was misjudged."""


_SHARD = "shard = ANY(%(shards)s)"
_MINE = """
    (shard, owner, epoch) IN (
        SELECT s, %(me)s, e FROM unnest(%(shards)s::smallint[], %(epochs)s::bigint[]) mine(s, e))
"""
_LOOK = f"SELECT shard, owner, epoch, halted FROM shards WHERE {_SHARD}"
_LOCK = f"""
    SELECT shard, owner, epoch, batch_no FROM shards
    WHERE {_SHARD} ORDER BY shard FOR NO KEY UPDATE
"""
_OF_MINE = f"SELECT shard, batch_no FROM shards WHERE {_MINE}"
_TAKE = """
    UPDATE shards SET owner = %(me)s, epoch = seen.epoch + 1
    FROM unnest(%(shards)s::smallint[], %(epochs)s::bigint[]) seen(shard, epoch)
    WHERE shards.shard = seen.shard AND shards.epoch = seen.epoch
    RETURNING shards.shard, shards.epoch, shards.batch_no, shards.ledger_offset
"""
_ADVANCE = """
    UPDATE shards SET batch_no = applied.batch_no, ledger_offset = applied.ledger_offset
    FROM unnest(%(shards)s::smallint[], %(batches)s::bigint[], %(offsets)s::bigint[])
         applied(shard, batch_no, ledger_offset)
    WHERE shards.shard = applied.shard
"""
_RELEASE = f"UPDATE shards SET owner = NULL WHERE {_MINE}"
_HALT = """
    UPDATE shards SET halted = why
    FROM unnest(%(shards)s::smallint[], %(reasons)s::text[]) halting(shard, why)
    WHERE shards.shard = halting.shard
"""
_NOW = "SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint"


def shard_of(request_id: UUID, shards: int) -> int:
    """The shard of a request: the same on every machine and in every version."""
    return zlib.crc32(request_id.bytes) % shards


def now_ms(connection: Connection) -> int:
    """PostgreSQL's clock, in epoch milliseconds, rounded down: never early."""
    return int(rows(connection, _NOW)[0][0])


def look(connection: Connection, shards: Iterable[int]) -> dict[int, Seen]:
    """Owner, epoch and halt of each shard."""
    return {row[0]: Seen(*row[1:]) for row in rows(connection, _LOOK, shards=list(shards))}


def compare_and_set(connection: Connection, me: str, seen: Mapping[int, Seen]) -> dict[int, Owned]:
    """Make `me` the owner of those shards whose epoch is still the one seen."""
    rows(connection, _LOCK, shards=list(seen))
    epochs = [look.epoch for look in seen.values()]
    taken = rows(connection, _TAKE, me=me, shards=list(seen), epochs=epochs)
    return {row[0]: Owned(*row[1:]) for row in taken}


def lock_any(connection: Connection, shards: Iterable[int]) -> None:
    """Lock the rows of these shards, in shard order, whoever owns them."""
    rows(connection, _LOCK, shards=sorted(set(shards)))


def lock_mine(connection: Connection, me: str, owned: Mapping[int, Owned]) -> None:
    """Lock the rows of my shards, in shard order, and check that they are as I know them.

    Raises:
        ShardsLostError: some have another owner or epoch.
        UnexpectedBatchError: mine, but at another batch.
    """
    _check(owned, rows(connection, _LOCK, shards=list(owned)), me)


def check_mine(connection: Connection, me: str, owned: Mapping[int, Owned]) -> None:
    """The same check without a lock, for a snapshot that only reads."""
    epochs = [owned[shard].epoch for shard in owned]
    found = rows(connection, _OF_MINE, me=me, shards=list(owned), epochs=epochs)
    _check(owned, [(row[0], me, owned[row[0]].epoch, row[1]) for row in found], me)


def advance(connection: Connection, applied: Mapping[int, Owned]) -> None:
    """Write batch_no and ledger_offset of locked shards."""
    count(
        connection,
        _ADVANCE,
        shards=list(applied),
        batches=[owned.batch_no for owned in applied.values()],
        offsets=[owned.ledger_offset for owned in applied.values()],
    )


def release(connection: Connection, me: str, owned: Mapping[int, Owned]) -> None:
    """Give up those of these shards that are still mine."""
    epochs = [mine.epoch for mine in owned.values()]
    lock_any(connection, owned)
    count(connection, _RELEASE, me=me, shards=list(owned), epochs=epochs)


def mark_halted(connection: Connection, reasons: Mapping[int, str]) -> None:
    """Write down why shards stand still, whoever owns them; a person clears it."""
    lock_any(connection, reasons)
    count(connection, _HALT, shards=list(reasons), reasons=list(reasons.values()))


def _check(owned: Mapping[int, Owned], found: Iterable[tuple[int, str, int, int]], me: str) -> None:
    stands = {shard: (owner, epoch, batch_no) for shard, owner, epoch, batch_no in found}
    lost = {
        shard
        for shard, mine in owned.items()
        if shard not in stands or stands[shard][:2] != (me, mine.epoch)
    }
    if lost:
        raise ShardsLostError(frozenset(lost))
    for shard, mine in owned.items():
        if stands[shard][2] != mine.batch_no:
            raise UnexpectedBatchError(
                f"shard {shard} stands at batch {stands[shard][2]}, not {mine.batch_no}"
            )
