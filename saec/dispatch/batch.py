"""A batch on its way: from the claim, through the ledger, to what is applied.

Invariant: these are plain values; a batch that is dropped leaves nothing behind but its claim row.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from saec.contracts.ledger import SliceDispatched, SliceSkip
from saec.kafka.records import Outgoing
from saec.store.pending import Run


@dataclass(frozen=True, slots=True)
class Claim:
    """What was claimed in one transaction: the slices, and each shard's batch number."""

    runs: Sequence[Run]
    batch_nos: Mapping[int, int]

    @property
    def messages(self) -> int:
        """How many messages it comes to, if none is skipped."""
        return sum(run.messages for run in self.runs)

    def runs_of(self, shard: int) -> list[Run]:
        """A shard's part."""
        return [run for run in self.runs if run.shard == shard]


@dataclass(slots=True)
class ShardBatch:
    """One shard's part of a batch."""

    shard: int
    batch_no: int
    runs: Sequence[Run]
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

    `next_offset` is where the shard's ledger goes on behind it. `runs` says where the slices lie;
    of a batch that only the ledger tells of, it is not known.
    """

    shard: int
    batch_no: int
    slices: Sequence[tuple[UUID, int]]
    skips: Sequence[SliceSkip]
    next_offset: int
    runs: Sequence[Run] | None = None
