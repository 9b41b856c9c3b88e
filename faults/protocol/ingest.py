"""A small model of ingest: two consumers, one partition, PostgreSQL first and then the answers.

Invariant: a record counts as answered when the Kafka transaction with its offsets is committed.
"""

from collections.abc import Iterator
from typing import NamedTuple

from faults.protocol.parts import NOBODY, Label
from faults.protocol.state import put

# Where a consumer stands: it must look where its partition starts; it may read; it has a batch;
# it has done the first half of it.
_LOST, _READY, _HAS_READ, _HALFWAY = range(4)


class Consumer(NamedTuple):
    """A consumer process: its step, its generation in the group, and the batch it holds."""

    step: int
    generation: int
    start: int = 0
    end: int = 0


class State(NamedTuple):
    """Everything. `storing` and `answering` are commits that nobody waits for: (start, end)."""

    consumers: tuple[Consumer, ...]
    member: int
    generation: int
    offset: int  # of the group
    position: int  # saved in PostgreSQL
    stored: int
    answered: int
    storing: tuple[tuple[int, int], ...]
    answering: tuple[tuple[int, int], ...]
    faults: int
    wrong: str = ""


Step = tuple[Label, State]


class IngestScope(NamedTuple):
    """How many records there are, how many a batch takes at most, and how many faults."""

    name: str
    records: int
    batch: int
    faults: int


class Ingest:
    """The model within a scope, with mutations by name."""

    def __init__(self, scope: IngestScope, mutations: frozenset[str] = frozenset()) -> None:
        consumers = (Consumer(_LOST, 1), Consumer(_LOST, 0))
        self.first = State(consumers, 0, 1, 0, 0, 0, 0, (), (), scope.faults)
        self._scope = scope
        self._mutations = mutations

    @staticmethod
    def canonical(state: State) -> State:
        """Every state stands for itself."""
        return state

    def free(self, state: State) -> Iterator[Step]:
        """What happens sooner or later."""
        for who, consumer in enumerate(state.consumers):
            if state.member == who and consumer.generation != state.generation:
                joined = Consumer(_LOST, state.generation)
                yield (who, "group assigns", ""), self._with(state, who, joined)
            yield from self._works(state, who, consumer)
        for at, span in enumerate(state.storing):
            rest = state._replace(storing=state.storing[:at] + state.storing[at + 1 :])
            yield (NOBODY, "PostgreSQL", "the unanswered commit is done"), _store(rest, span)
            yield (NOBODY, "PostgreSQL", "the unanswered commit is rolled back"), rest
        for at, span in enumerate(state.answering):
            rest = state._replace(answering=state.answering[:at] + state.answering[at + 1 :])
            yield (NOBODY, "Kafka", "the unanswered commit is done"), _answer(rest, span)
            yield (NOBODY, "Kafka", "the open transaction is aborted"), rest

    def faults(self, state: State) -> Iterator[Step]:
        """What may go wrong while the budget lasts."""
        if not state.faults:
            return
        less = state._replace(faults=state.faults - 1)
        moved = less._replace(generation=state.generation + 1)
        yield (
            (state.member, "session expires", "unnoticed"),
            moved._replace(member=1 - state.member),
        )
        yield (
            (state.member, "crash", ""),
            self._with(moved, state.member, Consumer(_LOST, 0)),
        )

    def quiet(self, state: State) -> str:
        """What is wrong when nothing happens any more."""
        every = (1 << self._scope.records) - 1
        if lost := every & ~state.stored:
            return f"record {lost.bit_length()} passed over, and never stored"
        return "" if state.answered == every else "a record is never answered"

    @staticmethod
    def _with(state: State, who: int, consumer: Consumer) -> State:
        return state._replace(consumers=put(state.consumers, who, consumer))

    def _works(self, state: State, who: int, consumer: Consumer) -> Iterator[Step]:
        if consumer.step == _LOST:
            yield from self._start(state, who, consumer)
        elif consumer.step == _READY:
            yield from self._read(state, who, consumer)
        elif (consumer.step == _HAS_READ) != ("offsets-first" in self._mutations):
            yield from self._store(state, who, consumer)
        else:
            yield from self._answer(state, who, consumer)

    def _start(self, state: State, who: int, consumer: Consumer) -> Iterator[Step]:
        """`Intake._starts`; the group's offset is not told while a transaction holds it."""
        if consumer.generation != state.generation or state.answering:
            return
        if state.position < state.offset and "offsets-first" not in self._mutations:
            wrong = "PostgreSQL is behind the group: ingest stops"
            yield (who, "start", wrong), state._replace(wrong=wrong)
            return
        ready = Consumer(_READY, consumer.generation, state.offset, state.offset)
        yield (who, "start", f"behind record {state.offset}"), self._with(state, who, ready)

    def _read(self, state: State, who: int, consumer: Consumer) -> Iterator[Step]:
        end = min(self._scope.records, consumer.end + self._scope.batch)
        if end > consumer.end:
            read = Consumer(_HAS_READ, consumer.generation, consumer.end, end)
            yield (who, "read", _text((read.start, end))), self._with(state, who, read)

    def _store(self, state: State, who: int, consumer: Consumer) -> Iterator[Step]:
        span = (consumer.start, consumer.end)
        done = self._next(state, who, consumer)
        yield (who, "take: store", _text(span)), _store(done, span)
        if state.faults:
            lost = self._with(state, who, Consumer(_LOST, consumer.generation))
            storing = (*lost.storing, span)
            label = (who, "take: store", "the commit is not answered: back to the start")
            yield label, lost._replace(storing=storing, faults=state.faults - 1)

    def _answer(self, state: State, who: int, consumer: Consumer) -> Iterator[Step]:
        """Answers and offsets in one transaction, under the membership of the batch."""
        span = (consumer.start, consumer.end)
        lost = self._with(state, who, Consumer(_LOST, consumer.generation))
        stale = consumer.generation != state.generation
        if stale and "no-membership" not in self._mutations:
            yield (who, "answer", "refused, an old generation: back to the start"), lost
            return
        yield (who, "answer", _text(span)), _answer(self._next(state, who, consumer), span)
        if state.faults:
            label = (who, "answer", "the commit is not answered: back to the start")
            answering = (*state.answering, span)
            yield label, lost._replace(answering=answering, faults=state.faults - 1)

    def _next(self, state: State, who: int, consumer: Consumer) -> State:
        step = _HALFWAY if consumer.step == _HAS_READ else _READY
        return self._with(state, who, consumer._replace(step=step))


def _mask(span: tuple[int, int]) -> int:
    return (1 << span[1]) - (1 << span[0])


def _store(state: State, span: tuple[int, int]) -> State:
    position = max(state.position, span[1])
    return state._replace(stored=state.stored | _mask(span), position=position)


def _answer(state: State, span: tuple[int, int]) -> State:
    wrong = "answered twice" if state.answered & _mask(span) else state.wrong
    return state._replace(answered=state.answered | _mask(span), offset=span[1], wrong=wrong)


def _text(span: tuple[int, int]) -> str:
    return f"records {span[0] + 1} to {span[1]}"
