"""A small model of a request and its cancels in two partitions, read by whoever comes first.

Each partition has a consumer and a successor, who may both be at work: one of them is a zombie.
Invariant: a step is one statement of PostgreSQL with the locks it waits for, or one commit.
"""

from collections.abc import Iterator
from typing import NamedTuple

from faults.protocol.parts import NOBODY, Label
from faults.protocol.state import put

# Where a consumer stands: it must look where its partition starts; it may read; it has a record;
# it has begun (inserted the request, or found none to cancel); it holds the lock and has looked;
# its record is stored.
_LOST, _READY, _HAS_READ, _BEGUN, _LOOKED, _STORED = range(6)
_REQUESTS, _CANCELS = range(2)
# What stands in PostgreSQL: of the request, and of a cancel.
_ABSENT, _PENDING, _STOPPED, _SENT = range(4)
_NONE, _UNKNOWN, _CANCELLED, _TOO_LATE, _ALREADY, _LATE = range(6)
_ANSWERS = ("", "UNKNOWN_REQUEST", "CANCELLED", "TOO_LATE", "ALREADY_CANCELLED", "CANCELLED")


class Consumer(NamedTuple):
    """Who reads a partition: its step, its generation, its record, and what it found.

    Of a request that is the cancel that holds against it; of a stored cancel, its answer.
    """

    step: int
    generation: int
    offset: int = 0
    found: int = -1


class Unanswered(NamedTuple):
    """A commit that nobody waits for. `who` is the consumer's place, `held` what it was doing."""

    who: int
    held: Consumer


class State(NamedTuple):
    """Everything. Consumers stand in the order of their partitions, two each."""

    consumers: tuple[Consumer, ...]
    members: tuple[int, int]
    generations: tuple[int, int]
    offsets: tuple[int, int]  # of the group
    request: int
    cancels: tuple[int, ...]
    told: tuple[str, ...]  # of the request, then of each cancel
    late: int  # cancels that were answered a second time, a bit each
    storing: tuple[Unanswered, ...]
    answering: tuple[Unanswered, ...]
    faults: int
    wrong: str = ""


Step = tuple[Label, State]


class ApartScope(NamedTuple):
    """The cancels, whether each was appended after the request, and how many faults."""

    name: str
    after: tuple[bool, ...]
    faults: int


