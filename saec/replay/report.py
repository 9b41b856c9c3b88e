"""What a replay did, or would do: counts and positions, and nothing of what is in a record."""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum


class Stage(StrEnum):
    """What is being done, for a person."""

    COUNTING = "Counting"
    COPYING = "Copying"


Progress = Callable[[Stage, int, int], None]
"""Hears what is done, how much of it, and of how much: offsets looked at, copies committed."""


@dataclass
class Count:
    """Of one source partition, the offsets from `start` up to, and without, `end`.

    `unreadable` records are left out, because a selection by content cannot tell what they are
    about. `headers_lost` of the chosen ones have headers that no client in Python can show: they
    are copied without them.
    """

    start: int
    end: int
    records: int = 0
    chosen: int = 0
    chosen_bytes: int = 0
    unreadable: int = 0
    headers_lost: int = 0


@dataclass
class Report:
    """`partitions` is what this run looked at; `copied` by this run, `copied_before` by others.

    `id` is None where the target does not exist yet, and nothing was to be changed.
    """

    id: str | None
    source: str
    target: str
    partitions: dict[int, Count] = field(default_factory=dict)
    copied: int = 0
    copied_before: int = 0

    @property
    def chosen(self) -> int:
        """Over all partitions."""
        return sum(count.chosen for count in self.partitions.values())
