"""A worker's round in the model: `saec.dispatch.round`, claim, read and emit.

Invariant: one step here is one transaction of PostgreSQL or one call to Kafka there; between two
steps anything else may happen.
"""

from collections.abc import Iterator

from faults.protocol.parts import (
    Label,
    Step,
    commit,
    doubt,
    hung,
    locked,
    slices_text,
    transaction,
    unanswered,
)
from faults.protocol.scope import Scope
from faults.protocol.state import (
    BEGUN,
    CLAIMED,
    DROPPED,
    ENDING,
    FENCED,
    IDLE,
    OPEN,
    READ,
    Batch,
    Entry,
    Row,
    State,
    Worker,
    bits,
    put,
)

_HALT = "a healthy shard halted: "


class Round:
    """The steps of a round under some mutations."""

    def __init__(self, scope: Scope, mutations: frozenset[str]) -> None:
        self._scope = scope
        self._mutations = mutations
        self._remember = "owner-in-memory" in mutations
        self._of_shard = [
            sum(1 << at for at, home in enumerate(scope.slices) if home == shard)
            for shard in range(scope.shards)
        ]

    def steps(self, state: State, who: int) -> Iterator[Step]:
        """What the worker may do next, when it is in a round."""
        after = {IDLE: self._claim, CLAIMED: self._read, READ: self._begin, OPEN: self._commit}
        yield from after[state.workers[who].step](state, who)
        if self._scope.overlap and state.workers[who].step in (READ, OPEN):
            yield from self._ahead(state, who)

    def mine(self, state: State, who: int, shards: list[int]) -> bool:
        """Owner, epoch and batch number as the worker knows them."""
        if "no-conditions" in self._mutations:
            return True
        owned = state.workers[who].owned
        return all(
            state.rows[shard][:3] == (who + 1, owned[shard][0], owned[shard][1]) for shard in shards
        )

    # Claim

    def _claim(self, state: State, who: int) -> Iterator[Step]:
        worker = state.workers[who]
        shards = [at for at, owned in enumerate(worker.owned) if owned and owned != DROPPED]
        if not shards or locked(state, shards):
            return
        if not self.mine(state, who, shards):
            yield (who, "claim_due", "not mine any more: doubt"), self._lost(state, who, shards)
            return
        settled = self.settle(state, who, worker.finished)
        if isinstance(settled, str):
            yield from self.contradiction(state, (who, "claim_due", settled))
            return
        rows, gone = settled
        batches = self._choose(state, who, shards, rows, gone)
        if not batches and not worker.finished:
            return
        rows = self._claimed(state, rows, batches)
        label = (who, "claim_due", _claim_text(worker.finished, batches))
        retried = "claim-retried" in self._mutations
        if retried and state.faults:
            again = hung(state, tuple(rows.items()), gone)
            yield (who, "claim_due", f"{label[2]}; its commit is not answered: try again"), again
        for step in transaction(
            state,
            label,
            tuple(rows.items()),
            gone,
            lambda after: self._believe(after, who, rows, batches),
        ):
            if not (retried and step[0] != label):
                yield step

    def _lost(self, state: State, who: int, shards: list[int]) -> State:
        if "dropped-shard" in self._mutations:
            lost = sum(1 << shard for shard in shards if not self.mine(state, who, [shard]))
            kept = self.dropped(state.workers[who], lost)
            # It counts as taken over: nobody takes it again while the group does not move it.
            owned = tuple(
                DROPPED if lost >> shard & 1 else own for shard, own in enumerate(kept.owned)
            )
            workers = put(state.workers, who, kept._replace(owned=owned))
            return state._replace(workers=workers)
        return self.doubt(state, who)

    def doubt(self, state: State, who: int) -> State:
        return doubt(state, who, remember=self._remember)

    def contradiction(self, state: State, label: Label) -> Iterator[Step]:
        """What cannot be: a batch of mine without its claim is doubt, the rest a halt."""
        who, _, why = label
        if why.startswith("no claim"):
            yield (*label[:2], f"{why}: doubt"), self.doubt(state, who)
        else:
            yield (*label[:2], f"{why}: halt"), state._replace(wrong=_HALT + why)

    def settle(
        self, state: State, who: int, finished: tuple[Batch, ...]
    ) -> tuple[dict[int, Row], int] | str:
        """`settle`: delete what was dispatched, advance, delete the claims; or why it cannot be."""
        rows: dict[int, Row] = {}
        gone = 0
        if "last-only" in self._mutations:
            finished = tuple({batch.shard: batch for batch in finished}.values())
        for batch in finished:
            row = rows.get(batch.shard, state.rows[batch.shard])
            before = rows[batch.shard].batch_no if batch.shard in rows else None
            if before is None:
                before = state.workers[who].owned[batch.shard][1]
            if batch.slices & ~(state.pending & ~gone):
                return "slices of a committed batch are missing"
            if batch.number != before + 1 and "last-only" not in self._mutations:
                return f"batch {batch.number} follows {before}"
            claims = tuple(claim for claim in row.claims if claim[0] != batch.number)
            if claims == row.claims:
                return "no claim of a committed batch of mine is there"
            gone |= batch.slices
            rows[batch.shard] = Row(row.owner, row.epoch, batch.number, batch.next_offset, claims)
        return rows, gone

    def _choose(
        self, state: State, who: int, shards: list[int], rows: dict[int, Row], gone: int
    ) -> tuple[Batch, ...]:
        """The next due slices that no claim names, in order, up to a batch."""
        worker = state.workers[who]
        free = state.pending & ~gone & ~worker.apart
        most = min(worker.most or self._scope.batch, self._scope.batch)
        there = 0
        for shard in shards:
            there |= self._of_shard[shard]
            for _, slices in rows.get(shard, state.rows[shard]).claims:
                free &= ~slices
        chosen = sum(1 << at for at in bits(free & there)[:most])
        batches = []
        for shard in shards:
            if part := chosen & self._of_shard[shard]:
                row = rows.get(shard, state.rows[shard])
                before = row.batch_no if shard in rows else state.workers[who].owned[shard][1]
                numbers = [] if "batch-numbers" in self._mutations else [n for n, _ in row.claims]
                batches.append(Batch(shard, 1 + max([before, *numbers]), part))
        return tuple(batches)

    def _claimed(
        self, state: State, rows: dict[int, Row], batches: tuple[Batch, ...]
    ) -> dict[int, Row]:
        rows = dict(rows)
        for batch in batches:
            row = rows.get(batch.shard, state.rows[batch.shard])
            claims = tuple(sorted((*row.claims, (batch.number, batch.slices))))
            rows[batch.shard] = row._replace(claims=claims)
        return rows

    def _believe(
        self, state: State, who: int, rows: dict[int, Row], batches: tuple[Batch, ...]
    ) -> State:
        worker = state.workers[who]
        owned = list(worker.owned)
        for batch in worker.finished:
            owned[batch.shard] = (owned[batch.shard][0], rows[batch.shard].batch_no)
        worker = worker._replace(owned=tuple(owned), finished=())
        if worker.step != IDLE:
            worker = worker._replace(ahead=(0, batches) if batches else ())
        elif batches:
            worker = worker._replace(step=CLAIMED, work=batches)
        return state._replace(workers=put(state.workers, who, worker))

    # Read and emit

    def _read(self, state: State, who: int) -> Iterator[Step]:
        worker = state.workers[who]
        label, after = self._look_at(state, who, worker.work)
        if after is None:
            after = state._replace(workers=put(state.workers, who, worker._replace(step=READ)))
        yield label, after

    def _look_at(
        self, state: State, who: int, batches: tuple[Batch, ...]
    ) -> tuple[Label, State | None]:
        """`read_claimed`: None when all is as it was claimed."""
        if not self.mine(state, who, [batch.shard for batch in batches]):
            return (who, "read_claimed", "not mine any more: doubt"), self.doubt(state, who)
        for batch in batches:
            if batch.slices & ~state.pending:
                why = "claimed slices are gone"
                return (who, "read_claimed", why), state._replace(wrong=_HALT + why)
        return (who, "read_claimed, compose", _batches_text(batches)), None

    def _begin(self, state: State, who: int) -> Iterator[Step]:
        """`emit` up to the last produce. A fenced producer hears of it at the commit."""
        worker = state.workers[who]
        opened = state._replace(workers=put(state.workers, who, worker._replace(step=OPEN)))
        label = (who, "emit: begin, produce", _batches_text(worker.work))
        if state.producers[who] & FENCED:
            yield label, opened
            return
        ledgers = list(state.ledgers)
        for batch in worker.work:
            epoch = worker.owned[batch.shard][0]
            entry = Entry(batch.number, epoch, batch.slices, 0, who + 1)
            ledgers[batch.shard] = (*ledgers[batch.shard], entry)
        yield (
            label,
            opened._replace(ledgers=tuple(ledgers), producers=put(state.producers, who, BEGUN)),
        )

    def _commit(self, state: State, who: int) -> Iterator[Step]:
        worker = state.workers[who]
        if not state.producers[who] & BEGUN:
            if "commit-error-success" in self._mutations:
                yield (who, "emit: commit", "fails, taken for done"), self._emitted(state, who)
            else:
                yield (who, "emit: commit", "fails: doubt"), self.doubt(state, who)
            return
        if any(batch.slices & self._scope.refused for batch in worker.work):
            yield self._refused(state, who)
            return
        committed = commit(state, who + 1, markers=self._scope.markers)
        label = (who, "emit: commit", _batches_text(worker.work))
        yield label, self._emitted(committed, who)
        if state.faults and "commit-error-abort" in self._mutations:
            lost = committed._replace(faults=state.faults - 1)
            yield (
                (who, "emit: commit", f"{label[2]}; done but not answered, taken for aborted"),
                self._given_up(lost, who),
            )
        elif state.faults:
            ending = put(state.producers, who, state.producers[who] | ENDING)
            lost = state._replace(producers=ending, faults=state.faults - 1)
            yield unanswered(label), self.doubt(lost, who)

    def _refused(self, state: State, who: int) -> Step:
        """`Refusals`: half as many next time; what was refused alone is set apart."""
        worker = state.workers[who]
        slices = sum(batch.slices for batch in worker.work)
        most, apart = slices.bit_count() // 2, worker.apart
        if not most and "refused-again" not in self._mutations:
            apart |= slices
        told = worker._replace(most=most, apart=apart)
        after = self.doubt(state._replace(workers=put(state.workers, who, told)), who)
        what = "alone: set apart, doubt" if not most else "doubt, and half as many next time"
        return (who, "emit: commit", f"{slices_text(slices)} refused {what}"), after

    def _emitted(self, state: State, who: int) -> State:
        worker = state.workers[who]
        finished = tuple(batch._replace(next_offset=_behind(state, batch)) for batch in worker.work)
        was_read, ahead = worker.ahead or (0, ())
        after = worker._replace(
            step=(READ if was_read else CLAIMED) if ahead else IDLE,
            finished=worker.finished + finished,
            work=ahead,
            ahead=(),
            most=0,
        )
        return state._replace(workers=put(state.workers, who, after))

    def _given_up(self, state: State, who: int) -> State:
        worker = state.workers[who]
        names = {(batch.shard, batch.number) for batch in worker.work}
        rows = tuple(
            row._replace(claims=tuple(c for c in row.claims if (shard, c[0]) not in names))
            for shard, row in enumerate(state.rows)
        )
        dropped = worker._replace(step=IDLE, work=(), ahead=())
        return state._replace(rows=rows, workers=put(state.workers, who, dropped))

    def _ahead(self, state: State, who: int) -> Iterator[Step]:
        """Overlapped: while a batch is in Kafka the next one is claimed and read."""
        worker = state.workers[who]
        if not worker.ahead:
            yield from self._claim(state, who)
        elif not worker.ahead[0]:
            label, after = self._look_at(state, who, worker.ahead[1])
            if after is None:
                read = worker._replace(ahead=(1, worker.ahead[1]))
                after = state._replace(workers=put(state.workers, who, read))
            yield label, after

    @staticmethod
    def dropped(worker: Worker, lost: int) -> Worker:
        """`_Belief.drop`: forget these shards, with what is still to be applied to them."""
        return worker._replace(
            owned=tuple(() if lost >> at & 1 else owned for at, owned in enumerate(worker.owned)),
            finished=tuple(batch for batch in worker.finished if not lost >> batch.shard & 1),
        )


def _behind(state: State, batch: Batch) -> int:
    """The offset behind a batch's record in its ledger."""
    ledger = state.ledgers[batch.shard]
    for at in reversed(range(len(ledger))):
        if ledger[at].slices and ledger[at].number == batch.number:
            return at + 1
    return len(ledger)


def _batches_text(batches: tuple[Batch, ...]) -> str:
    return ", ".join(
        f"shard {batch.shard} batch {batch.number}: {slices_text(batch.slices)}"
        for batch in batches
    )


def _claim_text(finished: tuple[Batch, ...], batches: tuple[Batch, ...]) -> str:
    parts = [f"apply {_batches_text(finished)}"] if finished else []
    parts += [f"claim {_batches_text(batches)}"] if batches else []
    return "; ".join(parts)
