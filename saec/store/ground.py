"""What tells whether a database is still the one that it was when it was last looked at.

A restore and a failover put another state under connections that go on, also behind a pooler.
Invariant: whoever remembers a `Ground`, and is shown one that is not behind it, lost nothing that
was committed before the first and is told of by it.
"""

import threading
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from sqlalchemy import Connection

from saec.errors import ConfigurationError, StoreChangedError
from saec.store.engine import rows


class Position(NamedTuple):
    """A row of `positions`: the next offset, and by which transaction it was written."""

    next_offset: int
    written_by: int


# A server that was started anew, or took over from another; a database that was copied in place of
# another; tables that were put in place again; a recovery that was begun or done. None of it
# happens in the course of work.
_DATABASE = """
    concat_ws(' ', extract(epoch FROM pg_postmaster_start_time()),
              (SELECT oid FROM pg_database WHERE datname = current_database()), i.xmin,
              pg_relation_filenode('positions'))
"""
_LOOK = f"""
    SELECT {_DATABASE}, i.recovering, p.topic, p.partition, p.next_offset, p.xmin::text::bigint
    FROM installation i LEFT JOIN positions p ON p.topic = ANY(%(topics)s)
"""
CHANGED = "the database was restored, or is another one after a failover: it is looked at anew"
_LOCK = """
    SELECT FROM positions WHERE topic = %(topic)s AND partition = ANY(%(partitions)s::int[])
    ORDER BY partition FOR NO KEY UPDATE
"""
_LOCK_ALL = "SELECT FROM positions ORDER BY topic, partition FOR NO KEY UPDATE"


@dataclass(frozen=True, slots=True)
class Ground:
    """Which database this is, and its positions: (topic, partition) -> position."""

    database: str
    positions: Mapping[tuple[str, int], Position] = field(default_factory=dict)

    def of(self, topic: str) -> dict[int, int]:
        """The next offset of each partition of a topic."""
        return {p: at.next_offset for (named, p), at in self.positions.items() if named == topic}

    def is_behind(self, before: "Ground") -> bool:
        """Whether something that `before` showed may be lost.

        Others move positions forward; one that is where it was has not been written again.
        """
        return self.database != before.database or any(
            now is None or now.next_offset < was.next_offset or _was_put_back(was, now)
            for was, now in ((was, self.positions.get(at)) for at, was in before.positions.items())
        )


def look(connection: Connection, topics: Iterable[str]) -> Ground:
    """How the database stands.

    Raises:
        ConfigurationError: a recovery is under way.
        StoreChangedError: its tables are empty.
    """
    found = rows(connection, _LOOK, topics=list(topics))
    if not found:
        raise StoreChangedError("the database is empty")
    database, recovering = found[0][:2]
    if recovering:
        raise ConfigurationError(
            "a recovery of the database has not finished: run `saec recover` again"
        )
    return Ground(database, {(row[2], row[3]): Position(*row[4:]) for row in found if row[2]})


def lock(connection: Connection, topic: str, partitions: Collection[int]) -> None:
    """Lock the positions of these partitions, before they are looked at to be moved."""
    rows(connection, _LOCK, topic=topic, partitions=sorted(partitions))


def wait_for_writers(connection: Connection) -> None:
    """Wait until no transaction is open any more that locked positions before this one."""
    rows(connection, _LOCK_ALL)


class GroundWatch:
    """Remembers how the database stood last, and notices when it stands behind that."""

    def __init__(self, topics: Iterable[str]) -> None:
        self._topics = list(topics)
        self._seen: Ground | None = None
        self._one_at_a_time = threading.Lock()  # an older look must not meet a newer one

    def compare(self, connection: Connection) -> Ground:
        """Look, as the first statement of a transaction or later.

        Raises:
            StoreChangedError: it is not what it was.
            ConfigurationError: a recovery is under way.
        """
        with self._one_at_a_time:
            now = look(connection, self._topics)
            if self._seen is not None and now.is_behind(self._seen):
                raise StoreChangedError(CHANGED)
            self._seen = now
        return now


def _was_put_back(was: Position, now: Position) -> bool:
    return now.next_offset == was.next_offset and now.written_by != was.written_by
