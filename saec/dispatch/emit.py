"""Step 3 of a round: one Kafka transaction over all shards of a batch.

Invariant: a shard's opening record is the first and its closing record the last that is produced
for it, so the batch happened if and only if the closing record is committed.
"""

from collections.abc import Callable, Mapping
from typing import Any

from saec.contracts import headers
from saec.contracts.ledger import (
    BatchCommitted,
    BatchOpened,
    LedgerRecord,
    encode_ledger,
    event_type,
)
from saec.dispatch.batch import Composed, Finished, ShardBatch
from saec.dispatch.compose import SOURCE
from saec.kafka.transaction import InDoubtError, TransactionalProducer
from saec.store.shards import Owned


def emit(
    producer: TransactionalProducer,
    ledger_topic: str,
    owned: Mapping[int, Owned],
    batch: Composed,
    confirm: Callable[[], None] = lambda: None,
) -> list[Finished]:
    """Produce and commit a batch; returns what is to be applied, a shard each.

    `confirm` is asked once everybody can see in the ledger that the batch is open; what it raises
    keeps the batch from happening.

    Raises:
        InDoubtError: it may have been committed, or not.
    """
    me = producer.transactional_id
    offsets: dict[int, int] = {}
    closings = [(part, _closing(part, me, owned, batch)) for part in batch.shards]
    producer.begin()
    for part, closing in closings:
        opening = BatchOpened(part.shard, part.batch_no, me, closing.epoch)
        write_ledger(producer, ledger_topic, opening)
    for record in batch.records:
        producer.produce(record.topic, record.value, record.key, record.headers)
    for _, closing in closings:
        write_ledger(producer, ledger_topic, closing, offsets)
    producer.deliver()
    confirm()
    producer.commit()
    return [_finished(part, offsets) for part in batch.shards]


def write_ledger(
    producer: TransactionalProducer,
    topic: str,
    record: LedgerRecord,
    offsets: dict[int, int] | None = None,
) -> None:
    """Queue a ledger record; its offset is put into `offsets` when it is delivered."""
    event_id = f"{record.owner}/{record.epoch}/{type(record).__name__}/{record.shard}"
    if not hasattr(record, "attempt"):
        event_id += f"/{record.batch_no}"
    producer.produce(
        topic,
        encode_ledger(record),
        str(record.shard).encode(),
        headers.cloud_event(event_type(record), SOURCE, event_id),
        partition=record.shard,
        on_delivery=None if offsets is None else _remember(offsets, record.shard),
    )


def _remember(offsets: dict[int, int], shard: int) -> Callable[[Any, Any], None]:
    def delivered(error: Any, message: Any) -> None:
        # Below 0 where it failed, which the commit will tell, and where it is not known: a repeated
        # delivery may not tell it.
        offsets[shard] = -1 if error is not None else message.offset()

    return delivered


def _closing(
    part: ShardBatch, me: str, owned: Mapping[int, Owned], batch: Composed
) -> BatchCommitted:
    return BatchCommitted(
        part.shard,
        part.batch_no,
        me,
        owned[part.shard].epoch,
        batch.dispatched_at_ms,
        tuple(part.slices),
        tuple(part.skips),
    )


def _finished(part: ShardBatch, offsets: Mapping[int, int]) -> Finished:
    if offsets.get(part.shard, -1) < 0:
        raise InDoubtError(f"no delivery report for the ledger of shard {part.shard}")
    slices = [(slice_.request_id, slice_.slice_no) for slice_ in part.slices]
    next_offset = offsets[part.shard] + 1
    return Finished(part.shard, part.batch_no, slices, part.skips, next_offset, part.runs)
