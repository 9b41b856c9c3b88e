"""Rolls shards forward: what the ledger says was dispatched is taken out of the database.

A takeover by `saec recover` itself, from a database that is behind its ledger. Invariant: nobody
who dispatched a shard before can commit any more when its ledger is read, and a shard of which
ledger and database contradict each other otherwise is left alone.
"""

import threading
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from saec.clock import Clock
from saec.contracts.ledger import BatchCommitted, LedgerRecord, ShardTaken, decode_ledger
from saec.contracts.rejected import RejectedError
from saec.dispatch import claim
from saec.dispatch.emit import write_ledger
from saec.dispatch.errors import HaltError
from saec.dispatch.resolve import ContradictionError, resolve
from saec.kafka import stretches
from saec.kafka.ledger import Ends, Ledger, LedgerEntry
from saec.kafka.records import Incoming
from saec.kafka.stretches import Stretch
from saec.kafka.transaction import InDoubtError, TransactionalProducer, fence
from saec.recover.errors import RecoverError
from saec.recover.report import Report
from saec.settings import Settings
from saec.store import pending, recovery, shards
from saec.store.engine import Connection, Engine, transaction
from saec.store.recovery import ShardRow
from saec.store.shards import Owned

# A takeover that left no record in the ledger may have had a later epoch than all that did.
EPOCHS_LEFT_OUT = 1_000
_SETTLE_EXTRA_S = 10.0
_SETTLE_POLL_S = 0.1
# Of one transaction of PostgreSQL.
_PIECE_SLICES = 5_000


@dataclass(slots=True)
class Tail:
    """What a shard's ledger holds behind the point that the database knows."""

    epoch: int = -1
    owner: str | None = None
    batches: int = 0
    slices: int = 0


@dataclass(frozen=True, slots=True)
class Held:
    """A shard that `saec recover` owns, and its ledger up to its own sentinel."""

    owned: Owned
    stretch: Stretch
    log_start: int


def scan(
    settings: Settings,
    rows: Mapping[int, ShardRow],
    wanted: Mapping[int, Stretch],
    tails: dict[int, Tail],
) -> Iterator[set[UUID]]:
    """Add what stretches of the ledger hold to `tails`; piece by piece the requests they name."""
    for batch in stretches.read(settings, settings.topics.ledger, wanted):
        named: set[UUID] = set()
        for source in batch:
            record, row = _decoded(source), rows[source.partition]
            if record is None:
                continue
            tail = tails.setdefault(source.partition, Tail())
            if record.epoch >= tail.epoch:
                tail.epoch, tail.owner = record.epoch, record.owner
            if isinstance(record, BatchCommitted) and record.batch_no > row.batch_no:
                tail.batches += 1
                tail.slices += len(record.slices)
                named |= {slice_.request_id for slice_ in record.slices}
                if len(named) >= _PIECE_SLICES:
                    yield named
                    named = set()
        yield named


def entries(settings: Settings, shard: int, stretch: Stretch) -> Iterator[LedgerEntry]:
    """A stretch of a shard's ledger, record by record."""
    for batch in stretches.read(settings, settings.topics.ledger, {shard: stretch}):
        for source in batch:
            yield LedgerEntry(source.offset, _decoded(source))


def pieces(entries: Iterable[LedgerEntry]) -> Iterator[tuple[list[LedgerEntry], bool]]:
    """Whole batches, as many as one transaction of PostgreSQL may apply; then what is left.

    Each piece with True when it was cut behind a batch, and False for what is left.
    """
    piece, slices = list[LedgerEntry](), 0
    for entry in entries:
        piece.append(entry)
        if isinstance(entry.record, BatchCommitted):
            slices += len(entry.record.slices)
            if slices >= _PIECE_SLICES:
                yield piece, True
                piece, slices = [], 0
    yield piece, False


