"""Rebuilds a database from the topics alone: the order of the steps of `saec rebuild`.

Invariant: the installation may be at work meanwhile, and nothing of it is changed; what may have
been dispatched, but not by what the ledger still keeps, is never pending without being told; no
process starts on the new database before `saec recover` has fenced whoever worked on the old one.
"""

import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime

from saec import installation
from saec.clock import Clock, SystemClock
from saec.contracts.events import ScheduleRequested
from saec.kafka import stretches, topics
from saec.recover import past, sources
from saec.recover.company import refuse_company
from saec.recover.errors import RecoverError
from saec.recover.ledger import EPOCHS_LEFT_OUT
from saec.recover.past import Past
from saec.recover.report import Rebuilt, Say
from saec.recover.requests import RequestReplay, sort
from saec.recover.sources import Source
from saec.recover.steps import Steps
from saec.settings import Settings
from saec.store import identity, rebuilding, shards
from saec.store.engine import Engine, open_engine, transaction
from saec.store.installation import Installation
from saec.store.positions import save_positions
from saec.store.rebuilding import Reached

# PostgreSQL failed over to a machine with another clock, perhaps.
_CLOCKS_DIFFER_MS = 60_000


@dataclass(frozen=True, slots=True)
class Choices:
    """What the operator chose; instants are epoch milliseconds.

    `shards`: None for as many as the ledger has partitions. What was due before
    `presume_sent_before_ms` and may have been dispatched counts as sent. Of what was published
    before `requests_from_ms` nothing needs to be known.
    """

    shards: int | None = None
    presume_sent_before_ms: int = 0
    requests_from_ms: int = 0
    add_ledger_partitions: bool = False


@dataclass(frozen=True, slots=True)
class Seen:
    """What there is, as of ends that fit together.

    `doubt_until_ms`: what was due by then may be named in what the ledger does not keep any more.
    """

    requests: Source
    customers: Source
    ledger: dict[int, Past] = field(default_factory=dict)
    doubt_until_ms: int | None = None


def rebuild(
    settings: Settings, database_url: str, choices: Choices, say: Say, *, dry_run: bool
) -> Rebuilt:
    """Fill the empty database at `database_url` from the topics of the installation of `settings`.

    Raises:
        ConfigurationError: topics are missing, or the database is another installation's.
        RecoverError: it cannot begin, or go on; the text says why, and what to do.
        SaecError: a part did not answer; run it again.
    """
    partitions = topics.ledger_partitions(settings)
    wanted = _check_shards(settings, choices, partitions)
    target = settings.model_copy(update={"database_url": database_url})
    engine = open_engine(database_url, application="saec-rebuild")
    try:
        one = Rebuild(target, engine, SystemClock(), wanted, say, choices)
        return one.foresee() if dry_run else one.run()
    finally:
        engine.dispose()


def _check_shards(settings: Settings, choices: Choices, partitions: int) -> int:
    wanted, ledger = choices.shards or partitions, settings.topics.ledger
    if wanted < partitions:
        raise RecoverError(
            f"{ledger} has {partitions} partitions, and Kafka takes none away: there cannot be "
            f"{wanted} shards; to have fewer, let everything be dispatched or cancelled, and begin "
            "with a new SAEC_TOPIC_PREFIX"
        )
    if wanted > partitions and not choices.add_ledger_partitions:
        raise RecoverError(
            f"{ledger} has {partitions} partitions: for {wanted} shards stop every process, and "
            "add --add-ledger-partitions; the old database cannot be used any more after that"
        )
    return wanted


