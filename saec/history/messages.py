"""Finds the messages of a request in the channel topics.

A batch is one Kafka transaction of one producer, so its messages are stamped between its first and
its last record in the ledger. Invariant: a message that is missing is said to be missing only where
nothing that could hold it was deleted.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from saec.contracts.dispatch import DispatchMessage, decode_dispatch
from saec.contracts.events import Channel
from saec.contracts.rejected import RejectedError
from saec.history.batches import Batch, stretch, windows
from saec.history.events import Place, Remark, Sent, Why, many
from saec.history.margins import CLOCKS_MS, CLOSE_MS
from saec.kafka.records import Incoming
from saec.kafka.seek import Partition, Seeker


@dataclass
class Messages:
    """What stands in the channel topics: by the instant of the batch, each place once."""

    by_instant: dict[int, dict[Place, Sent]] = field(default_factory=lambda: defaultdict(dict))
    sent_at: Counter[int] = field(default_factory=Counter)
    remarks: list[Remark] = field(default_factory=list)

    def of(self, batch: Batch) -> tuple[Sent, ...]:
        """The messages of a batch, by channel and place."""
        return tuple(sorted(self._of(batch), key=lambda m: (_RANK[m.channel], m.place)))

    def add(self, message: DispatchMessage, record: Incoming) -> None:
        """Take in a message of the request."""
        place = Place(record.topic, record.partition, record.offset)
        self.by_instant[message.dispatched_at_ms][place] = Sent(
            message.channel, message.customer_id, message.message_id, place
        )

    def missing(self, batch: Batch) -> int:
        """How many that the ledger names were not found; negative: too many were."""
        # By the instant: two batches of one shard would have to be read in the same millisecond.
        at_ms = batch.dispatched_at_ms
        return self.sent_at[at_ms] - len({sent.message_id for sent in self._of(batch)})

    def _of(self, batch: Batch) -> Iterable[Sent]:
        return self.by_instant.get(batch.dispatched_at_ms, {}).values()


_RANK = {channel: rank for rank, channel in enumerate(Channel)}


@dataclass(frozen=True, slots=True)
class Wanted:
    """Whose messages are looked for: customers None: not known, so that they may be anywhere."""

    request_id: UUID
    topics: Mapping[Channel, str]
    customers: Sequence[str] | None


def find_messages(
    seeker: Seeker, wanted: Wanted, batches: Sequence[Batch], *, all_known: bool
) -> Messages:
    """The messages of these batches; `all_known`: there are no others of this request.

    Raises:
        BrokerUnavailableError: no answer.
    """
    messages = Messages()
    sending = [batch for batch in batches if batch.sent]
    for batch in sending:
        messages.sent_at[batch.dispatched_at_ms] += batch.sent
    _read(seeker, wanted, _likely(seeker, wanted), sending, CLOSE_MS, messages)
    short = [batch for batch in sending if messages.missing(batch) > 0]
    cut = _read(seeker, wanted, _everywhere(seeker, wanted), short, CLOCKS_MS, messages)
    for batch in sending:
        messages.remarks += _differences(batch, messages, cut)
        messages.remarks += _doubles(batch, messages.of(batch))
    if all_known:
        messages.remarks += _strays(sending, messages)
    return messages


def _read(
    seeker: Seeker,
    wanted: Wanted,
    places: set[Partition],
    batches: Sequence[Batch],
    margin_ms: int,
    messages: Messages,
) -> set[Batch]:
    """Read around these batches; returns those of which something may have been deleted."""
    cut = set()
    mark = str(wanted.request_id).encode()
    for window in windows(batches, margin_ms):
        reaches = seeker.between(places, *stretch(window, margin_ms))
        if any(reach.cut for reach in reaches.values()):
            cut.update(window)
        for record in seeker.read(reaches):
            # The id stands in the value as it is: most records need not be decoded.
            if mark in (record.value or b""):
                message = _decoded(record, wanted.request_id)
                if message is not None:
                    messages.add(message, record)
    return cut


def _likely(seeker: Seeker, wanted: Wanted) -> set[Partition]:
    """Where the keys lead, with as many partitions as there are today."""
    if wanted.customers is None:
        return _everywhere(seeker, wanted)
    places = set()
    for channel, topic in wanted.topics.items():
        push = channel is Channel.PUSH
        places |= seeker.of_keys(topic, [str(wanted.request_id)] if push else wanted.customers)
    return places


def _everywhere(seeker: Seeker, wanted: Wanted) -> set[Partition]:
    """Every partition: somebody may have added some since, and then the keys lead elsewhere."""
    return {place for topic in wanted.topics.values() for place in seeker.partitions(topic)}


def _decoded(record: Incoming, request_id: UUID) -> DispatchMessage | None:
    try:
        message = decode_dispatch(record.value or b"")
    except RejectedError:
        return None
    return message if message.request_id == request_id else None


def _differences(batch: Batch, messages: Messages, cut: set[Batch]) -> Iterator[Remark]:
    missing, at_ms = messages.missing(batch), batch.dispatched_at_ms
    if missing > 0 and batch in cut:
        what = f"{many(missing)} of batch {batch.batch_no}: no longer kept"
        yield Remark(at_ms, Why.NO_LONGER_KEPT, what)
    elif missing:
        how = "not in the channel topics" if missing > 0 else "more than the ledger says"
        what = f"{many(abs(missing))} of batch {batch.batch_no}: {how}"
        yield Remark(at_ms, Why.CONTRADICTION, what, batch.place)


def _doubles(batch: Batch, sent: Iterable[Sent]) -> Iterator[Remark]:
    first: dict[str, Place] = {}
    for message in sent:
        other = first.setdefault(message.message_id, message.place)
        if other != message.place:
            what = f"message {message.message_id} stands twice: {other} and {message.place}"
            yield Remark(batch.dispatched_at_ms, Why.CONTRADICTION, what, message.place)


def _strays(batches: Iterable[Batch], messages: Messages) -> Iterator[Remark]:
    known = {batch.dispatched_at_ms for batch in batches}
    for at_ms, sent in messages.by_instant.items():
        for place in sent if at_ms not in known else ():
            what = f"a message stands in {place}, and no batch in the ledger holds it"
            yield Remark(at_ms, Why.CONTRADICTION, what, place)
