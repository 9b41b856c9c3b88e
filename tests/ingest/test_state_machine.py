"""Any interleaving of ingest's and dispatch's transactions leaves the rows of a clean run.

Records are delivered, delivered again, and taken late by a process that does not know it was
replaced; it dies between any two transactions; dispatch claims, gives up, applies and takes over
meanwhile. After every step the rows are those of the model, and no answer ever differs, but for
that of a cancel that was read before its request.
SAEC_TEST_EXAMPLES says how many runs are tried.
"""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from types import ModuleType
from typing import Any, ClassVar
from unittest.mock import patch
from uuid import UUID

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from saec.contracts.status import RequestStatus, decode_status
from saec.dispatch import claim as claims
from saec.dispatch.batch import Claim, Finished
from saec.errors import Reason, StoreUnavailableError
from saec.ingest import customers as registry
from saec.ingest import requests as module
from saec.kafka.records import Incoming
from saec.store import pending, shards
from saec.store.engine import transaction
from saec.store.pending import PendingSlice
from saec.store.shards import Owned, ShardsLostError
from tests.dispatch.kit import claimed
from tests.ingest.kit import HOUR_MS, ID, OTHER_ID, Ingest, cancel, customer, schedule
from tests.ingest.model import Asked, Known, Model, Stop

EXAMPLES = int(os.environ.get("SAEC_TEST_EXAMPLES", "60"))
STEPS = 40
# Everything that is accepted is due at once.
APPENDED_MS = 1_600_000_000_000
IDS = (ID, OTHER_ID, *(UUID(int=number) for number in range(1, 3)))
ERASED = "erased"
PARTITIONS = (0, 1)
CRASHES = ("between", "inside", "before the answers")
MOST_WAITING = 3
ALL = 1_000

some = st.integers(0, 3)
few = st.integers(0, 2)
ids = st.integers(0, len(IDS) - 1)
partitions = st.sampled_from(PARTITIONS)
emails = st.sampled_from(["a", "b", None, ERASED])
kinds = st.sampled_from(["a", "a", "a", "a", "b", "past", "billing", "billing", "marketing"])
known_ids = st.sampled_from(["42", "43"])
crashes = st.none() | st.none() | st.sampled_from(CRASHES)

Pairs = list[tuple[Incoming, Any]]
_Way = tuple[Claim, list[PendingSlice]]  # a claimed batch


class DiedError(StoreUnavailableError):
    """The process ended here."""


