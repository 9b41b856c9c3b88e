"""What a recovery and a rebuild do alike: take in again what the source topics and statuses hold.

Invariant: each step may be done again, and answers nothing.
"""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import partial
from itertools import chain

from saec.clock import Clock
from saec.contracts.rejected import RejectedError
from saec.ingest import registry
from saec.kafka import stretches
from saec.kafka.records import Incoming
from saec.kafka.stretches import Stretch
from saec.recover.cancels import Restored, restore_cancels, restore_late
from saec.recover.given import Given
from saec.recover.ledger import scan
from saec.recover.progress import Progress
from saec.recover.report import Report, Say
from saec.recover.requests import RequestReplay, sort
from saec.recover.sources import Source
from saec.settings import Settings
from saec.store import recovery
from saec.store.customers import Mention, register
from saec.store.engine import Engine, transaction

# Clocks of brokers and of who answers may differ.
_CLOCKS_DIFFER_MS = 3_600_000
_FIRST_RECORDS = 50


class Steps:
    """The steps on one database; `report` counts what they did."""

    def __init__(
        self, settings: Settings, engine: Engine, clock: Clock, shard_count: int, say: Say
    ) -> None:
        self._settings = settings
        self._engine = engine
        self._clock = clock
        self._shards = shard_count
        self._progress = partial(Progress, clock, say)
        self.report = Report()

    def _given(self, requests: Source) -> Given:
        """The answers to what is read again, read before anything is decided."""
        given = Given(requests.topic, requests.again)
        since_ms = min(self._firsts_ms(requests).values(), default=None)
        if since_ms is None:
            return given
        status = self._settings.topics.status
        wanted = stretches.since(self._settings, status, max(0, since_ms - _CLOCKS_DIFFER_MS))
        with self._progress("Answers", sum(map(len, wanted.values()))) as done:
            for batch in stretches.read(self._settings, status, wanted):
                for said in batch:
                    given.add(said)
                done(len(batch))
        return given

    def _firsts_ms(self, source: Source) -> dict[int, int]:
        """When the first of what is read again was appended, by partition that has any."""
        first = {
            partition: Stretch(stretch.start, min(stretch.end, stretch.start + _FIRST_RECORDS))
            for partition, stretch in source.again.items()
        }
        found = {partition: 0 for partition, stretch in source.again.items() if len(stretch)}
        for batch in stretches.read(self._settings, source.topic, first):
            for record in batch:
                found[record.partition] = found[record.partition] or record.appended_at_ms
        return found

    def _store_requests(self, intake: RequestReplay, requests: Source) -> None:
        self.report.requests_read = requests.records
        with self._progress("Requests", requests.records) as done:
            for batch in stretches.read(self._settings, requests.topic, requests.again):
                self.report.requests += intake.store(batch)
                done(len(batch))

    def _store_ahead(
        self, intake: RequestReplay, requests: Source, ledger: Mapping[int, Stretch]
    ) -> None:
        """Store what was dispatched or cancelled before it was answered: it stands behind that."""
        with transaction(self._engine) as connection:
            rows = {row.shard: row for row in recovery.read_shard_rows(connection)}
        missing = set()
        for named in chain([intake.cancelled], scan(self._settings, rows, ledger, {})):
            with transaction(self._engine) as connection:
                missing |= named - recovery.known_requests(connection, named)
        self.report.ahead = len(missing)
        if missing:
            for batch in stretches.read(self._settings, requests.topic, requests.behind):
                missing -= intake.store_named(batch, missing)
        self.report.ahead -= len(missing)

    def _registry(self, customers: Source) -> dict[int, Stretch]:
        """What is to be read of saec.registry: all, or nothing if its group came no further.

        It is at least as new as what the group had answered.
        """
        if not customers.records:
            return {}
        return stretches.settled(self._settings, self._settings.topics.registry)

    def _store_customers(self, customers: Source) -> None:
        wanted = self._registry(customers)
        self.report.customers_read = total = sum(map(len, wanted.values()))
        with self._progress("Customers", total) as done:
            for batch in stretches.read(self._settings, self._settings.topics.registry, wanted):
                if batch:
                    with transaction(self._engine) as connection:
                        register(connection, _mentions(batch))
                done(len(batch))

    def _restore_cancels(self, given: Given, requests: Source) -> None:
        with self._progress("Cancels", requests.records) as done:
            for batch in stretches.read(self._settings, requests.topic, requests.again):
                stops = sort(self._settings, batch).stops
                if stops:
                    with transaction(self._engine) as connection:
                        self._add(restore_cancels(connection, stops, given, self._shards))
                done(len(batch))
        if given.late:
            with transaction(self._engine) as connection:
                self._add(restore_late(connection, given, self._shards))

    def _add(self, restored: Restored) -> None:
        self.report.cancels += restored.as_answered
        self.report.undecided += restored.anew
        self.report.halted |= restored.contradictions


def _mentions(batch: Iterable[Incoming]) -> list[Mention]:
    """What these records of saec.registry say; a stranger's says nothing."""
    found = []
    for record in batch:
        with suppress(RejectedError):
            found.append(registry.mention(record))
    return found
