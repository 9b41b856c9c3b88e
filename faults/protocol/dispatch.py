"""The dispatch model as a whole: workers, cancels, late requests, the group, and the faults.

Invariant: `free` holds everything that needs no fault to happen; where it is empty, all is quiet.
"""

from collections.abc import Iterator

from faults.protocol.canonical import canonical
from faults.protocol.membership import Membership
from faults.protocol.parts import NOBODY, Step, abort, commit, doubt, locked, slices_text, store
from faults.protocol.round import Round
from faults.protocol.scope import Scope, first_state
from faults.protocol.state import (
    BEGUN,
    ENDING,
    IDLE,
    LOOKED,
    State,
    bits,
    put,
)
from faults.protocol.takeover import Takeover


class Dispatch:
    """The model within a scope, with mutations by name."""

    def __init__(self, scope: Scope, mutations: frozenset[str] = frozenset()) -> None:
        self.first = first_state(scope)
        self._scope = scope
        self._mutations = mutations
        self._round = Round(scope, mutations)
        self._membership = Membership(scope, mutations, self._round)
        self._takeover = Takeover(scope, mutations)
        self._slices = (1 << len(scope.slices)) - 1

    @staticmethod
    def canonical(state: State) -> State:
        """The one state that stands for all that differ in names only."""
        return canonical(state)

    def free(self, state: State) -> Iterator[Step]:
        """What happens sooner or later: every step of a worker, and what the parts do."""
        for who in (0, 1):
            yield from self._works(state, who)
        for request in range(len(self._scope.requests)):
            yield from self._cancel(state, request)
        for place in bits(state.late):
            stored = state._replace(
                late=state.late & ~(1 << place), pending=state.pending | 1 << place
            )
            yield (NOBODY, "ingest", f"{slices_text(1 << place)} is stored, due already"), stored
        yield from self._assign(state)
        yield from self._postgres(state)
        yield from self._kafka(state)

    def faults(self, state: State) -> Iterator[Step]:
        """What may go wrong while the budget lasts; unanswered commits are in `free`."""
        if not state.faults:
            return
        less = state._replace(faults=state.faults - 1)
        for who in (0, 1):
            worker = state.workers[who]
            if worker.step != IDLE or any(worker.owned) or worker.finished:
                yield (who, "crash", ""), self._freed(doubt(less, who, crash=True), who)
            if who + 1 in state.group:
                group = tuple(2 - who if member == who + 1 else member for member in state.group)
                yield (who, "session expires", "unnoticed"), less._replace(group=group)
            if state.producers[who] & BEGUN:
                label = (who, "transaction time-out", "Kafka aborts, unnoticed")
                yield label, abort(less, who + 1)
            yield from self._membership.revoke(state, who)
            if worker.step == IDLE and self._takeover.wanted(state, who) and _stale(state, who):
                yield self._takeover.look(less, who)

    def quiet(self, state: State) -> str:
        """What is wrong with a state in which nothing happens any more; empty when all is well."""
        refused = self._scope.refused & ~state.stopped
        if lost := self._slices & ~state.sent & ~state.stopped & ~refused:
            return f"{slices_text(lost)} never sent, and nothing happens any more"
        if late := state.promised & ~state.sent & ~refused:
            return f"{slices_text(late)} answered TOO_LATE, and never sent"
        if state.pending != refused or any(row.claims for row in state.rows):
            return "PostgreSQL and the ledger disagree when all is quiet"
        return ""

    def _works(self, state: State, who: int) -> Iterator[Step]:
        yield from self._membership.poll(state, who)
        worker = state.workers[who]
        if worker.step >= LOOKED:
            yield from self._takeover.steps(state, who)
            return
        wanted = self._takeover.wanted(state, who)
        if worker.step == IDLE and wanted and not _stale(state, who):
            yield self._takeover.look(state, who)
        if worker.step != IDLE or not wanted or self._scope.markers:
            yield from self._round.steps(state, who)

    @staticmethod
    def _freed(state: State, who: int) -> State:
        """The group notices, sooner or later, that a member is gone."""
        group = tuple(0 if member == who + 1 else member for member in state.group)
        return state._replace(group=group)

    def _assign(self, state: State) -> Iterator[Step]:
        """The group gives away what nobody has: all to one worker, or to both."""
        homeless = [shard for shard, member in enumerate(state.group) if not member]
        if not homeless:
            return
        for choice in range(1 << len(homeless)):
            group = state.group
            for at, shard in enumerate(homeless):
                group = put(group, shard, 1 + (choice >> at & 1))
            text = ", ".join(f"shard {s} to {'AB'[group[s] - 1]}" for s in homeless)
            yield (NOBODY, "group assigns", text), state._replace(group=group)

    def _postgres(self, state: State) -> Iterator[Step]:
        for at, one in enumerate(state.hanging):
            rest = state._replace(hanging=state.hanging[:at] + state.hanging[at + 1 :])
            done = store(rest, one.rows, one.gone)
            yield (NOBODY, "PostgreSQL", "the unanswered commit is done"), done
            yield (NOBODY, "PostgreSQL", "the unanswered commit is rolled back"), rest

    def _kafka(self, state: State) -> Iterator[Step]:
        for name in range(3, 1 + len(state.producers)):
            flags = state.producers[name - 1]
            if flags & ENDING:
                done = commit(state, name, markers=self._scope.markers)
                yield (NOBODY, "Kafka", "the unanswered commit is done"), done
            if flags & BEGUN:
                text = "the transaction that was left open is aborted"
                yield (NOBODY, "Kafka", text), abort(state, name)
        if self._scope.markers:
            yield from self._markers(state)

    def _markers(self, state: State) -> Iterator[Step]:
        """A commit that is decided reaches one partition after the other."""
        for shard, ledger in enumerate(state.ledgers):
            for name in {entry.producer for entry in ledger if entry.producer < 0}:
                seen = tuple(
                    entry._replace(producer=0) if entry.producer == name else entry
                    for entry in ledger
                )
                ledgers = put(state.ledgers, shard, seen)
                text = f"a commit becomes visible in the ledger of shard {shard}"
                yield (NOBODY, "Kafka", text), state._replace(ledgers=ledgers)

    # Cancels

    def _cancel(self, state: State, request: int) -> Iterator[Step]:
        slices = self._scope.requests[request]
        shard = self._scope.slices[bits(slices)[0]]
        if slices & state.late:
            return
        if "cancel-no-lock" in self._mutations:
            yield from self._cancel_unlocked(state, request, shard)
            return
        free = self._stoppable(state, shard, slices)
        again = state.cancels[request] and "cancel-decides-again" in self._mutations and free
        if (not state.cancels[request] or again) and not locked(state, [shard]):
            yield self._stopped(state, request, free)

    def _stoppable(self, state: State, shard: int, slices: int) -> int:
        """The slices that no claim row names."""
        free = slices & state.pending
        if "cancel-ignores-claims" not in self._mutations:
            for _, claimed in state.rows[shard].claims:
                free &= ~claimed
        return free

    def _cancel_unlocked(self, state: State, request: int, shard: int) -> Iterator[Step]:
        slices = self._scope.requests[request]
        if state.look >> 8 == request and state.look:
            free = (state.look & 127) & state.pending
            yield self._stopped(state._replace(look=0), request, free)
        elif not state.look and not state.cancels[request]:
            free = self._stoppable(state, shard, slices)
            label = (NOBODY, "cancel", f"looks, without a lock: {slices_text(free)} not claimed")
            yield label, state._replace(look=request << 8 | 128 | free)

    def _stopped(self, state: State, request: int, free: int) -> Step:
        slices = self._scope.requests[request]
        wrong = state.wrong
        if free & state.sent:
            wrong = f"{slices_text(free & state.sent)} answered CANCELLED, but sent"
        elif free & state.promised:
            wrong = f"{slices_text(free & state.promised)} answered TOO_LATE, then CANCELLED"
        answer = "CANCELLED" if free else "TOO_LATE"
        text = f"{answer}: stops {slices_text(free)} of {slices_text(slices)}"
        return (NOBODY, "cancel", text), state._replace(
            pending=state.pending & ~free,
            stopped=state.stopped | free,
            promised=state.promised | (slices & ~free),
            cancels=put(state.cancels, request, 1 if free else 2),
            wrong=wrong,
        )


def _stale(state: State, who: int) -> bool:
    """The group gave some of this worker's shards away, and it has not heard of it."""
    return any(state.group[shard] != who + 1 for shard in bits(state.workers[who].assigned))
