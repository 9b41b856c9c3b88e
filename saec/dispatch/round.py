"""The dispatch worker: rounds of claim, read, emit, over the shards that the group assigns.

Owns one transactional producer and what this worker believes about its shards. Invariant: after
any error that belief and the producer are thrown away, and the shards taken over anew.
"""

import threading
from dataclasses import dataclass, field, replace
from functools import partial

import structlog

from saec.clock import Clock
from saec.dispatch.ahead import Ahead, Prepared
from saec.dispatch.batch import Finished
from saec.dispatch.claim import Watches, claim_due, confirm, give_up, settle
from saec.dispatch.compose import compose
from saec.dispatch.emit import emit
from saec.dispatch.errors import HaltError
from saec.dispatch.pace import Pace
from saec.dispatch.read import read_claimed
from saec.dispatch.refusals import Refusals
from saec.dispatch.skew import Skew
from saec.dispatch.suspended import Suspended
from saec.dispatch.takeover import Takeover
from saec.errors import ConfigurationError
from saec.kafka.ledger import Ledger
from saec.kafka.membership import Membership, MembershipError
from saec.kafka.transaction import InDoubtError, TransactionalProducer
from saec.outage import Outage
from saec.settings import Settings
from saec.store import pending, shards
from saec.store.engine import BRIEF, Engine, transaction
from saec.store.ground import GroundWatch
from saec.store.pending import Choice
from saec.store.shards import Owned

_CLAIM_AT_LEAST_EVERY_S = 1.0
_BACKOFF_S = (0.0, 0.2, 0.5, 1.0, 2.0, 5.0)
_IDLE_BOUND_S = 60.0  # for so long a worker may have shards and dispatch none
_QUIET_S = 2.0  # for how long nothing may have failed until it counts as over

_log = structlog.get_logger("saec.dispatch")


@dataclass(slots=True)
class _Belief:
    """What this worker believes, under one producer."""

    producer: TransactionalProducer
    watch: GroundWatch
    owned: dict[int, Owned] = field(default_factory=dict)
    finished: list[Finished] = field(default_factory=list)
    ahead: Ahead | None = None

    def handed_over(self) -> tuple[str, dict[int, Owned], list[Finished], GroundWatch]:
        """What preparing a batch needs, a copy; what is finished is its to apply then."""
        finished, self.finished = self.finished, []
        return self.producer.transactional_id, dict(self.owned), finished, self.watch

    def taken(self) -> Prepared | None:
        """The batch that was prepared ahead, once it is ready; None when there is none."""
        ahead, self.ahead = self.ahead, None
        return ahead.take() if ahead else None

    def drop(self, lost: frozenset[int]) -> None:
        """Forget these shards, with what is still to be applied to them."""
        self.owned = {s: mine for s, mine in self.owned.items() if s not in lost}
        self.finished = [batch for batch in self.finished if batch.shard not in lost]


