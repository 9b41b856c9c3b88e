"""The installation that is looked at: both its sides, each read when first asked for.

Invariant: the database is read in one snapshot, after the groups, so that what goes on meanwhile
cannot look like a database that went back.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from saec.clock import Clock
from saec.kafka.survey import GroupState, Place, Survey
from saec.settings import Settings
from saec.store import inspection, shards
from saec.store.engine import Engine, transaction
from saec.store.inspection import Durability, ShardState
from saec.store.positions import read_positions


@dataclass(frozen=True, slots=True)
class Stored:
    """What the database said, at `now_ms` by its clock."""

    now_ms: int
    shards: list[ShardState]
    positions: dict[Place, int]
    durability: Durability


class Patient:
    """What the checks look at. `wait_s` is how long an open transaction may take to end."""

    def __init__(
        self,
        settings: Settings,
        engine: Engine,
        survey: Survey,
        clock: Clock,
        wall_ms: Callable[[], int],
        wait_s: float,
    ) -> None:
        self.settings = settings
        self.survey = survey
        self.clock = clock
        self.wall_ms = wall_ms
        self.wait_s = wait_s
        self.never = threading.Event()
        self._engine = engine

    @cached_property
    def groups(self) -> dict[str, GroupState]:
        """The groups of the kinds of process that read Kafka, by role."""
        roles = ["requests", "customers", "dispatch"]
        roles += ["requesters"] if self.settings.requesters else []
        return {role: self.survey.group(role) for role in roles}

    @cached_property
    def stored(self) -> Stored:
        """What the database holds. The groups are asked first: ingest stores, then answers."""
        _ = self.groups
        sources = (self.settings.topics.requests, self.settings.topics.customers)
        with transaction(self._engine, snapshot=True) as connection:
            return Stored(
                shards.now_ms(connection),
                inspection.read_shards(connection),
                {
                    (topic, partition): at
                    for topic in sources
                    for partition, at in read_positions(connection, topic).items()
                },
                inspection.read_durability(connection),
            )

    def database_now_ms(self) -> int:
        """PostgreSQL's clock, now."""
        with transaction(self._engine) as connection:
            return shards.now_ms(connection)
