"""Which batches of a shard happened that PostgreSQL has not heard of: what its ledger says.

Pure. Invariant: when the ledger and PostgreSQL cannot both be right, the shard is halted; nothing
is guessed.
"""

from collections.abc import Collection, Sequence
from typing import assert_never
from uuid import UUID

from saec.contracts.ledger import BatchCommitted, BatchOpened, LedgerRecord, ShardTaken
from saec.dispatch.batch import Finished
from saec.kafka.ledger import LedgerEntry
from saec.store.shards import Owned

_RECOVER = "; the database or the ledger went back in time"


class ContradictionError(Exception):
    """Ledger and PostgreSQL contradict each other. `str()` says how."""


def resolve(
    me: str,
    owned: Owned,
    attempt: UUID,
    entries: Sequence[LedgerEntry],
    claimed: Collection[int],
    *,
    log_start: int,
) -> list[Finished]:
    """The batches to apply, in order, from the entries up to the sentinel of `attempt`.

    `claimed` are the batch numbers that claim rows name; `log_start` is the oldest offset the
    ledger still holds.

    Raises:
        ContradictionError: halt the shard.
    """
    history = _History(owned)
    for entry in entries:
        if entry.record is None:
            raise ContradictionError(f"offset {entry.offset} of the ledger is no record of SAEC's")
        _check_epoch(entry.record, me, owned, attempt)
        history.add(entry.record, entry.offset)
    lost = {number for number in claimed if number > history.last}
    # What stands at ledger_offset itself is the end mark of the transaction before it.
    if log_start > owned.ledger_offset + 1 and lost:
        raise ContradictionError(
            f"the ledger was deleted up to offset {log_start}, and may have held batch {min(lost)}"
        )
    return history.finished


class _History:
    """A shard's ledger, record by record: the batches that follow the last one applied."""

    def __init__(self, owned: Owned) -> None:
        self.last = owned.batch_no
        self.finished: list[Finished] = []
        self._opened: BatchOpened | None = None

    def add(self, record: LedgerRecord, offset: int) -> None:
        """Take in the next record."""
        opened = self._opened
        if opened is not None and not _closes(opened, record):
            raise ContradictionError(
                f"batch {opened.batch_no} was opened and committed without its last record: "
                "the broker broke a transaction"
            )
        self._opened = record if isinstance(record, BatchOpened) else None
        match record:
            case BatchOpened():
                pass
            case ShardTaken():
                self._check_known(record)
            case BatchCommitted():
                self._append(record, offset)
            case _:
                assert_never(record)

    def _check_known(self, taken: ShardTaken) -> None:
        if taken.batch_no > self.last:
            raise ContradictionError(f"batches {self.last + 1} to {taken.batch_no} are missing")

    def _append(self, record: BatchCommitted, offset: int) -> None:
        if record.batch_no != self.last + 1:
            raise ContradictionError(f"batch {record.batch_no} follows {self.last}{_RECOVER}")
        self.last = record.batch_no
        slices = [(slice_.request_id, slice_.slice_no) for slice_ in record.slices]
        self.finished.append(
            Finished(record.shard, record.batch_no, slices, record.skips, offset + 1)
        )


def _check_epoch(record: LedgerRecord, me: str, owned: Owned, attempt: UUID) -> None:
    mine = isinstance(record, ShardTaken) and record.attempt == attempt and record.owner == me
    if not mine and record.epoch >= owned.epoch:
        raise ContradictionError(
            f"the ledger is at epoch {record.epoch}, PostgreSQL at {owned.epoch}{_RECOVER}"
        )


def _closes(opened: BatchOpened, record: LedgerRecord) -> bool:
    return (
        isinstance(record, BatchCommitted)
        and record.batch_no == opened.batch_no
        and record.epoch == opened.epoch
        and record.owner == opened.owner
    )
