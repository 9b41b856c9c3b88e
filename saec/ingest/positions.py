"""The positions of one topic, as this process read or wrote them last.

Invariant: a batch is stored only where the positions stand as they did when it began, and answered
only while they stand as it wrote them, in the same database; so a database that went back is seen
before a position is lifted over what it lost.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager

from saec.errors import StoreChangedError
from saec.store import ground
from saec.store.engine import ORDINARY, Bounds, Connection, Engine, transaction
from saec.store.ground import Ground, Position
from saec.store.positions import save_positions


def _trust() -> None:
    """Nothing else has to be looked at."""


class StoredPositions:
    """What `Intake` starts from, and what each transaction of a taker is held against."""

    def __init__(self, engine: Engine, topic: str, check: Callable[[], None] = _trust) -> None:
        """`check` is asked whenever partitions are started: the database may be another one."""
        self._engine = engine
        self._topic = topic
        self._check = check
        self._database: str | None = None
        self._known: dict[int, Position] = {}

    def read(self) -> dict[int, int]:
        """The next offset of each partition, once `check` finds the database fit to start from.

        Raises:
            ConfigurationError: it is not.
            StoreChangedError: it changed while it was looked at.
        """
        before = self._look()
        self._check()
        now = self._look()
        if now.is_behind(before):
            raise StoreChangedError("the database changed while it was looked at")
        self._database, self._known = now.database, self._of_mine(now)
        return {partition: position.next_offset for partition, position in self._known.items()}

    def save(self, next_offsets: Mapping[int, int]) -> None:
        """Save where partitions begin that were never read before."""
        with transaction(self._engine) as connection:
            moved = save_positions(connection, self._topic, next_offsets)
        self._known |= moved

    @contextmanager
    def transaction(
        self, partitions: Collection[int], bounds: Bounds = ORDINARY
    ) -> Iterator[Connection]:
        """A transaction that holds the positions of these partitions, as this process knows them.

        Raises:
            StoreChangedError: they are not; nothing was done.
            ConfigurationError: a recovery of the database is under way.
        """
        try:
            with transaction(self._engine, bounds=bounds) as connection:
                if partitions:
                    # In two statements: the second one sees what was committed before the lock,
                    # and `saec recover` waits for the lock once it has said that it recovers.
                    ground.lock(connection, self._topic, partitions)
                    self._compare(connection, partitions)
                yield connection
        except BaseException:
            self._database, self._known = None, {}  # it is not known what stands: `read` tells
            raise

    def is_passed(self, partition: int, offset: int) -> bool:
        """Whether what stands there was taken before the batch in hand."""
        return offset < self._known.get(partition, _NOWHERE).next_offset

    def moved(self, positions: Mapping[int, Position]) -> None:
        """Take note of what the transaction that is open has written."""
        self._known |= positions

    def confirm(self, partitions: Collection[int]) -> None:
        """See once more that what was stored still stands.

        Raises:
            StoreChangedError: it does not.
            ConfigurationError: a recovery of the database is under way.
        """
        with transaction(self._engine) as connection:
            self._compare(connection, partitions)

    def _compare(self, connection: Connection, partitions: Collection[int]) -> None:
        now = ground.look(connection, [self._topic])
        stands = self._of_mine(now)
        if self._database is None:  # nothing was read yet: what stands is what counts
            self._database = now.database
        if now.database != self._database:
            raise StoreChangedError(ground.CHANGED)
        for partition in partitions:
            was = self._known.setdefault(partition, stands.get(partition, _NOWHERE))
            if stands.get(partition, _NOWHERE) != was:
                raise StoreChangedError(
                    f"the position of {self._topic} partition {partition} is not as it was left: "
                    "another process moved it, or the database was restored"
                )

    def _look(self) -> Ground:
        with transaction(self._engine) as connection:
            return ground.look(connection, [self._topic])

    def _of_mine(self, now: Ground) -> dict[int, Position]:
        return {partition: at for (_, partition), at in now.positions.items()}


_NOWHERE = Position(-1, 0)  # of a partition that has no row yet
