"""What a shard that stays halted has sent already: its slices are held by claims.

Invariant: whatever its ledger holds is known to the database as a claim, if not as a batch that was
applied; so requests are taken in, and no cancel stops what has left. A takeover of the shard gives
claims up only once it has applied its ledger.
"""

from collections.abc import Collection, Iterable, Mapping
from uuid import UUID

from saec.contracts.ledger import BatchCommitted, SliceDispatched
from saec.kafka import stretches
from saec.kafka.stretches import Stretch
from saec.recover.ledger import entries, pieces
from saec.settings import Settings
from saec.store import recovery
from saec.store.engine import Connection, Engine, transaction
from saec.store.recovery import Place, ShardRow


def withhold(settings: Settings, engine: Engine, halted: Collection[int]) -> dict[int, str]:
    """Claim what the ledger says these shards sent; returns the shards to be halted as well.

    Those are where slices stand that these sent, when the number of shards was another one.

    Raises:
        BrokerUnavailableError, StoreUnavailableError: run it again.
    """
    with transaction(engine) as connection:
        rows = {row.shard: row for row in recovery.read_shard_rows(connection)}
    ends = stretches.bounds(settings, settings.topics.ledger, committed=True)
    touched: dict[int, str] = {}
    for shard in halted:
        stretch = Stretch(max(rows[shard].ledger_offset, ends[shard].start), ends[shard].end)
        for piece, _ in pieces(entries(settings, shard, stretch)):
            batches = [
                entry.record
                for entry in piece
                if isinstance(entry.record, BatchCommitted)
                and entry.record.batch_no > rows[shard].batch_no
            ]
            with transaction(engine) as connection:
                for other in _claim(connection, rows, shard, batches):
                    touched[other] = f"slices of it were dispatched by shard {shard}, which halted"
    return {shard: why for shard, why in touched.items() if shard not in halted}


def _claim(
    connection: Connection, rows: Mapping[int, ShardRow], shard: int, batches: list[BatchCommitted]
) -> set[int]:
    """Claim what is pending of these batches; returns the other shards that have some of it."""
    named = {one.request_id for batch in batches for one in batch.slices}
    places = recovery.pending_places(connection, named)
    elsewhere: dict[int, list[int]] = {}
    for batch in batches:
        sent = _sent(batch.slices, places)
        here = sorted(place.seq for place in sent if place.shard == shard)
        recovery.hold(connection, shard, batch.batch_no, here)
        for place in sent:
            if place.shard != shard:
                elsewhere.setdefault(place.shard, []).append(place.seq)
    for other, seqs in elsewhere.items():
        number = 1 + max(rows[other].batch_no, recovery.last_claim(connection, other))
        recovery.hold(connection, other, number, seqs)
    return set(elsewhere)


def _sent(
    slices: Iterable[SliceDispatched], places: Mapping[UUID, Mapping[int, Place]]
) -> list[Place]:
    """What is pending of these slices; of a request that is cut otherwise now, all of it."""
    sent: dict[int, Place] = {}
    for one in slices:
        stands = places.get(one.request_id, {})
        place = stands.get(one.slice_no)
        cut_so = place is not None and place.recipients == one.recipients
        for found in (place,) if place is not None and cut_so else stands.values():
            sent[found.seq] = found
    return list(sent.values())
