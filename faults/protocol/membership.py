"""What the group does to a worker in the model: `saec.kafka.membership`, `_on_revoked`, `_on_lost`.

Invariant: a worker hears of the group only in a poll, between two rounds; it may be late.
"""

from collections.abc import Iterator

from faults.protocol.parts import Step, hung, locked, store, unanswered
from faults.protocol.round import Round
from faults.protocol.scope import Scope
from faults.protocol.state import CLAIMED, IDLE, OPEN, READ, Row, State, Worker, bits, put


class Membership:
    """The group's side of a worker, under some mutations."""

    def __init__(self, scope: Scope, mutations: frozenset[str], rounds: Round) -> None:
        self._scope = scope
        self._mutations = mutations
        self._round = rounds

    def revoke(self, state: State, who: int) -> Iterator[Step]:
        """`_on_revoked`, called by a poll, which is between two rounds."""
        worker = state.workers[who]
        if not worker.assigned or not self._may_revoke(worker):
            return
        for shards in self._revocable(worker):
            yield from self._release(state, who, shards)

    def _may_revoke(self, worker: Worker) -> bool:
        if worker.step == IDLE:
            return True
        if self._scope.overlap and worker.step in (CLAIMED, READ):
            return True
        return "release-early" in self._mutations and worker.step in (READ, OPEN)

    def _revocable(self, worker: Worker) -> list[int]:
        """Masks: all shards of a worker are revoked at once; overlapped, also one of several."""
        every = worker.assigned
        single = [1 << shard for shard in bits(every)] if self._scope.overlap else []
        return [every, *(mask for mask in single if mask != every)]

    def _release(self, state: State, who: int, revoked: int) -> Iterator[Step]:
        worker = state.workers[who]
        state = state._replace(faults=state.faults - 1)
        shards = [shard for shard in bits(revoked) if worker.owned[shard]]
        if locked(state, shards):
            return
        label = (who, "_on_revoked", "applied and released")
        if not self._round.mine(state, who, shards):
            yield (
                (who, "_on_revoked", "not mine any more: doubt"),
                self._unassigned(self._round.doubt(state, who), who, revoked),
            )
            return
        settled = self._round.settle(
            state, who, tuple(batch for batch in worker.finished if batch.shard in shards)
        )
        if isinstance(settled, str):
            yield from self._round.contradiction(state, (who, "_on_revoked", settled))
            return
        rows = {**{shard: state.rows[shard] for shard in shards}, **settled[0]}
        rows = {shard: row._replace(owner=0) for shard, row in rows.items()}
        if worker.step != IDLE and "release-early" not in self._mutations:
            rows |= self._kept_claims(state, worker, revoked)
        freed, gone = tuple(rows.items()), settled[1]
        done = self._unassigned(store(state, freed, gone), who, revoked)
        yield label, self._forgotten(done, who, revoked)
        if state.faults and shards:
            lost = self._unassigned(hung(state, freed, gone), who, revoked)
            yield unanswered(label), self._round.doubt(lost, who)

    def _kept_claims(self, state: State, worker: Worker, revoked: int) -> dict[int, Row]:
        """The half built batch is dropped: give up its claims in the shards that are kept."""
        if "claims-not-given-up" in self._mutations:
            return {}
        rows: dict[int, Row] = {}
        for batch in (*worker.work, *(worker.ahead[1] if worker.ahead else ())):
            if not revoked >> batch.shard & 1:
                row = rows.get(batch.shard, state.rows[batch.shard])
                claims = tuple(claim for claim in row.claims if claim[0] != batch.number)
                rows[batch.shard] = row._replace(claims=claims)
        return rows

    def _unassigned(self, state: State, who: int, revoked: int) -> State:
        worker = state.workers[who]
        group = tuple(
            0 if revoked >> shard & 1 else member for shard, member in enumerate(state.group)
        )
        after = worker._replace(assigned=worker.assigned & ~revoked)
        return state._replace(group=group, workers=put(state.workers, who, after))

    def _forgotten(self, state: State, who: int, revoked: int) -> State:
        worker = state.workers[who]
        if worker.step != IDLE and "release-early" in self._mutations:
            return state  # it goes on with the batch that it is building
        worker = self._round.dropped(worker, revoked)._replace(step=IDLE, work=(), ahead=())
        return state._replace(workers=put(state.workers, who, worker))

    def poll(self, state: State, who: int) -> Iterator[Step]:
        """`membership.poll`: learn what the group has decided. It may come late: a zombie."""
        worker = state.workers[who]
        now = sum(1 << shard for shard, member in enumerate(state.group) if member == who + 1)
        if worker.step == IDLE and now != worker.assigned:
            after = self._round.dropped(worker, worker.assigned & ~now)._replace(assigned=now)
            text = f"assigned {_shards_text(now)}"
            yield (
                (who, "membership.poll", text),
                state._replace(workers=put(state.workers, who, after)),
            )


def _shards_text(mask: int) -> str:
    return ", ".join(f"shard {shard}" for shard in bits(mask)) or "nothing"
