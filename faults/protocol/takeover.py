"""A worker's takeover in the model: the numbered steps of `saec.dispatch.takeover`.

Invariant: the steps stand in the order in which the code does them; a mutation changes one thing.
"""

from collections.abc import Iterator

from faults.protocol.parts import (
    Label,
    Step,
    abort,
    doubt,
    locked,
    slices_text,
    transaction,
    unanswered,
    unwaited,
)
from faults.protocol.scope import Scope
from faults.protocol.state import (
    BEGUN,
    ENDING,
    FENCED,
    IDLE,
    LOOKED,
    SENTINEL,
    TAKEN,
    Entry,
    Row,
    Seen,
    State,
    Taken,
    bits,
    put,
)

_INITIALISE = -1


class Takeover:
    """The steps of a takeover under some mutations."""

    def __init__(self, scope: Scope, mutations: frozenset[str]) -> None:
        self._scope = scope
        self._mutations = mutations
        self._remember = "owner-in-memory" in mutations

    def steps(self, state: State, who: int) -> Iterator[Step]:
        """What the worker may do next, when it is in a takeover."""
        after = {LOOKED: self._looked, TAKEN: self._taken, SENTINEL: self._settle}
        yield from after[state.workers[who].step](state, who)

    def wanted(self, state: State, who: int) -> int:
        """What is assigned and not owned."""
        worker = state.workers[who]
        return worker.assigned & ~sum(1 << at for at, owned in enumerate(worker.owned) if owned)

    def look(self, state: State, who: int) -> Step:
        """Step 2: owner and epoch. An owner of whom nothing can come any more needs no fencing."""
        seen = tuple(
            Seen(shard, self._to_fence(state, who, state.rows[shard].owner), row.epoch)
            for shard in bits(self.wanted(state, who))
            for row in [state.rows[shard]]
        )
        text = ", ".join(f"shard {one.shard} at epoch {one.epoch}" for one in seen)
        return (who, "takeover 2: look", text), self._at(state, who, LOOKED, seen)

    def _to_fence(self, state: State, who: int, owner: int) -> int:
        if owner in {0, who + 1} or "no-fence" in self._mutations:
            return 0
        if self._remember and owner != state.workers[who].previous:
            return 0
        dead = state.producers[owner - 1] == FENCED and "late-init" not in self._mutations
        return 0 if dead and not _unmarked(state, owner) else owner

    def _looked(self, state: State, who: int) -> Iterator[Step]:
        seen = state.workers[who].work
        owners = [one.owner for one in seen if one.owner]
        if owners and "cas-first" not in self._mutations:
            yield from self._fence(state, who, owners[0])
            return
        if locked(state, [one.shard for one in seen]):
            return
        yield from self._compare_and_set(state, who, seen)

    def _fence(self, state: State, who: int, owner: int) -> Iterator[Step]:
        """Step 3. What the coordinator has decided already it finishes before it answers."""
        if _unmarked(state, owner):
            return
        worker = state.workers[who]
        if worker.step == LOOKED:
            work = tuple(
                one._replace(owner=0) if one.owner == owner else one for one in worker.work
            )
        else:
            work = tuple(one._replace(todo=0) if one.todo == owner else one for one in worker.work)
        name = f"fence the owner that was seen ({_producer_text(owner)})"
        fenced = abort(state, owner)
        workers = put(fenced.workers, who, fenced.workers[who]._replace(work=work))
        yield (who, "takeover 3: fence", name), fenced._replace(workers=workers)

    def _compare_and_set(self, state: State, who: int, seen: tuple[Seen, ...]) -> Iterator[Step]:
        """Step 4."""
        early = "claims-dropped-early" in self._mutations
        rows, taken = [], []
        for one in seen:
            row = state.rows[one.shard]
            if row.epoch == one.epoch:
                claims = () if early else row.claims
                after = Row(who + 1, row.epoch + 1, row.batch_no, row.offset, claims)
                rows.append((one.shard, after))
                todo = _INITIALISE if "late-init" in self._mutations else one.owner
                taken.append(Taken(one.shard, after.epoch, row.batch_no, row.offset, todo))
        if not taken:
            label = (who, "takeover 4: compare_and_set", "somebody was faster")
            yield label, self._at(state, who, IDLE, ())
            return
        text = ", ".join(f"shard {one.shard} to epoch {one.epoch}" for one in taken)
        yield from self._stored(
            state, (who, "takeover 4: compare_and_set", text), tuple(rows), 0, tuple(taken)
        )

    def _stored(
        self,
        state: State,
        label: Label,
        rows: tuple[tuple[int, Row], ...],
        gone: int,
        taken: tuple[Taken, ...],
    ) -> Iterator[Step]:
        who = label[0]
        yield from transaction(
            state, label, rows, gone, lambda after: self._at(after, who, TAKEN, taken)
        )

    def _taken(self, state: State, who: int) -> Iterator[Step]:
        taken = state.workers[who].work
        if todo := next((one.todo for one in taken if one.todo), 0):
            if todo == _INITIALISE:
                ready = tuple(one._replace(todo=0) for one in taken)
                fresh = state._replace(producers=put(state.producers, who, 0))
                label = (who, "takeover 1, too late: init_transactions", "")
                yield label, self._at(fresh, who, TAKEN, ready)
            else:
                yield from self._fence(state, who, todo)
            return
        yield from self._sentinel(state, who, taken)

    def _sentinel(self, state: State, who: int, taken: tuple[Taken, ...]) -> Iterator[Step]:
        """Steps 5 and 6: where nothing is open, a sentinel in one Kafka transaction."""
        ready = tuple(
            one for one in taken if not any(entry.producer for entry in state.ledgers[one.shard])
        )
        if "no-sentinel" in self._mutations:
            yield (who, "takeover 5: settled", ""), self._at(state, who, SENTINEL, taken)
            return
        if not ready:
            label = (who, "takeover 5: settled", "a transaction is open: later")
            yield label, self._at(state, who, IDLE, ())
            return
        label = (who, "takeover 5, 6: settled, sentinel", "")
        if state.producers[who] & FENCED:
            yield (*label[:2], "fails: doubt"), doubt(state, who, remember=self._remember)
            return
        marker = -(who + 1) if self._scope.markers else 0
        yield label, self._at(self._written(state, who, ready, marker), who, SENTINEL, ready)
        if state.faults:
            lost = self._written(state, who, ready, who + 1)
            flags = put(lost.producers, who, BEGUN | ENDING)
            lost = lost._replace(producers=flags, faults=state.faults - 1)
            yield unanswered(label), doubt(lost, who, remember=self._remember)

    def _written(self, state: State, who: int, ready: tuple[Taken, ...], producer: int) -> State:
        ledgers = list(state.ledgers)
        for one in ready:
            entry = Entry(one.batch_no, one.epoch, 0, who + 1, producer)
            ledgers[one.shard] = (*ledgers[one.shard], entry)
        return state._replace(ledgers=tuple(ledgers))

    def _settle(self, state: State, who: int) -> Iterator[Step]:
        """Steps 7 and 8. Up to a committed sentinel the log never changes: read when settling."""
        taken = state.workers[who].work
        if locked(state, [one.shard for one in taken]):
            return
        logs = [self._log(state, who, one) for one in taken]
        if any(log is None for log in logs):
            return
        label = (who, "takeover 7, 8: read, settle", "")
        if not self._mine(state, who, taken):
            text = "not mine any more: doubt"
            yield (*label[:2], text), doubt(state, who, remember=self._remember)
            return
        for read in self._readings([log for log in logs if log is not None]):
            yield from self._resolved(state, who, taken, read)

    def _mine(self, state: State, who: int, taken: tuple[Taken, ...]) -> bool:
        if "no-conditions" in self._mutations:
            return True
        return all(state.rows[one.shard][:3] == (who + 1, one.epoch, one.batch_no) for one in taken)

    def _log(self, state: State, who: int, one: Taken) -> tuple[Entry, ...] | None:
        """The shard's records from its offset to the sentinel; None while readers do not see it."""
        ledger = state.ledgers[one.shard]
        if "no-sentinel" in self._mutations or "timeout-is-end" in self._mutations:
            seen = next((at for at, entry in enumerate(ledger) if entry.producer), len(ledger))
            return ledger[one.offset : max(seen, one.offset)]
        end = next(at for at, entry in enumerate(ledger) if entry.attempt == who + 1)
        if "any-sentinel" in self._mutations:
            end = next(
                at for at, entry in enumerate(ledger) if at >= one.offset and not entry.slices
            )
        read = ledger[one.offset : end + 1]
        return None if any(entry.producer for entry in ledger[: end + 1]) else read

    def _readings(self, logs: list[tuple[Entry, ...]]) -> list[list[tuple[Entry, ...]]]:
        """What the reader may make of the logs: all of it; what is late when it does not wait."""
        if not self._mutations & {"no-sentinel", "timeout-is-end"}:
            return [logs]
        most = max(len(log) for log in logs)
        return [[log[:length] for log in logs] for length in reversed(range(most + 1))]

    def _resolved(
        self, state: State, who: int, taken: tuple[Taken, ...], logs: list[tuple[Entry, ...]]
    ) -> Iterator[Step]:
        rows, gone, texts, after = [], 0, [], list(state.workers[who].owned)
        for one, log in zip(taken, logs, strict=True):
            last, slices, behind, why = self._resolve(one, log, state.pending)
            if why:
                label = (who, "takeover 7, 8: read, settle", f"{why}: halt")
                yield label, state._replace(wrong=f"a healthy shard halted: {why}")
                return
            claims = state.rows[one.shard].claims if "claims-kept" in self._mutations else ()
            row = state.rows[one.shard]
            rows.append((one.shard, Row(row.owner, row.epoch, last, one.offset + behind, claims)))
            after[one.shard] = (one.epoch, last)
            gone |= slices
            texts.append(f"shard {one.shard}: the ledger holds {slices_text(slices)}")
        yield from transaction(
            state,
            (who, "takeover 7, 8: read, settle", ", ".join(texts)),
            tuple(rows),
            gone,
            lambda done: self._owns(done, who, tuple(after)),
        )

    def _resolve(
        self, one: Taken, log: tuple[Entry, ...], pending: int
    ) -> tuple[int, int, int, str]:
        """`resolve`: last batch, slices to delete, records to go on behind; or what contradicts."""
        last, slices, behind = one.batch_no, 0, len(log)
        if "no-ledger" in self._mutations:
            return last, 0, behind, ""
        for entry in log:
            mine = entry.attempt and not entry.slices
            if not mine and entry.epoch >= one.epoch and "any-sentinel" not in self._mutations:
                return last, 0, 0, "the ledger is at a later epoch"
            if not entry.slices:
                if entry.number > last:
                    return last, 0, 0, "batches are missing"
                continue
            if entry.number != last + 1:
                return last, 0, 0, f"batch {entry.number} follows {last}"
            last = entry.number
            slices |= entry.slices
        if slices & ~pending:
            return last, 0, 0, "slices of a committed batch are missing"
        return last, slices, behind, ""

    def _owns(self, state: State, who: int, owned: tuple[object, ...]) -> State:
        worker = state.workers[who]._replace(step=IDLE, work=(), owned=owned)
        ledgers = unwaited(state, who)
        return state._replace(workers=put(state.workers, who, worker), ledgers=ledgers)

    def _at(self, state: State, who: int, step: int, work: tuple[object, ...]) -> State:
        worker = state.workers[who]._replace(step=step, work=work)
        ledgers = unwaited(state, who) if step == IDLE else state.ledgers
        return state._replace(workers=put(state.workers, who, worker), ledgers=ledgers)


def _unmarked(state: State, owner: int) -> bool:
    return any(entry.producer == -owner for ledger in state.ledgers for entry in ledger)


def _producer_text(name: int) -> str:
    return f"the producer of {'AB'[name - 1]}" if name < 3 else "a producer thrown away"
