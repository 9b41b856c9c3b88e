"""Recovers a database that was restored: the order of the steps.

Requests, the registry, the ledger, the cancels, and last the positions. Invariant: until the last
transaction no process starts, and every step may be done again.
"""

from saec import installation
from saec.clock import SystemClock
from saec.kafka import stretches
from saec.kafka.ledger import Ledger
from saec.kafka.stretches import Stretch
from saec.recover import sources
from saec.recover.anchor import Anchor, Change
from saec.recover.company import refuse_company
from saec.recover.errors import RecoverError
from saec.recover.ledger import Held, RollForward, Tail, scan
from saec.recover.report import Report, Say
from saec.recover.requests import RequestReplay, sort
from saec.recover.sources import Source
from saec.recover.steps import Steps
from saec.recover.withheld import withhold
from saec.settings import Settings
from saec.store import ground, identity, rebuilding, recovery, shards
from saec.store.engine import Engine, open_engine, transaction
from saec.store.positions import save_positions


def recover(settings: Settings, say: Say, *, dry_run: bool) -> Report:
    """Recover the installation of these settings, or say what that would do.

    Raises:
        ConfigurationError: the database and this Kafka do not belong together.
        RecoverError: it cannot begin, or go on.
        SaecError: a part did not answer; run it again.
    """
    engine = open_engine(settings.database_url, application="saec-recover")
    try:
        _refuse_unfinished(engine)
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


def _refuse_unfinished(engine: Engine) -> None:
    with transaction(engine) as connection:
        unfinished = rebuilding.is_unfinished(connection)
    if unfinished:
        raise RecoverError(
            "a rebuild of this database has not finished: run `saec rebuild` on it again"
        )


class Recovery(Steps):
    """One run of `saec recover` over one installation."""

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
        self.report.customers_read = sum(map(len, self._registry(customers).values()))
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
        with transaction(self._engine) as connection:
            ground.wait_for_writers(connection)  # whoever stores from now on sees the mark
        refuse_company(self._settings)  # of those that started just before
        roll = RollForward(self._settings, self._engine, self._clock, self.report)
        held = self._take_shards(roll)
        requests, customers = self._sources()
        given = self._given(requests)
        intake = RequestReplay(self._settings, self._engine, self._shards, given)
        self._store_requests(intake, requests)
        self._store_ahead(intake, requests, {shard: one.stretch for shard, one in held.items()})
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
            sources.look(self._settings, self._engine, "customers", topics.customers, read=False),
        )

    def _take_shards(self, roll: RollForward) -> dict[int, Held]:
        rows = self._shard_rows()
        return roll.take(rows, self._tails(rows))

    def _roll_forward(self, roll: RollForward, held: dict[int, Held]) -> None:
        with self._progress("Shards", len(held)) as done:
            for shard, one in held.items():
                roll.roll(one, shard)
                done(1)

    def _finish(self, requests: Source, customers: Source) -> None:
        """Everything is in place: let the processes in."""
        again = sources.look(self._settings, self._engine, "requests", requests.topic)
        if again.ends != requests.ends:
            raise RecoverError("requests were answered meanwhile: stop all, and run it again")
        halted = self.report.halted
        halted |= withhold(self._settings, self._engine, list(halted)) if halted else {}
        well = [shard for shard in range(self._shards) if shard not in halted]
        with transaction(self._engine) as connection:
            self.report.cleared = recovery.clear_went_back(connection, well)
            shards.mark_halted(connection, halted)
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
