"""Finds the one state that stands for many: symmetry, which keeps the model small enough.

Invariant: what is left out cannot make a difference. Workers are alike, so their names may be
exchanged; producers thrown away have no names of their own; of epochs, batch numbers and offsets
only the differences to the shard's row count; ledger records that nobody can read any more and
epochs that have passed look alike.
"""

from collections.abc import Iterator
from typing import Any

from faults.protocol.state import (
    DROPPED,
    LOOKED,
    OPEN,
    TAKEN,
    Batch,
    Entry,
    Hanging,
    Row,
    Seen,
    State,
    Taken,
    Worker,
    put,
)


def canonical(state: State) -> State:
    """The one state that stands for all that differ in names and beginnings only."""
    for shard in range(len(state.rows)):
        state = _rebased(state, shard)
    state = _aged(state)
    if len(state.producers) > 2:
        state = _collected(state)
    first, second = state.workers
    return _swapped(state) if second < first else state


def without(state: State, shard: int, at: int) -> State:
    """Take the record at an offset out of a ledger: it was aborted. What follows moves up."""
    ledger = state.ledgers[shard]
    state = state._replace(ledgers=put(state.ledgers, shard, ledger[:at] + ledger[at + 1 :]))
    return _moved(state, shard, 0, 0, lambda offset: offset - (offset > at))


def _rebased(state: State, shard: int) -> State:
    """Count this shard's epochs and batches from its row, its offsets from what may be read."""
    row = state.rows[shard]
    trim = _unreadable(state, shard) if state.ledgers[shard] else 0
    if not (row.epoch or row.batch_no or trim):
        return state
    if trim:
        state = state._replace(ledgers=put(state.ledgers, shard, state.ledgers[shard][trim:]))
    return _moved(state, shard, row.epoch, row.batch_no, lambda offset: offset - trim)


def _aged(state: State) -> State:
    """Count every epoch that has passed as -1: nothing asks how long ago it was."""
    workers = tuple(map(_worker_aged, state.workers))
    ledgers = tuple(
        tuple(entry if entry.epoch >= -1 else entry._replace(epoch=-1) for entry in ledger)
        for ledger in state.ledgers
    )
    if workers == state.workers and ledgers == state.ledgers:
        return state
    return state._replace(workers=workers, ledgers=ledgers)


def _worker_aged(worker: Worker) -> Worker:
    work = worker.work
    if worker.step >= LOOKED and any(item.epoch < -1 for item in work):
        work = tuple(item._replace(epoch=max(item.epoch, -1)) for item in work)
    owned = worker.owned
    if any(own and own != DROPPED and own[0] < -1 for own in owned):
        owned = tuple(own if own in ((), DROPPED) else (max(own[0], -1), own[1]) for own in owned)
    if work is worker.work and owned is worker.owned:
        return worker
    return worker._replace(work=work, owned=owned)


def _unreadable(state: State, shard: int) -> int:
    """How many records of a ledger stand before everything that a reader may start from."""
    least = min(_starts(state, shard))
    read = state.ledgers[shard][:least]
    return next((at for at, entry in enumerate(read) if entry.producer), least)


def _starts(state: State, shard: int) -> Iterator[int]:
    """The offsets of a shard's ledger that somebody keeps in mind."""
    yield state.rows[shard].offset
    for hanging in state.hanging:
        yield from (row.offset for place, row in hanging.rows if place == shard)
    for worker in state.workers:
        yield from (batch.next_offset for batch in worker.finished if batch.shard == shard)
        if worker.step >= TAKEN:
            yield from (taken.offset for taken in worker.work if taken.shard == shard)


def _moved(state: State, shard: int, epoch: int, number: int, offset: Any) -> State:
    """Take `epoch` and `number` off everything that counts them for a shard; map its offsets."""

    def row_moved(row: Row) -> Row:
        claims = tuple((claim - number, slices) for claim, slices in row.claims)
        place = offset(row.offset)
        return Row(row.owner, row.epoch - epoch, row.batch_no - number, place, claims)

    def hanging_moved(one: Hanging) -> Hanging:
        rows = tuple((at, row_moved(row) if at == shard else row) for at, row in one.rows)
        return Hanging(rows, one.gone)

    ledgers = state.ledgers
    if epoch or number:
        moved = tuple(
            Entry(entry.number - number, entry.epoch - epoch, *entry[2:])
            for entry in ledgers[shard]
        )
        ledgers = put(ledgers, shard, moved)
    return state._replace(
        workers=tuple(
            _worker_moved(worker, shard, epoch, number, offset) for worker in state.workers
        ),
        rows=put(state.rows, shard, row_moved(state.rows[shard])),
        ledgers=ledgers,
        hanging=tuple(hanging_moved(one) for one in state.hanging) if state.hanging else (),
    )


