"""Recovers a database that was restored: the order of the steps.

Requests, the registry, the ledger, the cancels, and last the positions. Invariant: until the last
transaction no process starts, and every step may be done again.
"""

from functools import partial

from saec import installation
from saec.clock import Clock, SystemClock
from saec.ingest.customers import CustomerIntake
from saec.kafka import stretches
from saec.kafka.ledger import Ledger
from saec.kafka.stretches import Stretch
from saec.recover import sources
from saec.recover.anchor import Anchor, Change
from saec.recover.cancels import restore_cancels
from saec.recover.company import refuse_company
from saec.recover.errors import RecoverError
from saec.recover.given import Given
from saec.recover.ledger import Held, RollForward, Tail, scan
from saec.recover.progress import Progress
from saec.recover.report import Report, Say
from saec.recover.requests import RequestReplay, sort
from saec.recover.sources import Source
from saec.settings import Settings
from saec.store import identity, recovery, shards
from saec.store.engine import Engine, open_engine, transaction
from saec.store.positions import save_positions

# Clocks of brokers and of who answers may differ.
_CLOCKS_DIFFER_MS = 3_600_000
_FIRST_RECORDS = 50


def recover(settings: Settings, say: Say, *, dry_run: bool) -> Report:
    """Recover the installation of these settings, or say what that would do.

    Raises:
        ConfigurationError: the database and this Kafka do not belong together.
        RecoverError: it cannot begin, or go on.
        SaecError: a part did not answer; run it again.
    """
    engine = open_engine(settings.database_url, application="saec-recover")
    try:
        stands = installation.belonging(settings, engine)
        recovery = Recovery(settings, engine, SystemClock(), stands.shards, say)
        return recovery.foresee() if dry_run else recovery.run()
    finally:
        engine.dispose()


def reanchor(settings: Settings, *, yes: bool, claimed_sent: bool | None) -> Change:
    """Tie the installation to the Kafka that is there now, or say what that would do.

    Raises:
        RecoverError: it cannot begin.
        SaecError: a part did not answer; run it again.
    """
    engine = open_engine(settings.database_url, application="saec-recover")
    try:
        anchor = Anchor(settings, engine, SystemClock())
        return anchor.run(claimed_sent=claimed_sent) if yes else anchor.foresee()
    finally:
        engine.dispose()


