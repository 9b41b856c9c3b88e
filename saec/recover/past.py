"""What the ledger tells of the past: every batch that it still keeps.

Invariant: batches are taken in unbroken order, and each takes out exactly its slices, in whatever
shard they are pending; where the ledger was cut off is told, never guessed.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from uuid import UUID

from saec.contracts.ledger import BatchCommitted, ShardTaken
from saec.dispatch.batch import Finished
from saec.dispatch.claim import skip_rows
from saec.dispatch.resolve import ContradictionError, resolve
from saec.kafka import stretches
from saec.kafka.ledger import LedgerEntry
from saec.kafka.stretches import Stretch
from saec.recover.errors import RecoverError
from saec.recover.ledger import check_cut, entries, pieces
from saec.settings import Settings
from saec.store import pending, recovery
from saec.store.engine import Connection
from saec.store.shards import Owned

_BEYOND = 2**63 - 1  # later than any epoch that a record may carry
_NOBODY, _NO_TAKEOVER = "", UUID(int=0)


@dataclass(frozen=True, slots=True)
class Piece:
    """Some batches of a shard, in order, and where the shard stood before them."""

    owned: Owned
    entries: Sequence[LedgerEntry]
    finished: Sequence[Finished]


@dataclass(slots=True)
class Past:
    """A shard's ledger as it is kept.

    `before` is the last batch that stood before what is kept, `since_ms` the instant from which on
    it is kept (None: nothing is), `owner` and `epoch` are those of whoever wrote last.
    """

    stretch: Stretch
    before: int = 0
    since_ms: int | None = None
    owner: str | None = None
    epoch: int = 0
    batches: int = 0
    slices: int = 0

    @property
    def complete(self) -> bool:
        """True when nothing of it was deleted."""
        return self.stretch.start == 0 and self.before == 0

    @property
    def batch_no(self) -> int:
        """The last batch."""
        return self.before + self.batches


def read_past(settings: Settings, shard: int, stretch: Stretch) -> Past:
    """What a stretch of a shard's ledger comes to.

    Raises:
        RecoverError: it contradicts itself.
    """
    past, first = Past(stretch), True
    for piece in walk(settings, shard, stretch):
        if first:
            past.before, first = piece.owned.batch_no, False
        for entry in piece.entries:
            _note(past, entry)
        past.batches += len(piece.finished)
        past.slices += sum(len(batch.slices) for batch in piece.finished)
    return past


def kept_since_ms(settings: Settings, pasts: Mapping[int, Past], now_ms: int) -> int | None:
    """From when on nothing is missing in the ledger of any shard; None: from the beginning.

    Of all shards, since requests had other ones before the number of shards was changed.
    """
    since = [
        now_ms if one.since_ms is None else one.since_ms
        for one in pasts.values()
        if not one.complete
    ]
    if not since and _is_replaced(settings, pasts):
        since = [now_ms]
    return max(since, default=None)


def _is_replaced(settings: Settings, pasts: Mapping[int, Past]) -> bool:
    """Whether something was dispatched that an empty ledger does not know."""
    return not any(one.stretch.end for one in pasts.values()) and any(
        stretch.end
        for topic in settings.topics.dispatch.values()
        for stretch in stretches.bounds(settings, topic).values()
    )


def walk(settings: Settings, shard: int, stretch: Stretch) -> Iterator[Piece]:
    """The batches of a stretch, in pieces that one transaction of PostgreSQL may apply.

    Raises:
        RecoverError: batches are missing, or a record is not SAEC's.
    """
    last: int | None = None
    for found, _ in pieces(entries(settings, shard, stretch)):
        owned = Owned(_BEYOND, _before(found) if last is None else last, stretch.start)
        try:
            finished = resolve(_NOBODY, owned, _NO_TAKEOVER, found, (), log_start=0)
        except ContradictionError as error:
            raise RecoverError(f"the ledger of shard {shard} contradicts itself: {error}") from None
        last = owned.batch_no + len(finished)
        yield Piece(owned, found, finished)


def apply(connection: Connection, piece: Piece) -> int:
    """Take what was dispatched out of the database; returns of how many requests it knows nothing.

    Raises:
        RecoverError: ledger and requests contradict each other.
    """
    named = {id_ for batch in piece.finished for id_, _ in batch.slices}
    known = recovery.known_requests(connection, named)
    finished = [
        replace(batch, slices=[one for one in batch.slices if one[0] in known])
        for batch in piece.finished
    ]
    try:
        check_cut(connection, piece.entries, piece.owned)
    except ContradictionError as error:
        raise RecoverError(f"{error}; run this with the setting of that time") from None
    wanted = [one for batch in finished for one in batch.slices]
    deleted = sum(pending.delete_slices(connection, wanted).values()) if wanted else 0
    if deleted != len(wanted):
        first, last = piece.finished[0], piece.finished[-1]
        raise RecoverError(
            f"the ledger of shard {first.shard}: batches {first.batch_no} to {last.batch_no} name "
            f"{len(wanted) - deleted} slices that were dispatched before, or that their requests "
            "do not have"
        )
    pending.insert_skips(connection, skip_rows(finished))
    return len(named - known)


def _before(found: Sequence[LedgerEntry]) -> int:
    """The last batch before these records; a takeover may not have heard of it yet."""
    taken = 0
    for entry in found:
        match entry.record:
            case BatchCommitted(batch_no=batch_no):
                return batch_no - 1
            case ShardTaken(batch_no=batch_no):
                taken = max(taken, batch_no)
    return taken


def _note(past: Past, entry: LedgerEntry) -> None:
    record = entry.record
    if record is None:
        return
    if record.epoch >= past.epoch:
        past.epoch, past.owner = record.epoch, record.owner
    if past.since_ms is None and isinstance(record, ShardTaken):
        past.since_ms = record.taken_at_ms
    if past.since_ms is None and isinstance(record, BatchCommitted):
        past.since_ms = record.dispatched_at_ms
