"""The bounds within which every state is looked at, and the state in which it begins."""

from typing import NamedTuple

from faults.protocol.state import IDLE, Row, State, Worker


class Scope(NamedTuple):
    """Two workers, and: `slices` names each slice's shard, `requests` each request's slices (mask).

    `late` slices are stored at any later time. A batch takes up to `batch` slices. `faults` is how
    many of the things in saec's way may happen: crashes, expired sessions, rebalances, transactions
    timed out, commits unanswered. With `markers` a committed Kafka transaction becomes visible in
    one ledger partition after the other. With `overlap` the next batch is claimed and read while
    one is in Kafka. Kafka does not take the slices that are `refused`, ever.
    """

    name: str
    slices: tuple[int, ...]
    requests: tuple[int, ...]
    faults: int
    late: int = 0
    batch: int = 2
    markers: bool = False
    overlap: bool = False
    refused: int = 0

    @property
    def shards(self) -> int:
        """How many shards there are."""
        return 1 + max(self.slices)


def first_state(scope: Scope) -> State:
    """Worker A owns every shard, B has just started, nothing was dispatched yet."""
    shards = scope.shards
    every = (1 << len(scope.slices)) - 1
    return State(
        workers=(
            Worker(IDLE, (1 << shards) - 1, ((0, 0),) * shards),
            Worker(IDLE, 0, ((),) * shards),
        ),
        rows=(Row(1, 0, 0, 0),) * shards,
        ledgers=((),) * shards,
        producers=(0, 0),
        hanging=(),
        group=(1,) * shards,
        pending=every & ~scope.late,
        late=scope.late,
        sent=0,
        stopped=0,
        promised=0,
        cancels=(0,) * len(scope.requests),
        look=0,
        faults=scope.faults,
    )