class RollForward:
    """Owns the shards while it rolls them forward, under one producer."""

    def __init__(self, settings: Settings, engine: Engine, clock: Clock, report: Report) -> None:
        self._settings = settings
        self._engine = engine
        self._clock = clock
        self._report = report
        self._ledger = Ledger(settings, clock)

    def take(self, rows: Mapping[int, ShardRow], tails: Mapping[int, Tail]) -> dict[int, Held]:
        """Become the owner of those shards whose ledger can be read; the others are reported.

        The steps are those of `saec.dispatch.takeover`, and keep their order.

        Raises:
            InDoubtError, StoreUnavailableError, BrokerUnavailableError: run it again.
        """
        producer = TransactionalProducer(self._settings, "dispatch")
        try:
            owners = {row.owner for row in rows.values()} | {t.owner for t in tails.values()}
            for owner in sorted(owner for owner in owners if owner is not None):
                fence(self._settings, owner)
            me = producer.transactional_id
            owned = self._compare_and_set(me, rows, tails)
            ends = self._settled(owned)
            reached = {s: mine for s, mine in owned.items() if s in ends}
            return self._write_sentinels(producer, reached, ends)
        finally:
            producer.discard()

    def roll(self, held: Held, shard: int) -> None:
        """Apply what the ledger of a shard holds; what contradicts is reported."""
        try:
            self._roll(held, shard)
        except (ContradictionError, HaltError) as error:
            reasons = error.reasons if isinstance(error, HaltError) else {shard: str(error)}
            self._report.halted |= reasons

    def _compare_and_set(
        self, me: str, rows: Mapping[int, ShardRow], tails: Mapping[int, Tail]
    ) -> dict[int, Owned]:
        later = {
            shard: (row.epoch, max(row.epoch, tails.get(shard, Tail()).epoch) + EPOCHS_LEFT_OUT)
            for shard, row in rows.items()
        }
        with transaction(self._engine) as connection:
            shards.lock_any(connection, later)
            owned = recovery.take_ahead(connection, me, later)
        if owned.keys() != later.keys():
            raise RecoverError("a worker took shards over meanwhile: stop all, and run it again")
        return owned

    def _settled(self, owned: Mapping[int, Owned]) -> dict[int, Ends]:
        """The ends of each ledger partition without a transaction that is open or hangs."""
        bound_s = self._settings.transaction_timeout_s + _SETTLE_EXTRA_S
        until_s, never = self._clock.monotonic_s() + bound_s, threading.Event()
        with self._ledger.look() as look_at:
            while True:
                ends = look_at.ends(owned) if owned else {}
                settled = {shard: found for shard, found in ends.items() if found.settled}
                if len(settled) == len(owned) or self._clock.monotonic_s() > until_s:
                    break
                self._clock.wait(never, _SETTLE_POLL_S)
        late = [shard for shard in owned if shard not in settled and not ends[shard].in_sync]
        if late:
            raise RecoverError(
                f"transactions do not end in the ledger of shards {late}, and replicas of it are "
                "missing: bring the brokers up, and run it again"
            )
        hangs = "a transaction hangs in its ledger: the broker lost its end"
        self._report.halted |= {shard: hangs for shard in owned if shard not in settled}
        unfit = {s: why for s, found in settled.items() if (why := _misfit(found, owned[s]))}
        self._report.halted |= unfit
        return {shard: found for shard, found in settled.items() if shard not in unfit}

    def _write_sentinels(
        self, producer: TransactionalProducer, owned: Mapping[int, Owned], ends: Mapping[int, Ends]
    ) -> dict[int, Held]:
        if not owned:
            return {}
        with transaction(self._engine) as connection:
            now_ms = shards.now_ms(connection)
        self._attempt, self._me = uuid.uuid4(), producer.transactional_id
        offsets: dict[int, int] = {}
        producer.begin()
        for shard, mine in owned.items():
            sentinel = ShardTaken(shard, self._me, mine.epoch, self._attempt, mine.batch_no, now_ms)
            write_ledger(producer, self._settings.topics.ledger, sentinel, offsets)
        producer.commit()
        if offsets.keys() != owned.keys():
            raise InDoubtError("no delivery report of a sentinel: run it again")
        return {
            shard: Held(
                mine,
                Stretch(max(mine.ledger_offset, ends[shard].start), offsets[shard] + 1),
                ends[shard].start,
            )
            for shard, mine in owned.items()
        }

    def _roll(self, held: Held, shard: int) -> None:
        owned, last = held.owned, list[LedgerEntry]()
        for piece, whole in pieces(self._entries(held, shard)):
            if whole:
                owned = self._apply(owned, piece, shard)
            else:
                last = piece
        self._finish(owned, last, shard, held.log_start)

    def _entries(self, held: Held, shard: int) -> Iterator[LedgerEntry]:
        return entries(self._settings, shard, held.stretch)

    def _apply(self, owned: Owned, piece: Sequence[LedgerEntry], shard: int) -> Owned:
        """Apply some whole batches."""
        finished = resolve(self._me, owned, self._attempt, piece, (), log_start=0)
        with transaction(self._engine) as connection:
            shards.lock_mine(connection, self._me, {shard: owned})
            check_cut(connection, piece, owned)
            moved = claim.apply(connection, {shard: owned}, finished, anywhere=True)
        self._count(piece, owned)
        return moved.get(shard, owned)

    def _finish(
        self, owned: Owned, piece: Sequence[LedgerEntry], shard: int, log_start: int
    ) -> None:
        """Apply the last batches, give up every claim, and go behind my sentinel."""
        if not piece or not self._is_mine(piece[-1].record):
            raise ContradictionError("the ledger does not hold the sentinel that was written")
        mine = {shard: owned}
        with transaction(self._engine) as connection:
            shards.lock_mine(connection, self._me, mine)
            claimed = pending.read_claims(connection, mine)[shard]
            finished = resolve(self._me, owned, self._attempt, piece, claimed, log_start=log_start)
            check_cut(connection, piece, owned)
            moved = claim.apply(connection, mine, finished, anywhere=True)
            applied = {**mine, **moved}[shard]
            pending.delete_all_claims(connection, mine)
            behind = Owned(applied.epoch, applied.batch_no, piece[-1].offset + 1)
            shards.advance(connection, {shard: behind})
        self._count(piece, owned)

    def release(self, held: Mapping[int, Held]) -> None:
        """Give the shards up, so that a worker has nobody to fence."""
        if held:
            with transaction(self._engine) as connection:
                shards.release(connection, self._me, {s: one.owned for s, one in held.items()})

    def _is_mine(self, record: LedgerRecord | None) -> bool:
        return isinstance(record, ShardTaken) and record.attempt == self._attempt

    def _count(self, piece: Iterable[LedgerEntry], owned: Owned) -> None:
        batches = _batches(piece, owned)
        self._report.batches += len(batches)
        self._report.slices += sum(len(batch.slices) for batch in batches)