class Recovery:
    """One run of `saec recover` over one installation."""

    def __init__(
        self, settings: Settings, engine: Engine, clock: Clock, shard_count: int, say: Say
    ) -> None:
        self._settings = settings
        self._engine = engine
        self._clock = clock
        self._shards = shard_count
        self._progress = partial(Progress, clock, say)
        self.report = Report()

    def foresee(self) -> Report:
        """What `run` would do, without changing anything."""
        requests, customers = self._sources()
        given = self._given(requests)
        intake = RequestReplay(self._settings, self._engine, self._shards, given)
        with self._progress("Requests", requests.records) as done:
            for batch in stretches.read(self._settings, requests.topic, requests.again):
                self.report.requests += intake.count(batch)
                for stop in sort(self._settings, batch).stops:
                    known = given.status(stop.source) is not None
                    self.report.cancels += known
                    self.report.undecided += not known
                done(len(batch))
        self.report.requests_read = requests.records
        self.report.customers_read = customers.records
        self._foresee_ledger()
        return self.report

    def run(self) -> Report:
        """Recover.

        Raises:
            RecoverError: it cannot begin, or go on.
            SaecError: a part did not answer; run it again.
        """
        refuse_company(self._settings)
        with transaction(self._engine) as connection:
            identity.mark_recovering(connection, recovering=True)
        refuse_company(self._settings)  # of those that started just before
        roll = RollForward(self._settings, self._engine, self._clock, self.report)
        held = self._take_shards(roll)
        requests, customers = self._sources()
        given = self._given(requests)
        intake = RequestReplay(self._settings, self._engine, self._shards, given)
        self._store_requests(intake, requests)
        self._store_ahead(intake, requests, held)
        self._store_customers(customers)
        self._roll_forward(roll, held)
        self._restore_cancels(given, requests)
        refuse_company(self._settings)
        roll.release(held)
        self._finish(requests, customers)
        return self.report

    def _sources(self) -> tuple[Source, Source]:
        topics = self._settings.topics
        return (
            sources.look(self._settings, self._engine, "requests", topics.requests),
            sources.look(self._settings, self._engine, "customers", topics.customers),
        )

    def _given(self, requests: Source) -> Given:
        """The answers to what is read again, read before anything is decided."""
        given = Given(requests.topic, requests.again)
        since_ms = self._first_ms(requests)
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

    def _first_ms(self, requests: Source) -> int | None:
        """When the first of what is read again was appended; None: there is nothing."""
        first = {
            partition: Stretch(stretch.start, min(stretch.end, stretch.start + _FIRST_RECORDS))
            for partition, stretch in requests.again.items()
        }
        found = [
            record.appended_at_ms
            for batch in stretches.read(self._settings, requests.topic, first)
            for record in batch
        ]
        return min(found, default=0 if requests.records else None)

    def _take_shards(self, roll: RollForward) -> dict[int, Held]:
        rows = self._shard_rows()
        return roll.take(rows, self._tails(rows))

    def _store_requests(self, intake: RequestReplay, requests: Source) -> None:
        self.report.requests_read = requests.records
        with self._progress("Requests", requests.records) as done:
            for batch in stretches.read(self._settings, requests.topic, requests.again):
                self.report.requests += intake.store(batch)
                done(len(batch))

    def _store_ahead(self, intake: RequestReplay, requests: Source, held: dict[int, Held]) -> None:
        """Store what was dispatched before it was answered: it stands behind what was answered."""
        rows = self._shard_rows()
        missing = set()
        wanted = {shard: one.stretch for shard, one in held.items()}
        for named in scan(self._settings, rows, wanted, {}):
            with transaction(self._engine) as connection:
                missing |= named - recovery.known_requests(connection, named)
        self.report.ahead = len(missing)
        if missing:
            for batch in stretches.read(self._settings, requests.topic, requests.behind):
                missing -= intake.store_named(batch, missing)

    def _store_customers(self, customers: Source) -> None:
        intake = CustomerIntake(self._settings, self._engine)
        self.report.customers_read = customers.records
        with self._progress("Customers", customers.records) as done:
            for batch in stretches.read(self._settings, customers.topic, customers.again):
                if batch:
                    intake.take(batch, {})
                done(len(batch))

    def _roll_forward(self, roll: RollForward, held: dict[int, Held]) -> None:
        with self._progress("Shards", len(held)) as done:
            for shard, one in held.items():
                roll.roll(one, shard)
                done(1)

    def _restore_cancels(self, given: Given, requests: Source) -> None:
        with self._progress("Cancels", requests.records) as done:
            for batch in stretches.read(self._settings, requests.topic, requests.again):
                stops = sort(self._settings, batch).stops
                if stops:
                    with transaction(self._engine) as connection:
                        restored = restore_cancels(connection, stops, given, self._shards)
                    self.report.cancels += restored.as_answered
                    self.report.undecided += restored.anew
                    self.report.halted |= restored.contradictions
                done(len(batch))

    def _finish(self, requests: Source, customers: Source) -> None:
        """Everything is in place: let the processes in."""
        again = sources.look(self._settings, self._engine, "requests", requests.topic)
        if again.ends != requests.ends:
            raise RecoverError("requests were answered meanwhile: stop all, and run it again")
        well = [shard for shard in range(self._shards) if shard not in self.report.halted]
        with transaction(self._engine) as connection:
            self.report.cleared = recovery.clear_went_back(connection, well)
            shards.mark_halted(connection, self.report.halted)
            save_positions(connection, requests.topic, requests.ends)
            save_positions(connection, customers.topic, customers.ends)
            identity.mark_recovering(connection, recovering=False)

    def _foresee_ledger(self) -> None:
        rows = self._shard_rows()
        tails = self._tails(rows)
        self.report.batches = sum(tail.batches for tail in tails.values())
        self.report.slices = sum(tail.slices for tail in tails.values())
        self.report.cleared = [
            shard for shard, row in rows.items() if "went back in time" in (row.halted or "")
        ]

    def _shard_rows(self) -> dict[int, recovery.ShardRow]:
        with transaction(self._engine) as connection:
            return {row.shard: row for row in recovery.read_shard_rows(connection)}

    def _tails(self, rows: dict[int, recovery.ShardRow]) -> dict[int, Tail]:
        """What the ledger holds by now that the database does not know."""
        with Ledger(self._settings, self._clock).look() as look_at:
            ends = look_at.ends(rows)
        wanted = {
            shard: Stretch(max(row.ledger_offset, ends[shard].start), ends[shard].committed)
            for shard, row in rows.items()
        }
        tails: dict[int, Tail] = {}
        with self._progress("Ledger", sum(map(len, wanted.values()))) as done:
            for named in scan(self._settings, rows, wanted, tails):
                done(len(named))
        return tails
