"""A model of a database that goes back while processes go on: ingest of several partitions,
dispatch, and `saec recover`.

Two consumers share the partitions, one worker dispatches. PostgreSQL may fail over and lose its
last commits, or be put back to a copy; no connection breaks. Invariant: a record counts as answered
when the Kafka transaction with its offset is committed, a message as sent likewise.
"""

from collections.abc import Iterator
from typing import NamedTuple

from faults.protocol.parts import NOBODY, Label
from faults.protocol.state import bits, put

# Where a process stands. A consumer: it must look where its partitions start; it may take a record;
# it has stored one. The worker: it must take over; it may claim; its batch is claimed, is open in
# the ledger, was seen to be still claimed. Any: it ended, saying that the database went back.
LOST, READY, STORED, CLAIMED, OPENED, CONFIRMED, ENDED = range(7)
# What the operator does: nothing, everything is stopped, the recovery has set its mark.
_WORKING, _STOPPED, _RECOVERING = range(3)
# What a record was answered: a request, and a cancel. The last is false: it was accepted.
_ACCEPTED, _CANCELLED, _TOO_LATE, _UNKNOWN, _FALSELY_UNKNOWN = range(1, 6)
_WORKER = 2
_WHO = ("A", "B", "the worker")


class Position(NamedTuple):
    """A row of `positions`: the next record, and the transaction that wrote it."""

    next: int
    by: int


class Database(NamedTuple):
    """PostgreSQL. A claim is (batch number, slices); each request is a slice."""

    server: int
    tables: int  # put in place so many times
    transactions: int
    positions: tuple[Position, ...]
    stored: int = 0
    pending: int = 0
    claim: tuple[int, int] = (0, 0)
    batch_no: int = 0
    given: tuple[tuple[tuple[int, int], int], ...] = ()  # cancels: (partition, record), answer
    recovering: bool = False


class Consumer(NamedTuple):
    """A consumer: what it remembers of the database, where it reads on, and what it has stored."""

    step: int
    generation: int
    known: tuple[int, int, tuple[Position, ...]] = (0, 0, ())
    reads: tuple[int, ...] = ()
    partition: int = 0
    answer: int = 0


class Worker(NamedTuple):
    """The worker: what it remembers of the database, its batch, and one to be applied."""

    step: int
    known: tuple[int, int, tuple[Position, ...]] = (0, 0, ())
    batch: tuple[int, int] = (0, 0)
    finished: tuple[int, int] = (0, 0)


class State(NamedTuple):
    """Everything. `past` are the databases before the last commits, the last one first."""

    consumers: tuple[Consumer, ...]
    worker: Worker
    database: Database
    generation: int
    expired: int  # consumers that the group gave up on (mask)
    group: tuple[int, ...]
    answered: tuple[tuple[int, ...], ...]
    ledger: tuple[tuple[int, int], ...]  # batches that happened
    opened: tuple[int, int]  # a batch that is open in the ledger
    sent: int
    operator: int
    past: tuple[Database, ...]
    copy: Database | None
    faults: int
    wrong: str = ""


Step = tuple[Label, State]


class SourcesScope(NamedTuple):
    """`partitions` names what each record is: n asks for slice n, -n cancels it, from 1 on.

    `loses` is how many commits a failover may lose; `restore`, whether tables are put back.
    """

    name: str
    partitions: tuple[tuple[int, ...], ...]
    faults: int
    loses: int = 0
    restore: bool = False
    zombies: bool = False


