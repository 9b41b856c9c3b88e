"""What a shard's ledger says happened: every history, and every contradiction."""

import uuid

import pytest

from saec.contracts.ledger import BatchCommitted, BatchOpened, LedgerRecord, ShardTaken
from saec.contracts.ledger import SliceDispatched as Slice
from saec.dispatch.resolve import ContradictionError, resolve
from saec.kafka.ledger import LedgerEntry
from saec.store.shards import Owned

ME, OTHER, ATTEMPT = "me", "other", uuid.uuid4()
MINE = Owned(epoch=7, batch_no=3, ledger_offset=100)
REQUEST = uuid.uuid4()


def opened(batch_no: int, owner: str = OTHER, epoch: int = 6) -> BatchOpened:
    return BatchOpened(0, batch_no, owner, epoch)


def committed(batch_no: int, owner: str = OTHER, epoch: int = 6) -> BatchCommitted:
    return BatchCommitted(0, batch_no, owner, epoch, 1, (Slice(REQUEST, batch_no, 1, 1),), ())


def taken(batch_no: int, owner: str = OTHER, epoch: int = 6) -> ShardTaken:
    return ShardTaken(0, owner, epoch, uuid.uuid4(), batch_no, 1)


SENTINEL = ShardTaken(0, ME, 7, ATTEMPT, 3, 1)


def run(*records: LedgerRecord, claimed: tuple[int, ...] = (), log_start: int = 0) -> list[int]:
    entries = [LedgerEntry(100 + i, record) for i, record in enumerate([*records, SENTINEL])]
    found = resolve(ME, MINE, ATTEMPT, entries, claimed, log_start=log_start)
    return [batch.batch_no for batch in found]


def test_nothing_happened() -> None:
    assert run() == []


def test_a_committed_batch_is_applied_with_its_slices_and_the_offset_behind_it() -> None:
    entries = [
        LedgerEntry(100, opened(4)),
        LedgerEntry(105, committed(4)),
        LedgerEntry(107, SENTINEL),
    ]
    (batch,) = resolve(ME, MINE, ATTEMPT, entries, [4], log_start=0)
    assert (batch.batch_no, batch.slices, batch.next_offset) == (4, [(REQUEST, 4)], 106)


def test_several_owners_one_after_the_other() -> None:
    history = (
        taken(3, "a", 4),
        opened(4, "a", 4),
        committed(4, "a", 4),
        taken(3, "b", 5),
        opened(5, "b", 5),
        committed(5, "b", 5),
    )
    assert run(*history) == [4, 5]


def test_a_batch_that_was_applied_before_cannot_come_again() -> None:
    with pytest.raises(ContradictionError, match="batch 3 follows 3"):
        run(opened(3), committed(3))


def test_a_record_that_is_not_the_ledgers_halts() -> None:
    entries = [LedgerEntry(100, None), LedgerEntry(101, SENTINEL)]
    with pytest.raises(ContradictionError, match="offset 100"):
        resolve(ME, MINE, ATTEMPT, entries, (), log_start=0)


def test_a_missing_batch_halts() -> None:
    with pytest.raises(ContradictionError, match="batch 5 follows 3"):
        run(opened(5), committed(5))


def test_a_batch_number_given_twice_halts() -> None:
    with pytest.raises(ContradictionError, match="batch 4 follows 4"):
        run(opened(4), committed(4), opened(4), committed(4))


def test_a_sentinel_that_knows_of_more_batches_than_the_ledger_shows_halts() -> None:
    with pytest.raises(ContradictionError, match="batches 4 to 9 are missing"):
        run(taken(9))


@pytest.mark.parametrize("after", [taken(3), opened(5), committed(5), committed(4, epoch=5)])
def test_an_opening_without_its_closing_record_halts(after: LedgerRecord) -> None:
    with pytest.raises(ContradictionError, match="without its last record"):
        run(opened(4), after)


def test_an_opening_record_at_the_end_halts() -> None:
    with pytest.raises(ContradictionError, match="without its last record"):
        run(opened(4))


@pytest.mark.parametrize(
    "foreign",
    [
        taken(3, OTHER, 7),
        taken(3, OTHER, 8),
        committed(4, OTHER, 7),
        opened(4, OTHER, 9),
        taken(3, ME, 7),
    ],
)
def test_a_foreign_record_of_my_epoch_or_a_later_one_halts(foreign: LedgerRecord) -> None:
    with pytest.raises(ContradictionError, match="went back in time"):
        run(foreign)


def test_a_deleted_ledger_is_a_gap_only_if_a_claimed_batch_could_lie_in_it() -> None:
    assert run(log_start=500) == []
    assert run(opened(4), committed(4), claimed=(4,), log_start=102) == [4]
    # 100 is the end mark of the transaction that ledger_offset stands behind
    assert run(claimed=(4,), log_start=101) == []
    with pytest.raises(ContradictionError, match="may have held batch 4"):
        run(claimed=(4,), log_start=102)