class Worker:
    """One dispatch worker. `run_once` does one round, `run` loops."""

    def __init__(self, settings: Settings, engine: Engine, clock: Clock) -> None:
        self._settings = settings
        self._engine = engine
        self._clock = clock
        self._stop = threading.Event()
        self._belief: _Belief | None = None
        self._failures = self.turns = 0
        self._pace = Pace(settings.dispatch_batch_messages)
        self._claimed_at_s = 0.0
        self._idle_since_s: float | None = None
        self._outage = Outage(_log, clock, "round abandoned")
        self._suspended = Suspended(engine, clock)
        ledger = Ledger(settings, clock)
        self._refusals = Refusals(settings, clock)
        self._skew = Skew(clock, settings.clock_ahead_s)
        self._takeover = Takeover(settings, engine, ledger, clock, self._stop)
        self._membership = Membership(settings, self._on_revoked, self._on_lost)

    @property
    def owned(self) -> frozenset[int]:
        """The shards this worker dispatches now."""
        return frozenset(self._belief.owned) if self._belief else frozenset()

    @property
    def halted(self) -> dict[int, str]:
        """The shards this worker will not dispatch, and why."""
        return dict(self._suspended.halted)

    @property
    def waits(self) -> str | None:
        """What this worker waits for, for a health check; or None. From any thread."""
        return self._skew.waits or self._outage.waits or self._suspended.awaits

    @property
    def trouble(self) -> str | None:
        """Why this worker is not at work, for a health check; None when it is. From any thread."""
        if (stuck := self._outage.trouble) is not None:
            return f"the same round fails, {stuck}"
        since_s = self._idle_since_s
        if since_s is None or (idle_s := self._now_s() - since_s) < _IDLE_BOUND_S:
            return None
        assigned = len(self._membership.assigned)
        return f"none of {assigned} shards assigned is dispatched for {idle_s:.0f} s"

    def run(self) -> None:
        """Round after round, until `stop`.

        Raises:
            MembershipError: the group refuses this worker.
            ConfigurationError: database, topics and this release do not fit together.
        """
        while not self._stop.is_set():
            self.turns += 1
            pause_s = self.run_once()
            if pause_s > 0:
                self._clock.wait(self._stop, pause_s)

    def stop(self) -> None:
        """Make `run` return after the round it is in; from any thread."""
        self._stop.set()

    def close(self) -> None:
        """Apply the last batch, release the shards, leave the group."""
        self._membership.close()
        self._forget()

    def run_once(self) -> float:
        """One round; returns for how many seconds there is nothing to do."""
        try:
            self._membership.poll(0)
            self._look_at_idleness()
            self._refusals.tell()
            belief = self._believe()
            self._take_over(belief)
            if not belief.owned:
                self._skew.forget()
                return self._probe_s
            pause_s = self._until_due_s(belief)
            if pause_s == 0:
                self._round(belief)
            self._skew.tell()
        except MembershipError:
            raise
        except ConfigurationError:  # trying again would not help
            self._forget()
            raise
        except Exception as error:
            return self._doubt(error)
        except BaseException:  # an interrupt leaves as much in doubt, and nothing may be released
            self._forget()
            raise
        self._failures = 0
        self._outage.over(_QUIET_S)
        return max(pause_s, self._skew.pause_s)

    def _round(self, belief: _Belief) -> None:
        """Emit the batch that is ready; while it is in Kafka, apply the last and prepare the next.

        What is emitted is applied by the next claim.
        """
        began_s = self._now_s()
        ready = belief.taken() or self._prepare(self._refusals.choice(), *belief.handed_over())
        belief.owned |= ready.owned  # what was taken over meanwhile stays
        self._claimed_at_s = self._now_s()
        if ready.claim is None or ready.snapshot is None:
            if self._skew.waits is None:
                self._refusals.took(ready.choice, 0)
            return
        # Else nothing more is due yet, or it has what was refused once more.
        if ready.claim.messages > self._pace.messages // 2 and not self._refusals.searching:
            choice = self._refusals.choice()
            belief.ahead = Ahead(partial(self._prepare, choice, *belief.handed_over()))
        topics, status_sent = self._settings.topics, self._settings.status_sent
        batch = compose(ready.snapshot, ready.claim, topics, status_sent=status_sent)
        stands = partial(confirm, self._engine, ready.claim, belief.watch)
        try:
            belief.finished += emit(belief.producer, topics.ledger, ready.owned, batch, stands)
        except InDoubtError as error:
            if error.refused:
                self._refusals.refused(ready.choice, ready.snapshot.slices, error)
            raise
        self._refusals.took(ready.choice, len(ready.snapshot.slices))
        self._pace.took(self._now_s() - began_s, ready.claim.messages)
        _log.debug("dispatched", records=len(batch.records), ahead=belief.ahead is not None)

    def _prepare(
        self,
        choice: Choice,
        me: str,
        owned: dict[int, Owned],
        finished: list[Finished],
        watch: GroundWatch,
    ) -> Prepared:
        """Apply what is finished and claim, read."""
        most, beside = self._pace.messages, replace(choice, beside_messages=self._pace.beside)
        watches = Watches(watch, self._skew)
        claim, owned = claim_due(self._engine, me, owned, finished, most, watches, beside)
        if claim is None:
            return Prepared(owned, choice)
        snapshot = read_claimed(self._engine, me, owned, claim)
        self._skew.check(snapshot.now_ms)  # it decides what has expired
        return Prepared(owned, choice, claim, snapshot)

    def _until_due_s(self, belief: _Belief) -> float:
        """How long to wait before the next claim: 0 when something is due or to be applied."""
        since_s = self._now_s() - self._claimed_at_s
        if belief.ahead or belief.finished or since_s >= _CLAIM_AT_LEAST_EVERY_S:
            return 0.0
        with transaction(self._engine) as connection:
            due_ms = pending.next_due_ms(connection, belief.owned, self._refusals.choice())
            if not due_ms:
                return self._probe_s
            wait_s = (min(due_ms.values()) - shards.now_ms(connection)) / 1000
        return min(max(wait_s, 0.0), self._probe_s)

    def _believe(self) -> _Belief:
        """What I believe; after a doubt nothing, under a producer that nobody knows yet."""
        if self._belief is None:
            with transaction(self._engine):
                pass  # first: while PostgreSQL is away, no transactional id is used up
            producer = TransactionalProducer(
                self._settings, "dispatch", batch_bytes=self._refusals.batch_bytes
            )
            self._belief = _Belief(producer, self._takeover.watch())
        return self._belief

    def _take_over(self, belief: _Belief) -> None:
        """Take over what is assigned and not mine yet."""
        self._suspended.write_down()
        wanted = self._membership.assigned - belief.owned.keys() - self._suspended.out()
        if not wanted:
            return
        patient = not belief.owned
        taken = self._takeover.run(belief.producer, wanted, patient=patient, watch=belief.watch)
        belief.owned |= taken.owned
        self._claimed_at_s = 0.0
        if taken.owned:
            _log.info("shards taken over", shards=sorted(taken.owned))
        self._suspended.tried(frozenset(taken.owned), taken.waiting)
        self._suspended.found_halted(taken.halted)

    def _look_at_idleness(self) -> None:
        """Note since when shards are assigned, and none is dispatched though no part is away."""
        if self.owned or not self._membership.assigned or self.waits is not None:
            self._idle_since_s = None
        elif self._idle_since_s is None:
            self._idle_since_s = self._now_s()

    def _on_revoked(self, revoked: frozenset[int]) -> None:
        """Apply what is finished, give up what is ahead, release; with any doubt do not release."""
        self._suspended.forget(revoked)
        belief = self._belief
        if belief is None or not belief.owned:
            return
        me = belief.producer.transactional_id
        try:
            dropped = belief.taken()
            owned = belief.owned | (dropped.owned if dropped else {})
            with transaction(self._engine, bounds=BRIEF) as connection:
                shards.lock_mine(connection, me, owned)
                moved = settle(connection, owned, belief.finished)
                give_up(connection, dropped.claim if dropped else None)
                shards.release(connection, me, {s: owned[s] for s in revoked & owned.keys()})
            belief.owned, belief.finished = {**owned, **moved}, []
        except Exception as error:
            self._doubt(error)
        except BaseException:
            self._forget()
            raise
        else:
            belief.drop(revoked)

    def _on_lost(self, lost: frozenset[int]) -> None:
        """The shards are somebody else's already: forget them, touch nothing."""
        self._suspended.forget(lost)
        if self._belief is not None and self._belief.ahead is not None:
            self._forget()  # what is ahead names shards of mine too: taken over, they are settled
        elif self._belief is not None:
            self._belief.drop(lost)

    def _doubt(self, error: Exception) -> float:
        """Forget everything; the next round takes over from myself. Returns the pause before it."""
        if isinstance(error, HaltError):
            self._suspended.halt(error)
        self._forget()
        if isinstance(error, InDoubtError) and error.refused:
            _log.debug("Kafka refused a batch", error=str(error))
            return 0.0  # the next one is smaller, or without what was refused
        self._pace.slower()
        pause_s = _BACKOFF_S[min(self._failures, len(_BACKOFF_S) - 1)]
        self._failures += 1
        self._outage.failed(error)
        return pause_s

    def _forget(self) -> None:
        if self._belief is not None:
            self._belief.producer.discard()
            self._belief = None

    def _now_s(self) -> float:
        return self._clock.monotonic_s()

    @property
    def _probe_s(self) -> float:
        return self._settings.probe_interval_ms / 1000