class Apart:
    """The model within a scope, with mutations by name."""

    def __init__(self, scope: ApartScope, mutations: frozenset[str] = frozenset()) -> None:
        consumers = (Consumer(_LOST, 1), Consumer(_LOST, 0)) * 2
        cancels = (_NONE,) * len(scope.after)
        told = ("", *("" for _ in scope.after))
        self.first = State(
            consumers, (0, 0), (1, 1), (0, 0), _ABSENT, cancels, told, 0, (), (), scope.faults
        )
        self._scope = scope
        self._mutations = mutations

    @staticmethod
    def canonical(state: State) -> State:
        """Every state stands for itself."""
        return state

    def free(self, state: State) -> Iterator[Step]:
        """What happens sooner or later."""
        if state.request == _PENDING:
            yield (NOBODY, "dispatch", "the request is sent"), state._replace(request=_SENT)
        for who, consumer in enumerate(state.consumers):
            partition, member = divmod(who, 2)
            generation = state.generations[partition]
            if state.members[partition] == member and consumer.generation != generation:
                joined = _with(state, who, Consumer(_LOST, generation))
                yield (member, "group assigns", _name(partition)), joined
            yield from self._works(state, who, consumer)
        for at, one in enumerate(state.storing):
            rest = state._replace(storing=state.storing[:at] + state.storing[at + 1 :])
            yield (NOBODY, "PostgreSQL", "the unanswered commit is done"), self._commit(rest, one)
            yield (NOBODY, "PostgreSQL", "the unanswered commit is rolled back"), rest
        for at, one in enumerate(state.answering):
            rest = state._replace(answering=state.answering[:at] + state.answering[at + 1 :])
            yield (NOBODY, "Kafka", "the unanswered commit is done"), self._tell(rest, one)
            yield (NOBODY, "Kafka", "the open transaction is aborted"), rest

    def faults(self, state: State) -> Iterator[Step]:
        """What may go wrong while the budget lasts."""
        if not state.faults:
            return
        for partition in (_REQUESTS, _CANCELS):
            member, generations = state.members[partition], list(state.generations)
            generations[partition] += 1
            moved = state._replace(
                faults=state.faults - 1,
                members=put(state.members, partition, 1 - member),
                generations=put(state.generations, partition, generations[partition]),
            )
            yield (member, "session expires", f"unnoticed, {_name(partition)}"), moved
            dead = _with(moved, 2 * partition + member, Consumer(_LOST, 0))
            yield (member, "crash", _name(partition)), dead

    def quiet(self, state: State) -> str:
        """What is wrong when nothing happens any more."""
        if not all(state.told):
            return "a record is never answered"
        for at, after in enumerate(self._scope.after):
            told = "CANCELLED" if state.late >> at & 1 else state.told[1 + at]
            if state.request == _SENT and told != "TOO_LATE" and after:
                return f"sent, although the cancel that came after it was answered {told}"
            if state.request == _STOPPED and told == "TOO_LATE":
                return "not sent, although a cancel was answered TOO_LATE"
        stopped = state.late or "CANCELLED" in state.told
        if (state.request == _STOPPED) != bool(stopped):
            return "stopped, and no cancel was answered CANCELLED; or the reverse"
        return ""

    def _works(self, state: State, who: int, consumer: Consumer) -> Iterator[Step]:
        match consumer.step:
            case 0:
                yield from self._start(state, who, consumer)
            case 1:
                yield from self._read(state, who, consumer)
            case 5:
                yield from self._answer(state, who, consumer)
            case _ if who // 2 == _REQUESTS:
                yield from self._schedule(state, who, consumer)
            case _:
                yield from self._cancel(state, who, consumer)

    def _start(self, state: State, who: int, consumer: Consumer) -> Iterator[Step]:
        """The group's offset is not told while a transaction holds it."""
        partition = who // 2
        held = any(one.who // 2 == partition for one in state.answering)
        if consumer.generation == state.generations[partition] and not held:
            ready = Consumer(_READY, consumer.generation, state.offsets[partition])
            yield (who % 2, "start", _name(partition)), _with(state, who, ready)

    def _read(self, state: State, who: int, consumer: Consumer) -> Iterator[Step]:
        if consumer.offset < (1 if who // 2 == _REQUESTS else len(self._scope.after)):
            read = consumer._replace(step=_HAS_READ)
            yield (who % 2, "read", _record(who, consumer)), _with(state, who, read)

    def _schedule(self, state: State, who: int, consumer: Consumer) -> Iterator[Step]:
        """`RequestIntake._store`: insert, look for cancels under the lock, commit."""
        if consumer.step == _HAS_READ:
            if self._inserting(state):
                return  # the unique key waits for the other transaction
            if state.request and "stored-looks-again" not in self._mutations:
                known = consumer._replace(step=_STORED)
                yield (who % 2, "insert_requests", "stored already"), _with(state, who, known)
            else:
                begun = consumer._replace(step=_BEGUN)
                yield (who % 2, "insert_requests", "new"), _with(state, who, begun)
        elif consumer.step == _BEGUN:
            if self._locked(state, (_CANCELS,)):
                return
            found = self._held_against(state)
            looked = consumer._replace(step=_LOOKED, found=found)
            text = "no cancel" if found < 0 else f"cancel {found + 1}"
            yield (who % 2, "held_against", text), _with(state, who, looked)
        else:
            yield from self._committed(state, who, consumer)

    def _held_against(self, state: State) -> int:
        if "request-does-not-look" in self._mutations:
            return -1
        for at, after in enumerate(self._scope.after):
            if state.cancels[at] == _UNKNOWN and (after or "cancel-of-before" in self._mutations):
                return at
        return -1

    def _cancel(self, state: State, who: int, consumer: Consumer) -> Iterator[Step]:
        """`decide_cancels`: look; where there is no request, look again under the lock; commit.

        Where there is one, what stops its slices is one step here: the model of dispatch has more.
        """
        if consumer.step == _LOOKED:
            yield from self._committed(state, who, consumer)
            return
        again = consumer.step == _BEGUN
        if again and self._locked(state, (_REQUESTS, _CANCELS)):
            return
        if state.cancels[consumer.offset]:
            known = self._stored(state, who, consumer)
            yield (who % 2, "decide_cancels", "answered already"), known
        elif state.request and not (again and "cancel-does-not-look" in self._mutations):
            yield from self._committed(state, who, consumer)
        else:
            step = _LOOKED if again else _BEGUN
            text = "under the lock, no request" if again else "no request"
            after = _with(state, who, consumer._replace(step=step))
            yield (who % 2, "read_requests", text), after

    def _inserting(self, state: State) -> bool:
        """Whether somebody has inserted the request, and has not come to an end."""
        consumers = state.consumers[:2]
        return any(one.step in (_BEGUN, _LOOKED) for one in consumers) or any(
            one.who // 2 == _REQUESTS for one in state.storing
        )

    def _locked(self, state: State, partitions: tuple[int, ...]) -> bool:
        """Whether consumers of these partitions hold the lock: it lasts until their commits."""
        if "look-without-lock" in self._mutations:
            return False
        held = {who // 2 for who, one in enumerate(state.consumers) if one.step == _LOOKED}
        held |= {one.who // 2 for one in state.storing if one.held.step == _LOOKED}
        return any(partition in held for partition in partitions)

    def _committed(self, state: State, who: int, consumer: Consumer) -> Iterator[Step]:
        one = Unanswered(who, consumer)
        stored = self._stored(self._commit(state, one), who, consumer)
        yield (who % 2, "store", _record(who, consumer)), stored
        if state.faults:
            lost = _with(state, who, Consumer(_LOST, consumer.generation))
            hanging = lost._replace(storing=(*state.storing, one), faults=state.faults - 1)
            yield (who % 2, "store", "the commit is not answered: back to the start"), hanging

    @staticmethod
    def _stored(state: State, who: int, consumer: Consumer) -> State:
        """It will answer what stands now, whatever stands when it does."""
        found = state.cancels[consumer.offset] if who // 2 == _CANCELS else -1
        return _with(state, who, consumer._replace(step=_STORED, found=found))

    def _commit(self, state: State, one: Unanswered) -> State:
        """What a transaction leaves behind."""
        held = one.held
        if one.who // 2 == _REQUESTS:
            return self._commit_request(state, held.found)
        if state.cancels[held.offset]:
            return state  # a key conflict: whoever asked finds the answer when it reads again
        if held.step == _LOOKED:
            return state._replace(cancels=put(state.cancels, held.offset, _UNKNOWN))
        row = {_PENDING: _CANCELLED, _SENT: _TOO_LATE}.get(state.request, self._repeated(state))
        stopped = _STOPPED if row == _CANCELLED else state.request
        return state._replace(request=stopped, cancels=put(state.cancels, held.offset, row))

    def _commit_request(self, state: State, found: int) -> State:
        """`found` is the cancel that holds against the request, or -1."""
        if state.request:
            return state if found < 0 else state._replace(wrong="decided a second time")
        if found < 0:
            return state._replace(request=_PENDING)
        wrong = "" if self._scope.after[found] else "stopped by a cancel of before"
        state = state._replace(request=_STOPPED, wrong=wrong)
        if "late-unmarked" in self._mutations:
            return state
        return state._replace(cancels=put(state.cancels, found, _LATE))

    @staticmethod
    def _repeated(state: State) -> int:
        """What a cancel is answered when nothing is pending."""
        return _ALREADY if {_CANCELLED, _LATE} & set(state.cancels) else _TOO_LATE

    def _answer(self, state: State, who: int, consumer: Consumer) -> Iterator[Step]:
        lost = _with(state, who, Consumer(_LOST, consumer.generation))
        if consumer.generation != state.generations[who // 2]:
            yield (who % 2, "answer", "refused, an old generation: back to the start"), lost
            return
        one = Unanswered(who, consumer)
        following = consumer._replace(step=_READY, offset=consumer.offset + 1, found=-1)
        told = self._tell(_with(state, who, following), one)
        yield (who % 2, "answer", _record(who, consumer)), told
        if state.faults:
            hanging = lost._replace(answering=(*state.answering, one), faults=state.faults - 1)
            yield (who % 2, "answer", "the commit is not answered: back to the start"), hanging

    def _tell(self, state: State, one: Unanswered) -> State:
        """The answer and the offset; with the request's, the second one of a cancel."""
        partition, offset = one.who // 2, one.held.offset
        late = state.late
        if partition == _REQUESTS:
            place, answer = 0, "ACCEPTED"
            late = sum(1 << at for at, row in enumerate(state.cancels) if row == _LATE)
        else:
            place, answer = 1 + offset, _ANSWERS[one.held.found]
        return state._replace(
            told=put(state.told, place, answer),
            late=late,
            offsets=put(state.offsets, partition, offset + 1),
            wrong="answered twice" if state.told[place] else state.wrong,
        )


def _with(state: State, who: int, consumer: Consumer) -> State:
    return state._replace(consumers=put(state.consumers, who, consumer))


def _name(partition: int) -> str:
    return "partition of the cancels" if partition else "partition of the request"


def _record(who: int, consumer: Consumer) -> str:
    return f"cancel {consumer.offset + 1}" if who // 2 == _CANCELS else "the request"