class Interleavings(RuleBasedStateMachine):
    """Two topics of two partitions, their readers, and a dispatch worker."""

    ingest: ClassVar[Ingest]

    def __init__(self) -> None:
        super().__init__()
        self.model = Model()
        self.topic: tuple[Pairs, ...] = ([], [])
        self.registry: tuple[Pairs, ...] = ([], [])
        self.answered = [0, 0]
        self.registered = [0, 0]
        self.saved: dict[int, int] = {}
        self.given: dict[tuple[int, int], RequestStatus] = {}
        self.zombies: list[tuple[Pairs, Pairs]] = []
        self.owned: dict[int, Owned] = {}
        self.before: dict[int, Owned] = {}
        self.workers = 0
        self.on_their_way: list[_Way] = []

    @initialize(
        requests=st.lists(st.tuples(kinds, ids, partitions), min_size=8, max_size=16),
        customers=st.lists(st.tuples(known_ids, partitions, some, emails), min_size=4, max_size=10),
    )
    def start(
        self,
        requests: list[tuple[str, int, int]],
        customers: list[tuple[str, int, int, str | None]],
    ) -> None:
        """Everything is published already: a record is not there before it is read."""
        self.ingest.empty()
        self.ingest._ends.clear()
        self.ingest.execute(
            "UPDATE shards SET owner = NULL, epoch = 0, batch_no = 0, ledger_offset = 0"
        )
        self._own()
        for kind, number, partition in requests:
            if kind in ("billing", "marketing"):
                self._publish_cancel(partition, IDS[number], kind)
            else:
                # All requests of an id in one partition, as their key has it.
                self._publish_request(number % 2, IDS[number], kind)
        for record in customers:
            self._publish_customer(*record)

    # What a reader does

    @rule(back=st.tuples(some, some), on=st.tuples(few, few), first=partitions, crash=crashes)
    def deliver(
        self, back: tuple[int, int], on: tuple[int, int], first: int, crash: str | None
    ) -> None:
        batch = self._batch(self.topic, self.answered, back, on, first)
        self._take(batch, crash)
        if crash is None:
            self._move_on(self.answered, batch)

    @rule(back=st.tuples(some, some), on=st.tuples(few, few), crash=st.booleans())
    def deliver_registry(self, back: tuple[int, int], on: tuple[int, int], *, crash: bool) -> None:
        batch = self._batch(self.registry, self.registered, back, on, 0)
        self._register(batch, crash=crash)
        if not crash:
            self._move_on(self.registered, batch)

    @precondition(lambda self: len(self.zombies) < MOST_WAITING)
    @rule(on=st.tuples(few, few))
    def is_stopped_with_a_batch(self, on: tuple[int, int]) -> None:
        requests = self._batch(self.topic, self.answered, (0, 0), on, 0)
        customers = self._batch(self.registry, self.registered, (0, 0), on, 0)
        self.zombies.append((requests, customers))

    @precondition(lambda self: self.zombies)
    @rule(which=some, crash=crashes)
    def wakes_up_and_takes_it(self, which: int, crash: str | None) -> None:
        requests, customers = self.zombies.pop(which % len(self.zombies))
        self._take(requests, crash)  # what it answers, Kafka refuses
        self._register(customers, crash=crash is not None)

    # What dispatch does

    @precondition(lambda self: self.model.free)
    @rule(messages=st.integers(1, 10))
    def claim(self, messages: int) -> None:
        claim, self.owned = claims.claim_due(self.ingest.engine, self._me, self.owned, (), messages)
        assert claim is not None
        slices = claimed(self.ingest.engine, claim)
        chosen = {(one.request_id, one.slice_no) for one in slices}
        assert chosen <= self.model.free
        self.model.free -= chosen
        self.model.claimed |= chosen
        self.on_their_way.append((claim, slices))

    @precondition(lambda self: self.on_their_way)
    @rule()
    def apply(self) -> None:
        done = self.on_their_way[0]
        with transaction(self.ingest.engine) as connection:
            shards.lock_mine(connection, self._me, self.owned)
            moved = claims.settle(connection, self.owned, self._finished([done], own=True))
        self.owned |= moved
        self._left([done])

    @precondition(lambda self: self.on_their_way)
    @rule()
    def give_up(self) -> None:
        with transaction(self.ingest.engine) as connection:
            shards.lock_mine(connection, self._me, self.owned)
            for claim, _ in self.on_their_way:
                claims.give_up(connection, claim)
        self._freed()

    @rule(committed=some)
    def take_over(self, committed: int) -> None:
        """Another worker finds some of the batches in the ledger, and drops the others."""
        done = self.on_their_way[:committed]
        self.before, before = self.owned, self._me
        self._own()
        with transaction(self.ingest.engine) as connection:
            shards.lock_mine(connection, self._me, self.owned)
            moved = claims.apply(connection, self.owned, self._finished(done, own=False))
            pending.delete_all_claims(connection, self.owned)
        self.owned |= moved
        self._left(done)
        self._freed()
        with pytest.raises(ShardsLostError):
            claims.claim_due(self.ingest.engine, before, self.before, (), 6)

    # What must hold

    @invariant()
    def the_rows_are_those_of_a_clean_run(self) -> None:
        sql, model = self.ingest.sql, self.model
        requests = sql("SELECT request_id::text, source_partition, source_offset FROM requests")
        assert {(UUID(id_), (p, o)) for id_, p, o in requests} == {
            (id_, one.at) for id_, one in model.requests.items()
        }
        slices = sql("SELECT request_id::text, slice_no FROM pending")
        assert sorted((UUID(id_), number) for id_, number in slices) == sorted(
            model.free | model.claimed
        )
        claimed = sql(
            "SELECT p.request_id::text, p.slice_no"
            " FROM claims c JOIN pending p ON p.seq = ANY(c.seqs)"
        )
        assert sorted((UUID(id_), number) for id_, number in claimed) == sorted(model.claimed)
        cancels = sql("SELECT source_partition, source_offset, status FROM cancels")
        assert {((p, o), status) for p, o, status in cancels} == {
            (one.at, model.answers[one.at][0].value)
            for partition in self.topic
            for _, one in partition
            if isinstance(one, Stop) and one.at in model.answers
        }
        customers = sql("SELECT customer_id, email, erased, appended_at_ms FROM customers")
        assert set(customers) == {
            (id_, one.email, one.erased, one.appended_at_ms) for id_, one in model.customers.items()
        }
        assert self.ingest.positions(self.ingest.settings.topics.requests) == self.saved

    def teardown(self) -> None:
        """In the end everything is read, and then all of it once more."""
        if sys.exc_info()[0] is not None:
            return  # what went wrong before is what to look at
        for _ in range(2):
            everything = self._batch(self.topic, [0, 0], (0, 0), (ALL, ALL), 0)
            self._take(everything, None)
            self._register(self._batch(self.registry, [0, 0], (0, 0), (ALL, ALL), 0), crash=False)
            self.the_rows_are_those_of_a_clean_run()
        assert self.given.keys() == {one.at for _, one in everything}

    # How it is done

    def _publish_request(self, partition: int, id_: UUID, kind: str) -> None:
        customers = ("b",) if kind == "b" else ("a", "b", "c")
        due_at_ms = APPENDED_MS - (HOUR_MS if kind == "past" else 0)
        record = self._incoming(partition, schedule(id_, customers=customers, due_at=due_at_ms))
        at, at_ms = (partition, record.offset), record.appended_at_ms
        asked = Asked(at, id_, customers, past=kind == "past", appended_at_ms=at_ms)
        self.topic[partition].append((record, asked))

    def _publish_cancel(self, partition: int, id_: UUID, requester: str) -> None:
        record = self._incoming(partition, cancel(id_, requester))
        stop = Stop((partition, record.offset), id_, requester, record.appended_at_ms)
        self.topic[partition].append((record, stop))

    def _publish_customer(self, id_: str, partition: int, after_ms: int, name: str | None) -> None:
        erased = name == ERASED
        email = None if name is None or erased else f"{name}@example.com"
        value = None if erased else customer(id_, email=email)
        record = self.ingest.registration(
            value, id_.encode(), partition=partition, appended_at_ms=APPENDED_MS + after_ms
        )
        at = (partition, record.offset)
        known = Known(at, APPENDED_MS + after_ms, id_, email, erased=erased)
        self.registry[partition].append((record, known))

    def _incoming(self, partition: int, value: bytes) -> Incoming:
        """Two are appended in each millisecond."""
        at_ms = APPENDED_MS + sum(map(len, self.topic)) // 2
        return self.ingest.record(value, partition=partition, appended_at_ms=at_ms)

    def _batch(
        self,
        topic: tuple[Pairs, ...],
        answered: Sequence[int],
        back: tuple[int, int],
        on: tuple[int, int],
        first: int,
    ) -> Pairs:
        """Of each partition some records: never over a gap, and from anywhere before."""
        parts = [topic[p][max(0, answered[p] - back[p]) : answered[p] + on[p]] for p in PARTITIONS]
        return [*parts[first], *parts[1 - first]]

    def _move_on(self, answered: list[int], batch: Pairs) -> None:
        for record, _ in batch:
            answered[record.partition] = max(answered[record.partition], record.offset + 1)

    def _take(self, batch: Pairs, crash: str | None) -> None:
        """Take a batch, or die at some point of it."""
        if not batch:
            return
        stops = any(isinstance(one, Stop) for _, one in batch)
        with dying(crash) as died:
            answers = self.ingest.take(*(record for record, _ in batch))
        if not died:
            self.model.take(one for _, one in batch)
            self._answered(batch, self.ingest.statuses(answers), published=crash is None)
            self._told_late(batch, self.ingest.late(answers))
            for record, _ in batch:
                behind = max(self.saved.get(record.partition, 0), record.offset + 1)
                self.saved[record.partition] = behind
        elif stops:
            self.model.take((one for _, one in batch), cancels=False)

    def _answered(self, batch: Pairs, answers: Sequence[RequestStatus], *, published: bool) -> None:
        in_order = sorted((one for _, one in batch), key=lambda one: one.at)
        for one, answer in zip(in_order, answers, strict=True):
            said = (answer.status, answer.reason, answer.counts)
            assert said == self.model.answers[one.at], one
            if published:
                before = self.given.setdefault(one.at, answer)
                assert before == answer or one.at in self.model.late.values()
                self.given[one.at] = answer

    def _told_late(self, batch: Pairs, told: dict[tuple[int, int], RequestStatus]) -> None:
        """With the answer to a request comes the one to a cancel that was read before it."""
        late = [self.model.late[one.at] for _, one in batch if one.at in self.model.late]
        assert {at: (s.status, s.reason, s.counts) for at, s in told.items()} == {
            at: self.model.answers[at] for at in late
        }

    def _register(self, batch: Pairs, *, crash: bool) -> None:
        if not batch:
            return
        with dying("inside" if crash else None, registry):
            said = self.ingest.register(*(record for record, _ in batch))
            topics = self.ingest.settings.topics
            assert {one.topic for one in said} <= {topics.registry, topics.status}
            told = {decode_status(one.value).reason for one in said if one.topic == topics.status}
            assert told <= {Reason.UNKNOWN_CUSTOMER, Reason.SUPERSEDED}
        if not crash:
            self.model.register([one for _, one in batch])

    @property
    def _me(self) -> str:
        return f"worker {self.workers}"

    def _own(self) -> None:
        self.workers += 1
        with transaction(self.ingest.engine) as connection:
            seen = shards.look(connection, range(self.ingest.settings.shards))
            self.owned = shards.compare_and_set(connection, self._me, seen)

    def _finished(self, done: Sequence[_Way], *, own: bool) -> list[Finished]:
        return [
            Finished(
                shard,
                number,
                [(one.request_id, one.slice_no) for one in slices if one.shard == shard],
                (),
                number,
                claim.runs_of(shard) if own else None,
            )
            for claim, slices in done
            for shard, number in claim.batch_nos.items()
        ]

    def _left(self, done: Sequence[_Way]) -> None:
        for way in done:
            self.on_their_way.remove(way)
            for one in way[1]:
                self.model.claimed.remove((one.request_id, one.slice_no))

    def _freed(self) -> None:
        self.on_their_way.clear()
        self.model.free |= self.model.claimed
        self.model.claimed.clear()


@contextmanager
def dying(crash: str | None, where: ModuleType = module) -> Iterator[list[str]]:
    """Die between the transactions of a batch, or at the end of the last; says whether it did."""
    died: list[str] = []
    name = {"between": "decide_cancels", "inside": "save_positions"}.get(crash or "")
    with ExitStack() as patches:
        if name is not None:
            patches.enter_context(patch.object(where, name, side_effect=DiedError("killed")))
        try:
            yield died
        except DiedError as error:
            died.append(str(error))


@pytest.mark.timeout(900)  # to find the shortest run that fails may take minutes
def test_any_interleaving_is_a_clean_run(make_ingest: Callable[..., Ingest]) -> None:
    machine = type("Bound", (Interleavings,), {"ingest": make_ingest(slice_recipients=1)})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