def _worker_moved(worker: Worker, shard: int, epoch: int, number: int, offset: Any) -> Worker:
    def batch_moved(batch: Batch) -> Batch:
        if batch.shard != shard:
            return batch
        place = offset(batch.next_offset) if batch.next_offset else 0
        return Batch(shard, batch.number - number, batch.slices, place)

    def work_moved(item: Any) -> Any:
        if item.shard != shard:
            return item
        if worker.step == LOOKED:
            return Seen(shard, item.owner, item.epoch - epoch)
        place = offset(item.offset)
        return Taken(shard, item.epoch - epoch, item.batch_no - number, place, item.todo)

    owned = worker.owned
    if owned[shard] and owned[shard] != DROPPED:
        owned = put(owned, shard, (owned[shard][0] - epoch, owned[shard][1] - number))
    move = batch_moved if worker.step <= OPEN else work_moved
    ahead = worker.ahead
    if ahead:
        ahead = (ahead[0], tuple(batch_moved(batch) for batch in ahead[1]))
    return Worker(
        worker.step,
        worker.assigned,
        owned,
        tuple(batch_moved(batch) for batch in worker.finished),
        tuple(move(item) for item in worker.work),
        ahead,
        worker.previous,
        worker.apart,
        worker.most,
    )


def renamed(state: State, names: dict[int, int]) -> State:
    """Rename producers wherever a state names them (not their own places in `producers`)."""
    name = names.get

    def row_renamed(row: Row) -> Row:
        return row._replace(owner=name(row.owner, row.owner)) if row.owner in names else row

    def entry_renamed(entry: Entry) -> Entry:
        producer = entry.producer
        new = name(producer, producer) if producer >= 0 else -name(-producer, -producer)
        return entry._replace(producer=new) if new != producer else entry

    def worker_renamed(worker: Worker) -> Worker:
        if worker.step == LOOKED:
            work = tuple(seen._replace(owner=name(seen.owner, seen.owner)) for seen in worker.work)
            worker = worker._replace(work=work)
        elif worker.step == TAKEN:
            work = tuple(taken._replace(todo=name(taken.todo, taken.todo)) for taken in worker.work)
            worker = worker._replace(work=work)
        if worker.previous in names:
            worker = worker._replace(previous=names[worker.previous])
        return worker

    return state._replace(
        workers=tuple(map(worker_renamed, state.workers)),
        rows=tuple(map(row_renamed, state.rows)),
        ledgers=tuple(tuple(map(entry_renamed, ledger)) for ledger in state.ledgers),
        hanging=tuple(
            Hanging(tuple((at, row_renamed(row)) for at, row in one.rows), one.gone)
            for one in state.hanging
        ),
    )


def named(state: State) -> list[int]:
    """The producers that something still names, in the order in which it does."""
    found = [row.owner for row in state.rows]
    found += [row.owner for one in state.hanging for _, row in one.rows]
    found += [abs(entry.producer) for ledger in state.ledgers for entry in ledger]
    for worker in state.workers:
        if worker.step == LOOKED:
            found += [seen.owner for seen in worker.work]
        elif worker.step == TAKEN:
            found += [taken.todo for taken in worker.work]
        found.append(worker.previous)
    return found


def _collected(state: State) -> State:
    """Forget the producers that nothing names, and number the rest in the order of mention."""
    old = list(dict.fromkeys(name for name in named(state) if name > 2))
    names = {name: 3 + place for place, name in enumerate(old)}
    producers = state.producers[:2] + tuple(state.producers[name - 1] for name in old)
    if any(name != new for name, new in names.items()):
        state = renamed(state, names)
    return state._replace(producers=producers) if producers != state.producers else state


def _swapped(state: State) -> State:
    """The same with the two workers' names exchanged; nothing depends on their names."""
    other = (0, 2, 1)
    ledgers = tuple(
        tuple(
            entry._replace(attempt=other[entry.attempt]) if entry.attempt else entry
            for entry in ledger
        )
        for ledger in state.ledgers
    )
    first, second, *old = state.producers
    state = renamed(state._replace(ledgers=ledgers), {1: 2, 2: 1})
    return state._replace(
        workers=(state.workers[1], state.workers[0]),
        producers=(second, first, *old),
        group=tuple(other[member] for member in state.group),
    )
