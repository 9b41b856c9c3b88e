"""Step 1 of a round: apply what the ledger holds, choose what is due, and claim it.

One short transaction. Invariant: the shard rows are locked first and still mine, the batches
applied are exactly those committed, and a batch number is never given twice.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain

from saec.contracts.events import Channel, Lane
from saec.dispatch.batch import Claim, Finished
from saec.dispatch.errors import HaltError
from saec.dispatch.skew import Skew
from saec.errors import StoreChangedError
from saec.store import pending, shards
from saec.store.engine import BRIEF, Connection, Engine, transaction
from saec.store.ground import GroundWatch
from saec.store.pending import EVERYTHING, Choice, Room, Run, SkipRow
from saec.store.shards import Owned, UnexpectedBatchError

# Of one transaction's values; with what librdkafka queues it stays far below 200 MB.
_BATCH_BYTES = 16 * 1024 * 1024
_SOON_MS = 250
_WENT_BACK = "slices of a committed batch are missing: the database went back in time"


@dataclass(frozen=True, slots=True)
class Watches:
    """What is looked at before anything is chosen: whether the database went back; its clock."""

    ground: GroundWatch
    skew: Skew


def claim_due(
    engine: Engine,
    me: str,
    owned: Mapping[int, Owned],
    finished: Collection[Finished],
    batch_messages: int,
    watches: Watches | None = None,
    choice: Choice = EVERYTHING,
) -> tuple[Claim | None, dict[int, Owned]]:
    """Apply `finished` and claim the next due slices of the shards `owned`.

    At most about `batch_messages`, and of nothing but `choice`. Of campaigns fewer, when
    transactional messages are due or about to be: they would have to wait for the campaign's part.
    Returns the claim, None when nothing is due or the database's clock may not be acted upon, and
    the shards as they stand afterwards.

    Raises:
        ShardsLostError, UnexpectedBatchError: a shard is not as I know it.
        StoreChangedError: the database is behind what was seen of it.
        HaltError: the database lacks slices that were dispatched.
        StoreUnavailableError, StoreConflictError: unknown whether it was done.
    """
    with transaction(engine, bounds=BRIEF) as connection:
        shards.lock_mine(connection, me, owned)
        if watches is not None:
            watches.ground.compare(connection)
        # Before what is deleted stands in the way.
        due_ms = pending.next_due_ms(connection, owned, choice)
        now_owned = {**owned, **settle(connection, owned, finished)}
        now_ms, chosen = shards.now_ms(connection), list[Run]()
        if watches is None or watches.skew.tolerates(now_ms):
            chosen = _choose(connection, owned, due_ms, batch_messages, choice, now_ms=now_ms)
        claim = _claim(connection, now_owned, chosen) if chosen else None
    return claim, now_owned


def confirm(engine: Engine, claim: Claim, watch: GroundWatch) -> None:
    """See that a claim still stands, once its batch shows in the ledger and before it happens.

    Whoever starts to answer cancels later than this sees the batch there, and waits for it.

    Raises:
        StoreChangedError: it does not, or the database is not what it was.
        StoreUnavailableError: no answer.
    """
    with transaction(engine) as connection:
        watch.compare(connection)
        stands = pending.read_claims(connection, claim.batch_nos)
    for shard, batch_no in claim.batch_nos.items():
        if batch_no not in stands[shard]:
            raise StoreChangedError(f"the claim of batch {batch_no} of shard {shard} is gone")


def settle(
    connection: Connection, owned: Mapping[int, Owned], finished: Collection[Finished]
) -> dict[int, Owned]:
    """Apply batches of my own, and delete the claims they were made under.

    Raises:
        UnexpectedBatchError: a claim of mine is not there.
    """
    moved = apply(connection, owned, finished)
    claims = [(batch.shard, batch.batch_no) for batch in finished]
    if claims and pending.delete_claims(connection, claims) != len(claims):
        raise UnexpectedBatchError("a claim of a committed batch of mine is not there")
    return moved


def give_up(connection: Connection, claim: Claim | None) -> None:
    """Delete the claims of a batch that will not be emitted: its slices are chosen again.

    Raises:
        UnexpectedBatchError: a claim of mine is not there.
    """
    claims = list(claim.batch_nos.items()) if claim else []
    if claims and pending.delete_claims(connection, claims) != len(claims):
        raise UnexpectedBatchError("a claim of a batch of mine that was given up is not there")


def apply(
    connection: Connection,
    owned: Mapping[int, Owned],
    finished: Collection[Finished],
    *,
    anywhere: bool = False,
) -> dict[int, Owned]:
    """Bring locked shards up to their committed batches, each shard's in order.

    With `anywhere` the slices may be pending in other shards than those of the batches, as after
    their number was changed; the caller is alone. Returns the shards that moved.

    Raises:
        HaltError: a slice to delete is not there, or the ledger lost records.
    """
    if not finished:
        return {}
    _delete(connection, finished, anywhere=anywhere)
    pending.insert_skips(connection, skip_rows(finished))
    moved = dict(owned)
    for batch in finished:
        before = moved[batch.shard]
        if batch.batch_no != before.batch_no + 1:
            raise HaltError({batch.shard: f"batch {batch.batch_no} follows {before.batch_no}"})
        if batch.next_offset <= before.ledger_offset:
            why = (
                f"batch {batch.batch_no} stands at offset {batch.next_offset - 1} of a ledger that "
                f"was applied up to {before.ledger_offset}: the ledger lost records"
            )
            raise HaltError({batch.shard: why})
        moved[batch.shard] = Owned(before.epoch, batch.batch_no, batch.next_offset)
    moved = {batch.shard: moved[batch.shard] for batch in finished}
    shards.advance(connection, moved)
    return moved


def _delete(connection: Connection, finished: Collection[Finished], *, anywhere: bool) -> None:
    expected = Counter[int]()
    for batch in finished:
        expected[batch.shard] += len(batch.slices)
    runs = list(chain.from_iterable(batch.runs or () for batch in finished))
    named = list(chain.from_iterable(b.slices for b in finished if b.runs is None))
    deleted = Counter(pending.delete_runs(connection, runs) if runs else {})
    deleted += Counter(pending.delete_slices(connection, named) if named else {})
    if anywhere and deleted.total() == expected.total():
        return
    if short := [shard for shard, count in expected.items() if deleted[shard] != count]:
        raise HaltError(dict.fromkeys(short, _WENT_BACK))


def skip_rows(finished: Collection[Finished]) -> list[SkipRow]:
    """What batches skipped, as it is stored."""
    return [
        SkipRow(
            skip.request_id,
            skip.slice_no,
            Channel(skip.channel).bit,
            skip.reason.value,
            skip.messages,
        )
        for batch in finished
        for skip in batch.skips
    ]


def _choose(
    connection: Connection,
    owned: Mapping[int, Owned],
    due_ms: Mapping[int, int],
    batch_messages: int,
    choice: Choice,
    *,
    now_ms: int,
) -> list[Run]:
    """The next due slices, transactional ones first, up to a batch; `due_ms` by lane."""
    left, chosen = choice, list[Run]()
    for lane in Lane:
        if due_ms.get(lane.rank, now_ms + 1) > now_ms:
            continue  # choosing costs more than that look
        beside = lane is Lane.CAMPAIGN and due_ms.get(0, now_ms + _SOON_MS) < now_ms + _SOON_MS
        most = (choice.beside_messages or batch_messages) if beside else batch_messages
        room = Room(
            most - sum(run.messages for run in chosen),
            _BATCH_BYTES - sum(run.size for run in chosen),
            at_least=1 if beside or not chosen else 0,  # a slice may be larger than that part
        )
        if choice.slices is not None:
            left = replace(choice, slices=choice.slices - sum(len(run.seqs) for run in chosen))
        if room.messages > 0:
            chosen += pending.choose(
                connection, owned, lane.rank, now_ms=now_ms, room=room, choice=left
            )
    return chosen


def _claim(connection: Connection, owned: Mapping[int, Owned], chosen: Sequence[Run]) -> Claim:
    seqs: dict[int, list[int]] = {}
    for run in chosen:
        seqs.setdefault(run.shard, []).extend(run.seqs)
    claims = pending.read_claims(connection, seqs)
    batch_nos = {shard: 1 + max([owned[shard].batch_no, *claims[shard]]) for shard in seqs}
    rows = [(shard, number, seqs[shard]) for shard, number in batch_nos.items()]
    pending.insert_claims(connection, rows)
    return Claim(chosen, batch_nos)
