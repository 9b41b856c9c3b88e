"""Ties an installation to a new Kafka cluster, or to topics that were created again.

Invariant: what is pending stays pending and goes out once through the new Kafka; what cannot be
known is told before anything is changed, and where it matters the operator chooses.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from saec import installation
from saec.clock import Clock
from saec.errors import BrokerUnavailableError
from saec.ingest import registry
from saec.kafka import stretches
from saec.kafka.ledger import Ledger
from saec.kafka.publish import publish
from saec.kafka.records import Outgoing
from saec.recover.company import refuse_company
from saec.recover.errors import RecoverError
from saec.settings import Settings
from saec.store import anchor, identity
from saec.store import installation as store
from saec.store.anchor import GENERATION, OnItsWay
from saec.store.customers import read_registered
from saec.store.engine import Connection, Engine, transaction
from saec.store.identity import KafkaIds
from saec.store.positions import save_positions

_PAGE_ROWS = 5_000


@dataclass(frozen=True, slots=True)
class Change:
    """What is another Kafka's, and what of the database hangs on it.

    `changed` says in words which ids are others. The three flags: topics that begin anew.
    """

    changed: list[str]
    requests: bool
    customers: bool
    ledger: bool
    pending_slices: int
    on_its_way: OnItsWay

    @property
    def in_doubt(self) -> int:
        """Slices of which the lost ledger alone knew whether they were sent."""
        return self.on_its_way.slices if self.ledger else 0


class Anchor:
    """One run of `saec recover --new-cluster`."""

    def __init__(self, settings: Settings, engine: Engine, clock: Clock) -> None:
        self._settings = settings
        self._engine = engine
        self._clock = clock

    def foresee(self) -> Change:
        """What would begin anew; nothing is changed."""
        with transaction(self._engine, snapshot=True) as connection:
            store.read(connection, self._settings.topic_prefix)
            known, recovering = identity.read_ids(connection)
            on_its_way = anchor.read_on_its_way(connection)
            slices = anchor.count_pending(connection)
        if recovering:
            raise RecoverError("a recovery has not finished: its Kafka is needed for that")
        found = installation.kafka_ids(self._settings)
        return Change(
            installation.differences(self._settings, known, found),
            _differs(known, found, "requests_topic_id"),
            _differs(known, found, "customers_topic_id"),
            _differs(known, found, "ledger_topic_id"),
            slices,
            on_its_way,
        )

    def run(self, *, claimed_sent: bool | None) -> Change:
        """Begin anew with what changed. `claimed_sent`: whether slices in doubt count as sent.

        Raises:
            RecoverError: processes run, or slices are in doubt and nothing was chosen.
        """
        refuse_company(self._settings)
        change = self.foresee()
        if change.in_doubt and claimed_sent is None:
            raise RecoverError(
                f"{change.in_doubt} slices were on their way: choose with --claimed sent or "
                "--claimed unsent whether they count as sent or are sent (again)"
            )
        if change.customers:
            self._write_registry()
        topics, ends = self._settings.topics, self._ledger_ends() if change.ledger else {}
        with transaction(self._engine) as connection:
            if change.requests:
                anchor.age_sources(connection)
                self._begin_source(connection, "requests", topics.requests)
            if change.customers:
                anchor.age_registry(connection)
                self._begin_source(connection, "customers", topics.customers)
            if change.ledger:
                anchor.give_up_claims(connection, sent=bool(claimed_sent))
                anchor.begin_ledger(connection, ends)
            identity.replace_ids(connection, installation.kafka_ids(self._settings))
        return change

    def _write_registry(self) -> None:
        """Write every customer to saec.registry, which may be new: a rebuild reads it alone."""
        delivery = publish(self._settings, self._registry())
        if delivery.failures:
            raise BrokerUnavailableError(f"writing the registry: {delivery.failures[0].why}")

    def _registry(self) -> Iterator[Outgoing]:
        behind = ""
        while True:
            with transaction(self._engine) as connection:
                page = read_registered(connection, behind, _PAGE_ROWS)
            if not page:
                return
            behind = page[-1].customer_id
            aged = (
                replace(row, source_partition=row.source_partition - GENERATION) for row in page
            )
            yield from registry.records(self._settings.topics, aged)

    def _begin_source(self, connection: Connection, role: str, topic: str) -> None:
        """Where the group begins: at the oldest record, unless its offsets came along."""
        anchor.forget_source(connection, topic)
        copied = stretches.committed_offsets(self._settings, role, topic)
        save_positions(connection, topic, copied)

    def _ledger_ends(self) -> dict[int, int]:
        with transaction(self._engine) as connection:
            shards = range(store.read(connection, self._settings.topic_prefix).shards)
        with Ledger(self._settings, self._clock).look() as look_at:
            ends = look_at.ends(shards)
        if not all(found.settled for found in ends.values()):
            raise RecoverError("a transaction is open in the ledger: wait, and run it again")
        return {shard: found.committed for shard, found in ends.items()}


def _differs(known: KafkaIds, found: KafkaIds, name: str) -> bool:
    return getattr(known, name) not in {None, getattr(found, name)}
