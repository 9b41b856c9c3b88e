"""What dispatch does for a history: batches into channel topics and ledger, one after the other.

Invariant: records are built and emitted by SAEC's own code (`saec.dispatch`), and each shard's
batches follow one another without a gap, also where a worker died in the middle of one.
"""

import time
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from saec.contracts.ledger import BatchOpened, ShardTaken
from saec.dispatch.batch import Claim, Composed
from saec.dispatch.compose import compose
from saec.dispatch.emit import emit, write_ledger
from saec.dispatch.read import Snapshot
from saec.kafka.transaction import TransactionalProducer, fence
from saec.settings import Settings
from saec.store.customers import Contact
from saec.store.pending import PendingSlice
from saec.store.requests import SliceRow
from saec.store.shards import Owned

_BATCH_BYTES = 16 * 1024 * 1024


class Dispatch:
    """A worker that has some shards for good. It dies in one of `crash_every` batches."""

    def __init__(
        self,
        settings: Settings,
        contacts: Mapping[str, Contact],
        shards: Sequence[int],
        crash_every: int,
        tally: Counter[str],
    ) -> None:
        self._settings = settings
        self._contacts = contacts
        self._crash_every = crash_every
        self._tally = tally
        self._batches = 0
        self._owned = {shard: Owned(0, 0, 0) for shard in shards}
        self._producer = self._taken_over()

    def send(self, rows: Sequence[SliceRow]) -> None:
        """Dispatch these slices, which are due; in the order in which a worker claims them."""
        ordered = sorted(rows, key=lambda row: (row.lane, row.due_at_ms))
        for part in _batches(ordered, self._settings.dispatch_batch_messages):
            self._batches += 1
            if self._crash_every and self._batches % self._crash_every == 0:
                self._crash(self._composed(part))
            batch = self._composed(part)
            for done in emit(self._producer, self._settings.topics.ledger, self._owned, batch):
                was = self._owned[done.shard]
                self._owned[done.shard] = Owned(was.epoch, done.batch_no, done.next_offset)
            self._count(batch)

    def close(self) -> None:
        """Done."""
        self._producer.discard()

    def _composed(self, part: Sequence[SliceRow]) -> Composed:
        slices = [_pending(seq, row) for seq, row in enumerate(part)]
        numbers = {row.shard: self._owned[row.shard].batch_no + 1 for row in part}
        snapshot = Snapshot(time.time_ns() // 1_000_000, slices, self._contacts)
        return compose(
            snapshot,
            Claim((), numbers),
            self._settings.topics,
            status_sent=self._settings.status_sent,
        )

    def _taken_over(self) -> TransactionalProducer:
        """A producer whose shards they are from now on."""
        producer = TransactionalProducer(self._settings, "dispatch")
        attempt, now_ms = uuid.uuid4(), time.time_ns() // 1_000_000
        producer.begin()
        for shard, was in self._owned.items():
            mine = self._owned[shard] = Owned(was.epoch + 1, was.batch_no, was.ledger_offset)
            me = producer.transactional_id
            sentinel = ShardTaken(shard, me, mine.epoch, attempt, mine.batch_no, now_ms)
            write_ledger(producer, self._settings.topics.ledger, sentinel)
        producer.commit()
        self._tally["takeovers of a shard"] += len(self._owned)
        self._tally["records of ledger"] += len(self._owned)
        return producer

    def _crash(self, batch: Composed) -> None:
        """Die in the middle of a batch, and be followed by another one."""
        dead = self._producer
        dead.begin()
        for part in batch.shards:
            epoch = self._owned[part.shard].epoch
            opening = BatchOpened(part.shard, part.batch_no, dead.transactional_id, epoch)
            write_ledger(dead, self._settings.topics.ledger, opening)
        for one in batch.records:
            dead.produce(one.topic, one.value, one.key, one.headers)
        dead.discard()
        fence(self._settings, dead.transactional_id)
        self._tally["batches aborted"] += 1
        self._producer = self._taken_over()

    def _count(self, batch: Composed) -> None:
        by_topic = Counter(record.topic for record in batch.records)
        for channel, topic in self._settings.topics.dispatch.items():
            self._tally[f"messages by {channel}"] += by_topic[topic]
            self._tally["messages"] += by_topic[topic]
        self._tally["records of status"] += by_topic[self._settings.topics.status]
        self._tally["records of ledger"] += 2 * len(batch.shards)
        for part in batch.shards:
            self._tally["slices"] += len(part.slices)
            self._tally["batches"] += 1
            for skip in part.skips:
                self._tally[f"skipped {skip.reason}"] += skip.messages
                self._tally["messages skipped"] += skip.messages


def _batches(rows: Sequence[SliceRow], most_messages: int) -> Iterator[list[SliceRow]]:
    """The slices in batches of so many messages, or of one slice."""
    part: list[SliceRow] = []
    messages = size = 0
    for row in rows:
        row_size = len(row.message) * row.messages
        if part and (messages + row.messages > most_messages or size + row_size > _BATCH_BYTES):
            yield part
            part, messages, size = [], 0, 0
        part.append(row)
        messages += row.messages
        size += row_size
    if part:
        yield part


def _pending(seq: int, row: SliceRow) -> PendingSlice:
    return PendingSlice(
        row.shard,
        seq,
        row.request_id,
        row.slice_no,
        row.due_at_ms,
        row.expires_at_ms,
        row.channels,
        row.requester,
        row.campaign_id,
        row.traceparent,
        row.customers,
        row.message,
    )
