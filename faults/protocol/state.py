"""The state of the dispatch model: workers, shard rows, ledgers, producers, and what was promised.

Invariant: plain tuples of ints that never change; sets of slices and of shards are bit masks.
"""

from typing import Any, NamedTuple

# Where a worker stands between two of its steps.
IDLE, CLAIMED, READ, OPEN, LOOKED, TAKEN, SENTINEL = range(7)

# A producer: its id was fenced, a transaction is open, its EndTxn is still under way.
FENCED, BEGUN, ENDING = 1, 2, 4

# Stands for a shard that a worker counts as its own but no longer dispatches (a mutation).
DROPPED = (-9, -9)


class Batch(NamedTuple):
    """A shard's batch: claimed, in Kafka, or finished (`saec.dispatch.batch`)."""

    shard: int
    number: int
    slices: int
    next_offset: int = 0


class Worker(NamedTuple):
    """What a worker process knows. `owned` holds (epoch, batch number) or () for each shard."""

    step: int
    assigned: int
    owned: tuple[Any, ...]
    finished: tuple[Batch, ...] = ()
    work: tuple[Any, ...] = ()  # batches; or shards looked at; or shards taken
    ahead: tuple[Any, ...] = ()  # overlapped rounds only: (was read, batches)
    previous: int = 0  # its producer before the last doubt; only a mutation looks at it
    apart: int = 0  # slices that Kafka refused it, alone
    most: int = 0  # slices of the next claim, while it looks for one that is refused; 0: no limit


class Seen(NamedTuple):
    """A shard that a takeover looked at; `owner` is 0 once nothing is left to fence."""

    shard: int
    owner: int
    epoch: int


class Taken(NamedTuple):
    """A shard after compare and set. `todo` is used by mutations only."""

    shard: int
    epoch: int
    batch_no: int
    offset: int
    todo: int = 0


class Row(NamedTuple):
    """A row of `shards`, with the shard's rows of `claims`: (batch number, slices)."""

    owner: int
    epoch: int
    batch_no: int
    offset: int
    claims: tuple[tuple[int, int], ...] = ()


class Entry(NamedTuple):
    """A ledger record: a BatchCommitted, or a ShardTaken (no slices).

    `attempt` is 1 + the worker that waits for this very sentinel, or 0. `producer` is 0 when
    readers see the record, else the producer of the transaction that holds it; negative when that
    was committed but this partition's marker is not written yet.
    """

    number: int
    epoch: int
    slices: int
    attempt: int
    producer: int


class Hanging(NamedTuple):
    """A PostgreSQL transaction whose COMMIT was not answered: it still holds its row locks."""

    rows: tuple[tuple[int, Row], ...]
    gone: int


class State(NamedTuple):
    """Everything. Worker w's producer is w + 1; 3 and above are producers thrown away."""

    workers: tuple[Worker, ...]
    rows: tuple[Row, ...]
    ledgers: tuple[tuple[Entry, ...], ...]
    producers: tuple[int, ...]
    hanging: tuple[Hanging, ...]
    group: tuple[int, ...]  # to whom the group has assigned each shard: 1 + worker, or 0
    pending: int
    late: int  # slices that are not stored yet
    sent: int
    stopped: int
    promised: int  # slices that a cancel answered TOO_LATE for
    cancels: tuple[int, ...]  # of each request: 0 not asked, 1 CANCELLED, 2 TOO_LATE
    look: int  # a cancel without a lock has looked: 1 + (request << 8 | slices to delete)
    faults: int
    wrong: str = ""


def put(items: tuple[Any, ...], at: int, item: Any) -> tuple[Any, ...]:
    """`items` with another item at one place."""
    return (*items[:at], item, *items[at + 1 :])


def bits(mask: int) -> list[int]:
    """The places of the bits of a mask."""
    return [place for place in range(mask.bit_length()) if mask >> place & 1]