class Sources:
    """The model within a scope, with mutations by name."""

    def __init__(self, scope: SourcesScope, mutations: frozenset[str] = frozenset()) -> None:
        self._scope = scope
        self._mutations = mutations
        count = len(scope.partitions)
        self.first = State(
            consumers=(Consumer(LOST, 1), Consumer(LOST, 1)),
            worker=Worker(LOST),
            database=Database(0, 0, 0, (Position(0, 0),) * count),
            generation=1,
            expired=0,
            group=(0,) * count,
            answered=tuple((0,) * len(records) for records in scope.partitions),
            ledger=(),
            opened=(0, 0),
            sent=0,
            operator=_WORKING,
            past=(),
            copy=None,
            faults=scope.faults,
        )

    @staticmethod
    def canonical(state: State) -> State:
        """Every state stands for itself."""
        return state

    def free(self, state: State) -> Iterator[Step]:
        """What happens sooner or later."""
        for who, consumer in enumerate(state.consumers):
            member = not state.expired >> who & 1
            if state.operator != _WORKING and member:
                continue
            if member and consumer.generation != state.generation:
                joined = Consumer(LOST, state.generation)
                yield (who, "group assigns", ""), self._with(state, who, joined)
            yield from self._consumes(state, who, consumer)
        if state.operator == _WORKING:
            yield from self._dispatches(state)
        yield from self._operates(state)

    def faults(self, state: State) -> Iterator[Step]:
        """What may go wrong while the budget lasts."""
        if not state.faults:
            return
        less = state._replace(faults=state.faults - 1)
        for lost in range(1, 1 + min(self._scope.loses, len(state.past))):
            kept = state.past[lost - 1]._replace(server=state.database.server + 1)
            yield (
                (NOBODY, "PostgreSQL", f"fails over, {lost} commits are lost"),
                less._replace(database=kept, past=()),
            )
        if self._scope.restore:
            if state.copy is None:
                yield (NOBODY, "PostgreSQL", "is copied"), state._replace(copy=state.database)
            elif state.copy != state.database:
                yield (
                    (NOBODY, "PostgreSQL", "its tables are put back"),
                    less._replace(database=_put_back(state.database, state.copy), past=()),
                )
        if self._scope.zombies and not state.expired and state.operator == _WORKING:
            moved = less._replace(generation=state.generation + 1)
            for who in (0, 1):
                yield (who, "session expires", "unnoticed"), moved._replace(expired=1 << who)

    def quiet(self, state: State) -> str:
        """What is wrong when nothing happens any more."""
        for partition, records in enumerate(self._scope.partitions):
            for at, what in enumerate(records):
                answer = state.answered[partition][at]
                if not answer:
                    return f"record {at + 1} of partition {partition} is never answered"
                sent = state.sent >> (abs(what) - 1) & 1
                if answer == _TOO_LATE and not sent:
                    return f"{_slice(what)} answered TOO_LATE, and never sent"
                if answer == _ACCEPTED and not sent and not self._is_cancelled(state, what):
                    return f"{_slice(what)} accepted, and never sent"
        return ""

    # Ingest.

    def _consumes(self, state: State, who: int, consumer: Consumer) -> Iterator[Step]:
        if consumer.step == LOST:
            yield from self._start(state, who, consumer)
        elif consumer.step == READY:
            for partition in self._mine(state, who):
                if consumer.reads[partition] < len(self._scope.partitions[partition]):
                    yield self._store(state, who, consumer, partition)
        elif consumer.step == STORED:
            yield self._answer(state, who, consumer)

    def _mine(self, state: State, who: int) -> list[int]:
        """The partitions of a consumer; one that does not notice its end keeps its own."""
        alone = state.expired and not state.expired >> who & 1
        return [p for p in range(len(self._scope.partitions)) if alone or p % 2 == who]

    def _start(self, state: State, who: int, consumer: Consumer) -> Iterator[Step]:
        """`Intake._starts` with `refuse_behind`: one look, since what it saw must still stand."""
        if consumer.generation != state.generation:
            return
        known = max(state.database.batch_no, state.database.claim[0])
        if state.opened[0] > known and "open-batches-unseen" not in self._mutations:
            return  # waited for
        happened = any(number > known for number, _ in state.ledger)
        if state.database.recovering or happened or _is_behind(state):
            label = (who, "start", "the database went back: it ends")
            yield label, self._with(state, who, Consumer(ENDED, consumer.generation))
            return
        ready = Consumer(READY, consumer.generation, _known(state.database), state.group)
        yield (who, "start", f"behind {state.group}"), self._with(state, who, ready)

    def _store(self, state: State, who: int, consumer: Consumer, partition: int) -> Step:
        at = consumer.reads[partition]
        what = self._scope.partitions[partition][at]
        database = state.database
        label = (who, "store", f"partition {partition}: {_said(what)}")
        if "position-unseen" not in self._mutations and not self._stands(
            database, consumer.known, partition
        ):
            return self._doubt(state, label, who)
        database, answer = self._decided(state, database, (partition, at), what)
        position = database.positions[partition]
        if position.next < at + 1:
            position = Position(at + 1, database.transactions + 1)
        positions = put(database.positions, partition, position)
        stored = consumer._replace(
            step=STORED,
            partition=partition,
            answer=answer,
            known=(*consumer.known[:2], put(consumer.known[2], partition, position)),
        )
        database = database._replace(positions=positions)
        return label, self._with(self._committed(state, database), who, stored)

    def _decided(
        self, state: State, database: Database, place: tuple[int, int], what: int
    ) -> tuple[Database, int]:
        """The database with a record stored, and the answer to it."""
        slice_ = 1 << (abs(what) - 1)
        if what > 0:
            new = slice_ & ~database.stored
            pending, stored = database.pending | new, database.stored | new
            return database._replace(pending=pending, stored=stored), _ACCEPTED
        if given := dict(database.given).get(place):
            return database, given
        if not database.stored & slice_:
            accepted = _ACCEPTED in self._answers_to(state, -what)
            answer = _FALSELY_UNKNOWN if accepted else _UNKNOWN
        elif database.pending & slice_ & ~database.claim[1]:
            answer = _CANCELLED
            database = database._replace(pending=database.pending & ~slice_)
        else:
            answer = _TOO_LATE
        return database._replace(given=tuple(sorted((*database.given, (place, answer))))), answer

    def _answer(self, state: State, who: int, consumer: Consumer) -> Step:
        """The look, and Kafka's commit: what is lost in between nobody can see in time."""
        partition, answer = consumer.partition, consumer.answer
        label = (who, "answer", f"partition {partition}")
        unseen = "not-seen-before-the-answer" in self._mutations
        if not unseen and not self._stands(state.database, consumer.known, partition):
            return self._doubt(state, label, who)
        if consumer.generation != state.generation:
            return self._doubt(state, label, who)
        at = consumer.reads[partition]
        what = self._scope.partitions[partition][at]
        wrong = ""
        if state.answered[partition][at]:
            wrong = "answered twice"
        elif answer == _CANCELLED and state.sent >> (-what - 1) & 1:
            wrong = f"{_slice(what)} answered CANCELLED, but sent"
        elif answer == _FALSELY_UNKNOWN:
            wrong = f"{_slice(what)} accepted, then answered UNKNOWN_REQUEST"
        answers = put(state.answered[partition], at, answer)
        ready = consumer._replace(step=READY, reads=put(consumer.reads, partition, at + 1))
        done = state._replace(
            answered=put(state.answered, partition, answers),
            group=put(state.group, partition, at + 1),
            wrong=wrong,
        )
        return label, self._with(done, who, ready)

    def _doubt(self, state: State, label: Label, who: int) -> Step:
        """Back to the start; whoever the group gave up on is not let in again."""
        step = ENDED if state.expired >> who & 1 else LOST
        lost = Consumer(step, state.consumers[who].generation)
        return (*label[:2], f"{label[2]}: not as it was left"), self._with(state, who, lost)

    # Dispatch.

    def _dispatches(self, state: State) -> Iterator[Step]:
        worker = state.worker
        if worker.step == LOST:
            yield self._take_over(state)
        elif worker.step == READY:
            claims = worker.finished[0] or state.database.pending & ~state.database.claim[1]
            if claims or not self._worker_sees(state.database, worker):  # it looks when idle too
                yield self._claim(state, worker)
        elif worker.step == CLAIMED:
            opened = state._replace(opened=worker.batch, worker=worker._replace(step=OPENED))
            yield (_WORKER, "emit: produce", "BatchOpened is there"), opened
        elif worker.step == OPENED:
            yield self._confirm(state, worker)
        elif worker.step == CONFIRMED:
            yield self._emit(state, worker)

    def _take_over(self, state: State) -> Step:
        """What is open of its own is fenced; look, and settle by the ledger."""
        label, database = (_WORKER, "takeover", ""), state.database
        state = state._replace(opened=(0, 0))
        after = [batch for batch in state.ledger if batch[0] > database.batch_no]
        gone = 0
        for _, slices in after:
            gone |= slices
        if database.recovering or _is_behind(state) or gone & ~database.pending:
            halted = state._replace(worker=Worker(ENDED))
            return (_WORKER, "takeover", "the database went back: halted"), halted
        database = database._replace(
            pending=database.pending & ~gone,
            claim=(0, 0),
            batch_no=max([database.batch_no, *(number for number, _ in after)]),
        )
        ready = Worker(READY, _known(database))
        return label, self._committed(state, database)._replace(worker=ready)

    def _claim(self, state: State, worker: Worker) -> Step:
        database = state.database
        if not self._worker_sees(database, worker):
            return self._worker_doubts(state, "claim")
        number, slices = worker.finished
        if number:
            if slices & ~database.pending or database.batch_no != number - 1:
                return (
                    (_WORKER, "claim", "slices of a committed batch are missing: halted"),
                    state._replace(worker=Worker(ENDED)),
                )
            pending = database.pending & ~slices
            database = database._replace(pending=pending, batch_no=number, claim=(0, 0))
        chosen = database.pending & ~database.claim[1]
        batch = (1 + max(database.batch_no, database.claim[0]), chosen) if chosen else (0, 0)
        database = database._replace(claim=batch)
        step = CLAIMED if chosen else READY
        claimed = Worker(step, _known(database), batch)
        label = (_WORKER, "claim", "+".join(_slice(1 + at) for at in bits(chosen)))
        return label, self._committed(state, database)._replace(worker=claimed)

    def _worker_sees(self, database: Database, worker: Worker) -> bool:
        """That the database is not behind what the worker saw last: `GroundWatch.compare`."""
        if "positions-unseen" in self._mutations:
            return True
        return _is_not_behind(database, worker.known, server=self._sees_server)

    def _confirm(self, state: State, worker: Worker) -> Step:
        there = state.database.claim == worker.batch
        if not there and "claim-not-seen-again" not in self._mutations:
            return self._worker_doubts(state, "emit: confirm")
        confirmed = state._replace(worker=worker._replace(step=CONFIRMED))
        return (_WORKER, "emit: confirm", "the claim stands"), confirmed

    def _emit(self, state: State, worker: Worker) -> Step:
        slices, wrong = worker.batch[1], state.wrong
        if slices & state.sent:
            wrong = "sent twice"
        for at in bits(slices):
            if _CANCELLED in self._answers_to(state, -(at + 1)):
                wrong = f"{_slice(at + 1)} answered CANCELLED, but sent"
        emitted = worker._replace(step=READY, batch=(0, 0), finished=worker.batch)
        return (_WORKER, "emit: commit", ""), state._replace(
            worker=emitted,
            ledger=(*state.ledger, worker.batch),
            opened=(0, 0),
            sent=state.sent | slices,
            wrong=wrong,
        )

    @staticmethod
    def _worker_doubts(state: State, step: str) -> Step:
        lost = state._replace(worker=Worker(LOST), opened=(0, 0))
        return (_WORKER, step, "not as it was: doubt"), lost

    # The operator.

    def _operates(self, state: State) -> Iterator[Step]:
        if state.operator == _WORKING:
            steps = [state.worker.step] + [
                one.step for who, one in enumerate(state.consumers) if not state.expired >> who & 1
            ]
            if ENDED in steps:
                stopped = state._replace(
                    operator=_STOPPED, generation=state.generation + 1, opened=(0, 0)
                )
                yield (NOBODY, "operator", "everything is stopped, but who hangs"), stopped
        elif state.operator == _STOPPED:
            database = state.database._replace(recovering=True, tables=state.database.tables + 1)
            marked = state._replace(operator=_RECOVERING, past=(), database=database)
            yield (NOBODY, "recover", "sets its mark"), marked
        else:
            yield (NOBODY, "recover", "and all start"), self._recovered(state)

    def _recovered(self, state: State) -> State:
        """What was answered and what was dispatched stands in the database; all start anew."""
        database = state.database
        given = dict(database.given)
        for partition, records in enumerate(self._scope.partitions):
            for at in range(database.positions[partition].next, state.group[partition]):
                what, answer = records[at], state.answered[partition][at]
                if what > 0:
                    new = 1 << (what - 1) & ~database.stored
                    database = database._replace(
                        stored=database.stored | new, pending=database.pending | new
                    )
                else:
                    given[partition, at] = answer
        database = self._with_ahead(state, database)
        pending, batch_no = database.pending & ~state.sent, database.batch_no
        for (partition, at), answer in given.items():
            if answer == _CANCELLED:
                pending &= ~(1 << (-self._scope.partitions[partition][at] - 1))
        by = database.transactions + 1
        database = database._replace(
            tables=database.tables + 1,
            transactions=by,
            positions=tuple(
                Position(group, by) if was.next < group else was
                for was, group in zip(database.positions, state.group, strict=True)
            ),
            pending=pending,
            claim=(0, 0),
            batch_no=max([batch_no, *(number for number, _ in state.ledger)]),
            given=tuple(sorted(given.items())),
            recovering=False,
        )
        # Who hangs goes on hanging; the others are members anew.
        consumers = tuple(
            consumer if state.expired >> who & 1 else Consumer(LOST, state.generation)
            for who, consumer in enumerate(state.consumers)
        )
        return state._replace(
            operator=_WORKING, database=database, consumers=consumers, worker=Worker(LOST)
        )

    def _with_ahead(self, state: State, database: Database) -> Database:
        """With the requests that nobody answered yet, and that were dispatched or cancelled."""
        for partition, records in enumerate(self._scope.partitions):
            for what in records[state.group[partition] :]:
                slice_ = 1 << (abs(what) - 1) & ~database.stored
                cancelled = self._answers_to(state, -what) & {_CANCELLED, _TOO_LATE}
                if what > 0 and slice_ and (cancelled or state.sent & slice_):
                    database = database._replace(
                        stored=database.stored | slice_, pending=database.pending | slice_
                    )
        return database

    # What both have.

    @property
    def _sees_server(self) -> bool:
        return "server-unseen" not in self._mutations

    def _stands(
        self, database: Database, known: tuple[int, int, tuple[Position, ...]], partition: int
    ) -> bool:
        """`StoredPositions._compare`."""
        same = (database.server, database.tables) == known[:2] or not self._sees_server
        position = database.positions[partition] == known[2][partition]
        return same and position and not database.recovering

    def _committed(self, state: State, database: Database) -> State:
        """A transaction of a process; a failover may lose it."""
        database = database._replace(transactions=state.database.transactions + 1)
        past = (state.database, *state.past)[: self._scope.loses]
        return state._replace(database=database, past=past)

    def _answers_to(self, state: State, what: int) -> set[int]:
        """What the records that say this were answered."""
        return {
            state.answered[partition][at]
            for partition, records in enumerate(self._scope.partitions)
            for at, said in enumerate(records)
            if said == what
        }

    def _is_cancelled(self, state: State, what: int) -> bool:
        return _CANCELLED in self._answers_to(state, -what)

    @staticmethod
    def _with(state: State, who: int, consumer: Consumer) -> State:
        return state._replace(consumers=put(state.consumers, who, consumer))


def _known(database: Database) -> tuple[int, int, tuple[Position, ...]]:
    return database.server, database.tables, database.positions


def _is_behind(state: State) -> bool:
    """Whether more was answered than the database knows."""
    saved = (position.next for position in state.database.positions)
    return any(at < group for at, group in zip(saved, state.group, strict=True))


def _is_not_behind(
    database: Database, known: tuple[int, int, tuple[Position, ...]], *, server: bool
) -> bool:
    """`Ground.is_behind`, the other way round."""
    same = (database.server, database.tables) == known[:2] or not server
    return same and all(
        now.next > was.next or now == was
        for now, was in zip(database.positions, known[2], strict=True)
    )


def _put_back(database: Database, copy: Database) -> Database:
    """The same server with the tables of a copy: every row was written by one transaction."""
    by = database.transactions + 1
    return copy._replace(
        server=database.server,
        tables=database.tables + 1,
        transactions=by,
        positions=tuple(Position(was.next, by) for was in copy.positions),
    )


def _slice(what: int) -> str:
    return "abcdefgh"[abs(what) - 1]


def _said(what: int) -> str:
    return f"{'cancel' if what < 0 else 'request'} {_slice(what)}"
