"""The write-ahead log of dispatch, as bytes."""

from dataclasses import asdict
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saec.contracts import avro
from saec.contracts.decode import RejectedError
from saec.contracts.events import Channel
from saec.contracts.ledger import (
    BatchCommitted,
    BatchOpened,
    LedgerRecord,
    ShardTaken,
    SliceDispatched,
    SliceSkip,
    decode_ledger,
    encode_ledger,
    event_type,
)
from saec.errors import Reason
from tests.calls import calls
from tests.contracts import values

MOST_CALLS = 10  # for each slice

numbers = st.integers(0, 2**31 - 1)
large = st.integers(0, 2**62)
owners = st.text(max_size=100)
slices = st.builds(SliceDispatched, values.uuids, numbers, numbers, numbers)
skips = st.builds(
    SliceSkip, values.uuids, numbers, values.channels, st.sampled_from(Reason), numbers
)
committed = st.builds(
    BatchCommitted,
    *(numbers, large, owners, large, values.instants),
    st.lists(slices, max_size=5).map(tuple),
    st.lists(skips, max_size=3).map(tuple),
)
records = (
    committed
    | st.builds(BatchOpened, numbers, large, owners, large)
    | st.builds(ShardTaken, numbers, owners, large, values.uuids, large, values.instants)
)


@given(records)
def test_what_is_written_is_what_is_read(record: LedgerRecord) -> None:
    assert decode_ledger(encode_ledger(record)) == record


@given(committed)
def test_a_batch_is_what_an_encoder_writes(batch: BatchCommitted) -> None:
    fields: dict[str, Any] = asdict(batch)
    fields["slices"] = [slice_._asdict() for slice_ in batch.slices]
    fields["dispatched_at"] = fields.pop("dispatched_at_ms")
    for item in (*fields["slices"], *fields["skips"]):
        item["request_id"] = item["request_id"].bytes
    assert encode_ledger(batch) == avro.encode_single("batch_committed", fields)


@given(records)
def test_the_type_is_the_schema_s_name(record: LedgerRecord) -> None:
    names = {avro.load(name)["name"] for name in avro.names()}
    assert event_type(record) in names


@given(st.binary(max_size=60))
def test_any_bytes_are_a_record_or_refused(value: bytes) -> None:
    for start in (b"", avro.prefix("batch_committed"), avro.prefix("shard_taken")):
        values.accepted(partial(decode_ledger, start + value))


def test_a_record_of_another_topic_is_refused() -> None:
    with pytest.raises(RejectedError) as caught:
        decode_ledger(values.schedule_avro())
    assert caught.value.reason is Reason.UNKNOWN_EVENT_TYPE


def test_a_large_batch_is_written_in_few_calls() -> None:
    batch = BatchCommitted(
        *(1, 2, "saec.dispatch.w1", 3, 4),
        slices=tuple(SliceDispatched(uuid4(), 0, 1, 1) for _ in range(5_000)),
        skips=(SliceSkip(UUID(values.ID), 0, Channel.SMS, Reason.OPTED_OUT, 1),),
    )
    assert decode_ledger(encode_ledger(batch)) == batch
    assert calls(lambda: encode_ledger(batch)) < MOST_CALLS * len(batch.slices)
