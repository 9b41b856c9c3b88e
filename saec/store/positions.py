"""How far each source partition has been taken into the store.

Invariant: a position never goes back, also when a stopped process wakes up and saves an old one;
and it is written only when it moves, so `written_by` tells who moved it there.
"""

from collections.abc import Mapping

from sqlalchemy import Connection

from saec.store.engine import rows
from saec.store.ground import Position

_READ = "SELECT partition, next_offset FROM positions WHERE topic = %(topic)s"

_SAVE = """
    INSERT INTO positions AS stored (topic, partition, next_offset)
    SELECT %(topic)s, * FROM unnest(%(partitions)s::int[], %(offsets)s::bigint[])
    ON CONFLICT (topic, partition) DO UPDATE SET next_offset = excluded.next_offset
    WHERE stored.next_offset < excluded.next_offset
    RETURNING partition, next_offset, xmin::text::bigint
"""


def read_positions(connection: Connection, topic: str) -> dict[int, int]:
    """The next offset of each partition that was ever read: partition -> offset."""
    return dict(tuple(row) for row in rows(connection, _READ, topic=topic))


def save_positions(
    connection: Connection, topic: str, next_offsets: Mapping[int, int]
) -> dict[int, Position]:
    """Save the next offsets, partition -> offset, with the rows of this transaction.

    Returns those that moved.
    """
    partitions = sorted(next_offsets)  # one lock order for all processes
    offsets = [next_offsets[partition] for partition in partitions]
    moved = rows(connection, _SAVE, topic=topic, partitions=partitions, offsets=offsets)
    return {row[0]: Position(*row[1:]) for row in moved}
