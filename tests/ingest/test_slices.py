"""Slices: every customer and channel once, within bounds."""

from collections import Counter
from unittest.mock import patch
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saec.contracts.dispatch import encode_message
from saec.contracts.events import (
    Channel,
    Message,
    ScheduleRequested,
    bits_to_channels,
)
from saec.contracts.rejected import RejectedError
from saec.errors import Reason
from saec.ingest import slices
from saec.store.requests import SliceRow
from saec.store.shards import shard_of

DUE_MS = 1_800_000_000_000
MESSAGE_BYTES = st.integers(0, 400)
CHANNELS = st.sets(st.sampled_from(Channel), min_size=1)


@st.composite
def requests(draw: st.DrawFn) -> ScheduleRequested:
    """Any valid request with up to 60 customers."""
    channels = tuple(sorted(draw(CHANNELS), key=list(Channel).index))
    count = 0 if channels == (Channel.PUSH,) else draw(st.integers(1, 60))
    return ScheduleRequested(
        id=UUID(int=draw(st.integers(0, 2**128 - 1))),
        requester="billing",
        campaign_id=draw(st.none() | st.just("spring")),
        channels=channels,
        customers=tuple(f"c{number}" for number in range(count)),
        due_at_ms=DUE_MS,
        expires_at_ms=draw(st.none() | st.just(DUE_MS + 1)),
        message=Message(body=b"x" * draw(MESSAGE_BYTES), content_type="text/plain"),
    )


def cut(event: ScheduleRequested, most_recipients: int, trace: str | None = None) -> list[SliceRow]:
    return slices.cut(event, shards=16, most_recipients=most_recipients, traceparent=trace)


def sent(row: SliceRow) -> list[tuple[str, Channel]]:
    """What goes out for a slice: (customer, channel), PUSH to nobody in particular."""
    channels = bits_to_channels(row.channels)
    return [(who, channel) for who in row.customers or ("",) for channel in channels]


@given(event=requests(), most=st.integers(1, 70))
def test_every_customer_and_channel_is_in_exactly_one_slice(
    event: ScheduleRequested, most: int
) -> None:
    expected = Counter(
        (who, channel)
        for channel in event.channels
        for who in (("",) if channel is Channel.PUSH else event.customers)
    )
    made = cut(event, most)
    assert Counter(one for row in made for one in sent(row)) == expected
    assert sum(row.messages for row in made) == expected.total()
    for row in made:
        assert row.messages == len(sent(row))
        assert row.recipients == max(1, len(row.customers))


@given(event=requests(), most=st.integers(1, 70))
def test_push_is_alone_and_no_slice_has_too_many(event: ScheduleRequested, most: int) -> None:
    for row in cut(event, most):
        assert len(row.customers) <= most
        if row.channels & Channel.PUSH.bit:
            assert (row.channels, row.customers) == (Channel.PUSH.bit, ())
        else:
            assert row.customers


@given(event=requests(), most=st.integers(1, 70), room=st.integers(0, 5_000))
def test_no_slice_makes_more_bytes_than_it_may(
    event: ScheduleRequested, most: int, room: int
) -> None:
    # One recipient is never cut: a bound below that is not kept.
    bound = len(encode_message(event.message)) * len(event.channels) + room
    with patch.object(slices, "SLICE_BYTES", bound):
        made = cut(event, most)
    assert all(row.messages * len(row.message) <= bound for row in made)


def large(body_bytes: int, customers: int) -> ScheduleRequested:
    return ScheduleRequested(
        id=UUID(int=1),
        requester="billing",
        channels=(Channel.EMAIL, Channel.SMS, Channel.WHATSAPP),
        customers=tuple(map(str, range(customers))),
        due_at_ms=DUE_MS,
        message=Message(body=b"x" * body_bytes, content_type="text/plain"),
    )


def test_a_large_message_is_cut_into_more_slices() -> None:
    made = cut(large(899_900, 100), 500)
    assert sum(row.recipients for row in made) == 100
    assert max(row.messages * len(row.message) for row in made) <= 8 * 1024 * 1024


def test_what_would_take_too_much_room_is_refused() -> None:
    """Each slice carries the message: this would be three gigabytes of rows."""
    with pytest.raises(RejectedError) as refused:
        cut(large(899_900, 10_000), 500)
    assert refused.value.reason is Reason.REQUEST_TOO_LARGE
    assert refused.value.request_id == UUID(int=1)


@given(event=requests(), most=st.integers(1, 70))
def test_slices_are_numbered_in_order_and_carry_the_request(
    event: ScheduleRequested, most: int
) -> None:
    made = cut(event, most, "00-trace")
    assert [row.slice_no for row in made] == list(range(len(made)))
    assert tuple(who for row in made for who in row.customers) == event.customers
    for row in made:
        assert row.request_id == event.id
        assert row.shard == shard_of(event.id, 16)
        assert row.lane == event.lane.rank
        assert (row.due_at_ms, row.expires_at_ms) == (event.due_at_ms, event.expires_at_ms)
        assert (row.requester, row.campaign_id) == (event.requester, event.campaign_id)
        assert row.traceparent == "00-trace"
        assert row.message == encode_message(event.message)


def test_the_shard_of_a_request_never_changes() -> None:
    """Fixed by the first release: rows that are pending lie in these shards."""
    ids = [UUID(int=0), UUID(int=1), UUID("6d1f0c1e-2a55-4c3e-9a39-0f1f1d6d8f10")]
    assert [shard_of(id_, 16) for id_ in ids] == [5, 3, 0]
    assert {shard_of(UUID(int=number), 16) for number in range(1_000)} == set(range(16))
