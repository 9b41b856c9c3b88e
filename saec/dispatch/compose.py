"""Builds a batch: one message per customer and channel, or the reason why there is none.

Pure. Invariant: every message of a slice is either built or counted as skipped, with one status
a slice that says so.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping

from saec.contracts import dispatch, headers
from saec.contracts.events import Channel, bits_to_channels
from saec.contracts.ledger import SliceDispatched, SliceSkip
from saec.contracts.status import EVENT_TYPE as STATUS_TYPE
from saec.contracts.status import RequestStatus, Status, encode_status
from saec.dispatch.batch import Claim, Composed, ShardBatch
from saec.dispatch.read import Snapshot
from saec.errors import Reason
from saec.kafka.records import Outgoing
from saec.settings import Topics
from saec.store.customers import Contact
from saec.store.pending import PendingSlice

SOURCE = "/saec/dispatch"

Skips = defaultdict[tuple[Channel, Reason], int]


def compose(snapshot: Snapshot, claim: Claim, topics: Topics, *, status_sent: bool) -> Composed:
    """Build every record of the batch that `claim` names."""
    batches = {
        shard: ShardBatch(shard, number, claim.runs_of(shard))
        for shard, number in claim.batch_nos.items()
    }
    records: list[Outgoing] = []
    for slice_ in snapshot.slices:
        skips: Skips = defaultdict(int)
        sent = _messages(slice_, snapshot, topics, skips)
        records += sent
        batch = batches[slice_.shard]
        batch.slices.append(
            SliceDispatched(
                slice_.request_id, slice_.slice_no, len(slice_.customers) or 1, len(sent)
            )
        )
        if skips:
            batch.skips += _skips(slice_, skips)
        if skips or status_sent:
            records += _statuses(
                slice_, snapshot.now_ms, topics, skips, sent, status_sent=status_sent
            )
    return Composed(snapshot.now_ms, records, list(batches.values()))


def _skips(slice_: PendingSlice, skips: Skips) -> list[SliceSkip]:
    return [
        SliceSkip(slice_.request_id, slice_.slice_no, channel, reason, messages)
        for (channel, reason), messages in sorted(skips.items())
    ]


def _messages(
    slice_: PendingSlice, snapshot: Snapshot, topics: Topics, skips: Skips
) -> list[Outgoing]:
    channels = bits_to_channels(slice_.channels)
    if slice_.expires_at_ms is not None and slice_.expires_at_ms <= snapshot.now_ms:
        for channel in channels:
            skips[channel, Reason.EXPIRED] += len(slice_.customers) or 1
        return []
    tail = dispatch.slice_tail(
        snapshot.now_ms,
        slice_.request_id,
        slice_.campaign_id,
        slice_.requester,
        slice_.due_at_ms,
        slice_.expires_at_ms,
        slice_.message,
    )
    sent: list[Outgoing] = []
    for channel in channels:
        topic = topics.dispatch[channel]
        if channel is Channel.PUSH:
            sent.append(_record(slice_, topic, channel, None, None, tail))
            continue
        for customer in slice_.customers:
            address = address_of(snapshot.contacts.get(customer), channel)
            if isinstance(address, Reason):
                skips[channel, address] += 1
            else:
                sent.append(_record(slice_, topic, channel, customer, address, tail))
    return sent


def address_of(contact: Contact | None, channel: Channel) -> str | Reason:
    """Where a customer is reached on a channel, or why not."""
    if contact is None:
        return Reason.UNKNOWN_CUSTOMER
    if contact.opted_out & channel.bit:
        return Reason.OPTED_OUT
    return (contact.email if channel is Channel.EMAIL else contact.phone) or Reason.NO_ADDRESS


def _record(
    slice_: PendingSlice,
    topic: str,
    channel: Channel,
    customer: str | None,
    address: str | None,
    tail: bytes,
) -> Outgoing:
    message_id = dispatch.message_id(slice_.request_id.bytes, channel, customer)
    head = dispatch.recipient_head(message_id, customer, channel, address)
    key = str(slice_.request_id) if customer is None else customer
    traced = headers.cloud_event(dispatch.EVENT_TYPE, SOURCE, message_id, slice_.traceparent)
    return Outgoing(topic, head + tail, key.encode(), traced)


def _statuses(
    slice_: PendingSlice,
    now_ms: int,
    topics: Topics,
    skips: Skips,
    sent: list[Outgoing],
    *,
    status_sent: bool,
) -> Iterator[Outgoing]:
    counts = {f"{channel}.{reason}": count for (channel, reason), count in sorted(skips.items())}
    if skips:
        reasons = {reason for _, reason in skips}
        reason = reasons.pop() if len(reasons) == 1 else Reason.SEVERAL
        status = Status.EXPIRED if reason is Reason.EXPIRED else Status.SKIPPED
        yield _status(slice_, now_ms, topics, status, reason, counts)
    if sent and status_sent:
        by_topic = Counter(record.topic for record in sent)
        counts = {
            channel.value: by_topic[topic]
            for channel, topic in topics.dispatch.items()
            if by_topic[topic]
        }
        yield _status(slice_, now_ms, topics, Status.SENT, None, counts)


def _status(
    slice_: PendingSlice,
    now_ms: int,
    topics: Topics,
    status: Status,
    reason: Reason | None,
    counts: Mapping[str, int],
) -> Outgoing:
    value = RequestStatus(
        request_id=str(slice_.request_id),
        status=status,
        at_ms=now_ms,
        reason=reason,
        counts={**counts, "slice": slice_.slice_no},
    )
    event_id = f"{slice_.request_id}/{slice_.slice_no}/{status}"
    return Outgoing(
        topics.status,
        encode_status(value),
        str(slice_.request_id).encode(),
        headers.cloud_event(STATUS_TYPE, SOURCE, event_id, slice_.traceparent),
    )