class Rebuild(Steps):
    """One run of `saec rebuild`. `settings` lead to the new database."""

    def __init__(
        self,
        settings: Settings,
        engine: Engine,
        clock: Clock,
        shard_count: int,
        say: Say,
        choices: Choices,
    ) -> None:
        super().__init__(settings, engine, clock, shard_count, say)
        self._choices = choices
        self._mark = uuid.uuid4().hex
        self.report: Rebuilt = Rebuilt(shards=shard_count)

    def foresee(self) -> Rebuilt:
        """What `run` would do, without changing anything; of requests, the most there can be."""
        self._check_free()
        seen = self._look()
        report, requests = self.report, seen.requests
        report.requests_read = requests.records
        report.customers_read = sum(map(len, self._registry(seen.customers).values()))
        report.batches = sum(one.batches for one in seen.ledger.values())
        report.slices = sum(one.slices for one in seen.ledger.values())
        given = self._given(requests)
        intake = RequestReplay(self._settings, self._engine, self._shards, given)
        with self._progress("Requests", requests.records) as done:
            for batch in stretches.read(self._settings, requests.topic, requests.again):
                for event, _ in intake.accepted(batch):
                    self._foresee_request(event, seen.doubt_until_ms)
                for stop in sort(self._settings, batch).stops:
                    known = given.status(stop.source) is not None
                    report.cancels += known
                    report.undecided += not known
                done(len(batch))
        report.requests_anew = intake.undecided
        return report

    def run(self) -> Rebuilt:
        """Rebuild.

        Raises:
            RecoverError: it cannot begin, or go on.
            SaecError: a part did not answer; run it again.
        """
        self._check_free()
        self._refuse_company()
        seen = self._look()
        self._begin()
        requests = seen.requests
        given = self._given(requests)
        intake = RequestReplay(self._settings, self._engine, self._shards, given)
        self._store_requests(intake, requests)
        self.report.requests_anew = intake.undecided
        self._store_ahead(
            intake, requests, {shard: one.stretch for shard, one in seen.ledger.items()}
        )
        self._store_customers(seen.customers)
        self._apply_ledger(seen)
        self._restore_cancels(given, requests)
        self._refuse_contradictions()
        self._settle_doubts(seen)
        self._finish(seen)
        return self.report

    def _check_free(self) -> None:
        with transaction(self._engine) as connection:
            free = rebuilding.is_free(connection, self._settings.topic_prefix)
        if not free:
            raise RecoverError(
                "the database is not empty: give one without tables; nothing was changed"
            )

    def _refuse_company(self) -> None:
        """Another number of shards is for an installation that stands still."""
        if self._choices.add_ledger_partitions:
            refuse_company(self._settings)

    def _look(self) -> Seen:
        """The ends up to which everything is read: the ledger's first.

        Whatever it names was published by then, and whatever was answered later is no effect of
        what is read.
        """
        names = self._settings.topics
        ledger = stretches.bounds(self._settings, names.ledger, committed=True)
        requests = sources.whole(self._settings, "requests", names.requests)
        customers = sources.whole(self._settings, "customers", names.customers)
        self._check_requests(requests)
        pasts = {}
        with self._progress("Ledger", sum(map(len, ledger.values()))) as done:
            for shard, stretch in ledger.items():
                pasts[shard] = past.read_past(self._settings, shard, stretch)
                done(len(stretch))
        return Seen(requests, customers, pasts, self._doubt_until_ms(pasts))

    def _check_requests(self, requests: Source) -> None:
        """Refuse where saec.requests does not reach back to its beginning."""
        cut = sorted(p for p, stretch in requests.again.items() if stretch.start > 0)
        if not cut:
            return
        firsts_ms, now_ms = self._firsts_ms(requests), self._now_ms()
        since_ms = max(firsts_ms.get(partition, now_ms) for partition in cut)
        self.report.requests_since_ms = since_ms
        if since_ms > self._choices.requests_from_ms:
            raise RecoverError(
                f"the partitions {cut} of {requests.topic} are not kept from their beginning: what "
                f"was published before {_iso(since_ms)} is not known, and what of it was still "
                "pending, or comes again, would be wrong; if there is no such request any more, "
                f"add --requests-from {_iso(since_ms)}"
            )

    def _doubt_until_ms(self, pasts: dict[int, Past]) -> int | None:
        """When the last record that the ledger does not keep any more may have been written."""
        now_ms = self._now_ms()
        self.report.ledger_since_ms = since_ms = past.kept_since_ms(self._settings, pasts, now_ms)
        return None if since_ms is None else min(now_ms, since_ms + _CLOCKS_DIFFER_MS)

    def _now_ms(self) -> int:
        with transaction(self._engine) as connection:
            return shards.now_ms(connection)

    def _foresee_request(self, event: ScheduleRequested, doubt_until_ms: int | None) -> None:
        self.report.requests += 1
        if doubt_until_ms is None or event.due_at_ms > doubt_until_ms:
            return
        if event.due_at_ms < self._choices.presume_sent_before_ms:
            self.report.presumed_sent += 1
        else:
            self.report.doubt(event.due_at_ms)

    def _begin(self) -> None:
        ids = installation.kafka_ids(self._settings)
        wanted = Installation(self._settings.topic_prefix, self._shards)
        with transaction(self._engine) as connection:
            rebuilding.begin(connection, wanted, self._mark)
            identity.adopt_ids(connection, ids)

    def _apply_ledger(self, seen: Seen) -> None:
        """Take out what was dispatched, in whatever shard it is now."""
        total = sum(one.batches for one in seen.ledger.values())
        with self._progress("Batches", total) as done:
            for shard, one in seen.ledger.items():
                for piece in past.walk(self._settings, shard, one.stretch):
                    self._apply(piece)
                    done(len(piece.finished))

    def _apply(self, piece: past.Piece) -> None:
        with transaction(self._engine) as connection:
            unknown = past.apply(connection, piece)
        if unknown and self.report.requests_since_ms is None:
            raise RecoverError(
                f"the ledger names {unknown} requests that {self._settings.topics.requests} does "
                "not hold: records of it were lost, or it was recreated"
            )
        self.report.forgotten += unknown
        self.report.batches += len(piece.finished)
        self.report.slices += sum(len(batch.slices) for batch in piece.finished)

    def _refuse_contradictions(self) -> None:
        for shard, why in sorted(self.report.halted.items()):
            raise RecoverError(f"shard {shard}: {why}")

    def _settle_doubts(self, seen: Seen) -> None:
        """What may have been dispatched counts as sent, or nothing goes on."""
        until_ms = seen.doubt_until_ms
        if until_ms is None:
            return
        before_ms = self._choices.presume_sent_before_ms
        with transaction(self._engine) as connection:
            gone = rebuilding.presume_sent(connection, until_ms, before_ms)
            left = rebuilding.read_doubtful(connection, until_ms)
        self.report.presumed_sent = gone.requests
        if left.requests and left.first_due_ms is not None and left.last_due_ms is not None:
            raise RecoverError(
                f"{left.requests} requests, due from {_iso(left.first_due_ms)} to "
                f"{_iso(left.last_due_ms)}, may have been dispatched: the ledger tells only what "
                f"was after {_iso(self.report.ledger_since_ms or 0)}; nothing goes out twice, so "
                "look into your records, and add --presume-sent-before "
                f"{_iso(left.last_due_ms + 1)} to count them as sent"
            )

    def _finish(self, seen: Seen) -> None:
        """Everything is in place, for `saec recover` to take over from here."""
        if self._choices.add_ledger_partitions:
            self._refuse_company()
            # From here on the old database is refused, and only this one fits the ledger.
            topics.add_ledger_partitions(self._settings, self._shards)
        reached = {shard: _reached(seen.ledger.get(shard)) for shard in range(self._shards)}
        with transaction(self._engine) as connection:
            save_positions(connection, seen.requests.topic, seen.requests.ends)
            save_positions(connection, seen.customers.topic, seen.customers.ends)
            if not rebuilding.finish(connection, reached, self._mark):
                raise RecoverError("another rebuild of this database began meanwhile")


def _reached(one: Past | None) -> Reached:
    """Where a shard stands: whoever wrote last is still to be fenced."""
    if one is None:  # of a partition that is new
        return Reached(None, EPOCHS_LEFT_OUT, 0, 0)
    return Reached(one.owner, one.epoch + EPOCHS_LEFT_OUT, one.batch_no, one.stretch.end)


def _iso(at_ms: int) -> str:
    at = datetime.fromtimestamp(at_ms / 1000, UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
