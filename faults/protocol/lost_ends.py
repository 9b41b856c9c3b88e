"""A small model of commits that are reported as done, and of which a channel topic does not hear.

One worker, with a new producer after each doubt; batches one after the other, each with its records
in one partition of a channel topic and its record in the ledger. Invariant: what hangs in the topic
is decided over by the end of the next transaction of the producer that wrote it.
"""

from collections.abc import Iterator
from typing import NamedTuple

from faults.protocol.parts import NOBODY, Label
from faults.protocol.state import put

# Where the worker stands: it has to take over; it may emit; it has produced; it has committed.
_LOST, _READY, _PRODUCED, _COMMITTED = range(4)
# A batch's records in the channel topic.
_ABSENT, _OPEN, _HANGING, _READABLE, _GONE = range(5)

_UNREADABLE = "a batch is applied as sent, and nobody can read it"
_AWAY = "a batch that was applied as sent is taken away"


class State(NamedTuple):
    """Everything. `mine`: what stands open or hangs was written by the worker's own producer."""

    step: int
    batch: int
    channel: tuple[int, ...]
    mine: tuple[bool, ...]
    ledger: int  # batches that it holds, a bit each
    applied: int  # and those that PostgreSQL counts as sent
    faults: int
    wrong: str = ""


Step = tuple[Label, State]


class LostEndsScope(NamedTuple):
    """How many batches, and how many faults."""

    name: str
    batches: int
    faults: int


class LostEnds:
    """The model within a scope, with mutations by name."""

    def __init__(self, scope: LostEndsScope, mutations: frozenset[str] = frozenset()) -> None:
        nothing = (_ABSENT,) * scope.batches
        self.first = State(_LOST, 0, nothing, (False,) * scope.batches, 0, 0, scope.faults)
        self._scope = scope
        self._mutations = mutations

    @staticmethod
    def canonical(state: State) -> State:
        """Every state stands for itself."""
        return state

    def free(self, state: State) -> Iterator[Step]:
        """What happens sooner or later."""
        for batch, stands in enumerate(state.channel):
            if stands == _HANGING:
                came = state._replace(channel=put(state.channel, batch, _READABLE))
                yield (NOBODY, "Kafka", f"the end of batch {batch + 1} comes, late"), came
        match state.step:
            case 0:
                yield from self._take_over(state)
            case 1 if state.batch < self._scope.batches:
                opened = state._replace(
                    step=_PRODUCED,
                    channel=put(state.channel, state.batch, _OPEN),
                    mine=put(state.mine, state.batch, True),
                )
                yield (0, "emit: begin, produce", _name(state)), opened
            case 2:
                yield (0, "emit: commit", _name(state)), self._committed(state, _READABLE)
            case 3:
                yield from self._see_the_end(state)

    def faults(self, state: State) -> Iterator[Step]:
        """What may go wrong while the budget lasts."""
        if not state.faults:
            return
        state = state._replace(faults=state.faults - 1)
        if state.step == _PRODUCED:
            lost = self._committed(state, _HANGING)
            yield (0, "emit: commit", f"{_name(state)}; the topic does not hear of it"), lost
        if state.step != _LOST:
            yield (0, "crash", "its open transaction is aborted"), self._doubt(state)

    def quiet(self, state: State) -> str:
        """What is wrong when nothing happens any more."""
        sent = all(stands == _READABLE for stands in state.channel)
        everything = (1 << self._scope.batches) - 1
        return "" if sent and state.applied == everything else "a batch is never sent"

    def _committed(self, state: State, ended: int) -> State:
        """The end reaches the ledger, and the topic too if it `ended` there."""
        channel = tuple(
            _READABLE if stands == _HANGING and own and ended == _READABLE else stands
            for stands, own in zip(state.channel, state.mine, strict=True)
        )
        return state._replace(
            step=_COMMITTED,
            channel=put(channel, state.batch, ended),
            ledger=state.ledger | 1 << state.batch,
        )

    def _see_the_end(self, state: State) -> Iterator[Step]:
        """`TransactionalProducer._see_the_end`, and then the batch is applied."""
        seen = state.channel[state.batch] == _READABLE
        if seen or "applied-before-the-end-is-seen" in self._mutations:
            applied = self._apply(state, 1 << state.batch, looked=seen)
            following = applied._replace(step=_READY, batch=state.batch + 1)
            yield (0, "apply", _name(state)), following
        else:
            yield (0, "commit", "its end is not seen: doubt"), self._doubt(state)

    def _take_over(self, state: State) -> Iterator[Step]:
        """With a new producer: what the ledger holds is applied, once readers can reach it."""
        unapplied = state.ledger & ~state.applied
        hangs = any(
            unapplied >> batch & 1 and stands != _READABLE
            for batch, stands in enumerate(state.channel)
        )
        if hangs and "takeover-sees-the-ledger-alone" not in self._mutations:
            return  # the shard waits
        applied = self._apply(state, unapplied, looked=True)
        following = applied._replace(step=_READY, batch=applied.ledger.bit_count())
        yield (0, "takeover", "what the ledger holds is applied"), following

    def _apply(self, state: State, batches: int, *, looked: bool) -> State:
        """Delete the slices. Who did not look is wrong only when what it applied is taken away."""
        unreadable = any(
            batches >> batch & 1 and stands != _READABLE
            for batch, stands in enumerate(state.channel)
        )
        wrong = _UNREADABLE if unreadable and looked else state.wrong
        return state._replace(applied=state.applied | batches, wrong=wrong)

    def _doubt(self, state: State) -> State:
        """The producer is thrown away; what it has open is aborted, with all of it that hangs."""
        aborts = state.step == _PRODUCED
        channel, wrong = state.channel, state.wrong
        for batch, own in enumerate(state.mine):
            if aborts and own and channel[batch] == _OPEN:
                channel = put(channel, batch, _ABSENT)
            elif aborts and own and channel[batch] == _HANGING:
                channel = put(channel, batch, _GONE)
                wrong = _AWAY if state.applied >> batch & 1 else wrong
        nothing = (False,) * self._scope.batches
        return state._replace(step=_LOST, channel=channel, mine=nothing, wrong=wrong)


def _name(state: State) -> str:
    return f"batch {state.batch + 1}"
