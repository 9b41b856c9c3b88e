"""What Kafka and PostgreSQL do in the model: transactions, locks, fencing, and a worker's doubt.

Invariant: a message counts as sent when its Kafka transaction is committed, and `wrong` is set as
soon as a promise is broken.
"""

from collections.abc import Callable, Collection, Iterator

from faults.protocol.canonical import named, renamed, without
from faults.protocol.state import (
    BEGUN,
    ENDING,
    FENCED,
    IDLE,
    Entry,
    Hanging,
    Row,
    State,
    Worker,
    bits,
    put,
)

Rows = tuple[tuple[int, Row], ...]
Label = tuple[int, str, str]  # worker (or -1), step as the code names it, what came of it
Step = tuple[Label, State]

NOBODY = -1


def slices_text(mask: int) -> str:
    """Slices as a person reads them: a, b, c."""
    return "+".join("abcdefgh"[place] for place in bits(mask)) or "nothing"


def locked(state: State, shards: Collection[int]) -> bool:
    """True when a transaction whose COMMIT hangs holds the row of one of these shards."""
    return any(at in shards for hanging in state.hanging for at, _ in hanging.rows)


def store(state: State, rows: Rows, gone: int) -> State:
    """Commit in PostgreSQL: shard rows with their claims, and slices deleted as dispatched."""
    wrong = state.wrong
    if gone & ~state.sent:
        wrong = f"{slices_text(gone & ~state.sent)} deleted as dispatched, and never sent"
    changed = list(state.rows)
    for shard, row in rows:
        changed[shard] = row
    return state._replace(rows=tuple(changed), pending=state.pending & ~gone, wrong=wrong)


def transaction(
    state: State, label: Label, rows: Rows, gone: int, done: Callable[[State], State]
) -> Iterator[Step]:
    """A worker's PostgreSQL transaction: answered; or not, and then done later or never."""
    yield label, done(store(state, rows, gone))
    if state.faults:
        yield unanswered(label), doubt(hung(state, rows, gone), label[0])


def unanswered(label: Label) -> Label:
    """The same step when its commit is not answered."""
    return label[0], label[1], f"{label[2]}; its commit is not answered: doubt"


def hung(state: State, rows: Rows, gone: int) -> State:
    """A COMMIT is under way and nobody waits for its answer; its locks are held."""
    hanging = tuple(sorted((*state.hanging, Hanging(rows, gone))))
    return state._replace(hanging=hanging, faults=state.faults - 1)


def commit(state: State, producer: int, *, markers: bool) -> State:
    """Kafka commits the transaction of a producer: its messages are sent."""
    slices = twice = 0
    ledgers = []
    for ledger in state.ledgers:
        changed = list(ledger)
        for at, entry in enumerate(ledger):
            if entry.producer == producer:
                twice |= slices & entry.slices
                slices |= entry.slices
                changed[at] = entry._replace(producer=-producer if markers else 0)
        ledgers.append(tuple(changed))
    wrong = state.wrong
    if twice := twice | (slices & state.sent):
        wrong = f"{slices_text(twice)} sent twice"
    elif slices & state.stopped:
        wrong = f"{slices_text(slices & state.stopped)} sent, though a cancel stopped it"
    return state._replace(
        ledgers=tuple(ledgers),
        producers=put(state.producers, producer - 1, 0),
        sent=state.sent | slices,
        wrong=wrong,
    )


def abort(state: State, producer: int) -> State:
    """Kafka aborts what a producer has open, and nobody can commit with its id any more."""
    for shard in range(len(state.ledgers)):
        for at in reversed(range(len(state.ledgers[shard]))):
            if state.ledgers[shard][at].producer == producer:
                state = without(state, shard, at)
    return state._replace(producers=put(state.producers, producer - 1, FENCED))


def doubt(state: State, who: int, *, crash: bool = False, remember: bool = False) -> State:
    """The worker forgets everything and throws its producer away; a crash forgets the group too."""
    worker = state.workers[who]
    empty = Worker(IDLE, 0 if crash else worker.assigned, ((),) * len(state.rows))
    if not crash:
        empty = empty._replace(apart=worker.apart, most=worker.most)
    state = state._replace(workers=put(state.workers, who, empty), ledgers=unwaited(state, who))
    mine, producers = who + 1, state.producers
    if mine in named(state) or producers[who] & (BEGUN | ENDING):
        old = 1 + len(producers)
        state = renamed(state, {mine: old})
        producers = (*producers, producers[who])
        if remember and not crash:
            workers = put(state.workers, who, empty._replace(previous=old))
            state = state._replace(workers=workers)
    return state._replace(producers=put(producers, who, 0))


def unwaited(state: State, who: int) -> tuple[tuple[Entry, ...], ...]:
    """The ledgers when this worker does not wait for a sentinel of its own any more."""
    return tuple(
        tuple(entry._replace(attempt=0) if entry.attempt == who + 1 else entry for entry in ledger)
        for ledger in state.ledgers
    )