def _misfit(found: Ends, owned: Owned) -> str | None:
    """Why a shard cannot be rolled forward by its ledger; None when it can."""
    applied = owned.ledger_offset
    if found.committed < applied:
        return (
            f"the ledger ends at offset {found.committed}, but was applied up to {applied}: it was "
            "deleted or replaced"
        )
    # What stands at ledger_offset itself is the end mark of the transaction before it.
    if found.start > applied + 1:
        return (
            f"the ledger was deleted up to offset {found.start}, and applied up to {applied}: what "
            "was dispatched in between is not known"
        )
    return None


def check_cut(connection: Connection, piece: Iterable[LedgerEntry], owned: Owned) -> None:
    """The slices that are stored again are cut as those that were dispatched.

    Raises:
        ContradictionError: they are not.
    """
    wanted = {
        (slice_.request_id, slice_.slice_no): slice_.recipients
        for batch in _batches(piece, owned)
        for slice_ in batch.slices
    }
    sizes = recovery.slice_sizes(connection, {id_ for id_, _ in wanted})
    for (id_, slice_no), recipients in wanted.items():
        stands = {one.slice_no: one.recipients for one in sizes.get(id_, [])}
        if stands.get(slice_no, recipients) != recipients:
            raise ContradictionError(
                f"slice {slice_no} of {id_} was dispatched to {recipients} recipients, and is "
                f"cut for {stands[slice_no]} now: SAEC_SLICE_RECIPIENTS was changed"
            )


def _batches(piece: Iterable[LedgerEntry], owned: Owned) -> list[BatchCommitted]:
    return [
        entry.record
        for entry in piece
        if isinstance(entry.record, BatchCommitted) and entry.record.batch_no > owned.batch_no
    ]


def _decoded(source: Incoming) -> LedgerRecord | None:
    try:
        return decode_ledger(source.value or b"")
    except RejectedError:
        return None
