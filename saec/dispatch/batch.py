"""A batch on its way: from the claim, through the ledger, to what is applied.

Invariant: these are plain values; a batch that is dropped leaves nothing behind but its claim row.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from saec.contracts.ledger import SliceDispatched, SliceSkip
from saec.kafka.records import Outgoing
from saec.store.pending import Chosen


@dataclass(frozen=True, slots=True)
class Claim:
    """What was claimed in one transaction: the slices, and each shard's batch number."""

    chosen: Sequence[Chosen]
    batch_nos: Mapping[int, int]


@dataclass(slots=True)
class ShardBatch:
    """One shard's part of a batch."""

    shard: int
    batch_no: int
    slices: list[SliceDispatched] = field(default_factory=list)
    skips: list[SliceSkip] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Composed:
    """Everything that one Kafka transaction will carry, built before it begins."""

    dispatched_at_ms: int
    records: Sequence[Outgoing]
    shards: Sequence[ShardBatch]


@dataclass(frozen=True, slots=True)
class Finished:
    """A shard's batch that the ledger is known to hold, still to be applied to PostgreSQL.

    `next_offset` is where the shard's ledger goes on behind it.
    """

    shard: int
    batch_no: int
    slices: Sequence[tuple[UUID, int]]
    skips: Sequence[SliceSkip]
    next_offset: int
