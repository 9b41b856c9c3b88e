"""A topic that lost records, and has others in their place: named, and not tried again for ever."""

from collections.abc import Callable
from uuid import uuid4

import pytest

from saec.errors import LostRecordsError
from saec.ingest.requests import RequestIntake
from tests.ingest.kit import ID, Ingest, behind, cancel, schedule

MATCH = r"requests lost records: at offset 1 of partition 0 .*docs/operations.md, Lost records"


@pytest.mark.parametrize("first", [schedule, cancel])
@pytest.mark.parametrize("then", [schedule, cancel])
def test_another_record_at_an_offset_that_was_taken_is_named(
    ingest: Ingest, first: Callable[..., bytes], then: Callable[..., bytes]
) -> None:
    ingest.take(ingest.record(schedule(uuid4())), ingest.record(first(ID)))
    before = ingest.stored()
    other = ingest.record(then(uuid4()), offset=1)
    if (first, then) == (schedule, cancel):  # it harms nobody: the cancel of what is not known
        assert [said.status.name for said in ingest.answer(other)] == ["UNKNOWN_REQUEST"]
        return
    for _ in range(2):
        with pytest.raises(LostRecordsError, match=MATCH):
            ingest.take(other)
    assert ingest.stored() == before


def test_what_comes_again_is_no_loss(ingest: Ingest) -> None:
    batch = [
        ingest.record(schedule()),
        ingest.record(cancel()),
        ingest.record(cancel(uuid4())),
        ingest.record(schedule(uuid4(), due_at=1)),
        ingest.record(b"no event"),
    ]
    assert ingest.take(*batch) == ingest.take(*batch)


def test_what_was_refused_may_be_taken_in_later(ingest: Ingest) -> None:
    """It has the same source as nothing else, though it was passed."""
    refused = ingest.record(schedule(due_at=1_900_000_000_000))
    ingest.take(refused)
    assert ingest.pending_slices() == []
    later = ingest.settings.model_copy(update={"horizon_days": 10_000})
    taker = RequestIntake(later, ingest.engine, later.shards)
    taker.take([refused], behind([refused]))
    assert ingest.pending_slices() == [0]
