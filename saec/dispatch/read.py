"""Step 2 of a round: read the claimed slices and their customers, as one snapshot shows them.

Invariant: contacts, opt-outs and expiry are decided by this snapshot, taken after the claim.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from saec.dispatch.batch import Claim
from saec.dispatch.errors import HaltError
from saec.store import pending, shards
from saec.store.customers import Contact, read_contacts
from saec.store.engine import Engine, transaction
from saec.store.pending import PendingSlice
from saec.store.shards import Owned

_GONE = "claimed slices are gone: the database went back in time"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a batch is made of. `now_ms` is PostgreSQL's clock when it was read."""

    now_ms: int
    slices: list[PendingSlice]
    contacts: Mapping[str, Contact]


def read_claimed(engine: Engine, me: str, owned: Mapping[int, Owned], claim: Claim) -> Snapshot:
    """Read the slices of a claim.

    Raises:
        ShardsLostError, UnexpectedBatchError: a shard is not as I know it.
        HaltError: a claimed slice is not there.
        StoreUnavailableError: no answer.
    """
    mine = {shard: owned[shard] for shard in claim.batch_nos}
    with transaction(engine, snapshot=True, primary=True) as connection:
        # First: so it is the snapshot's instant, however long this process then stands still.
        now_ms = shards.now_ms(connection)
        shards.check_mine(connection, me, mine)
        slices = pending.read_slices(connection, claim.runs)
        there = Counter(slice_.shard for slice_ in slices)
        claimed = {shard: sum(len(run.seqs) for run in claim.runs_of(shard)) for shard in mine}
        if gone := [shard for shard in mine if there[shard] < claimed[shard]]:
            raise HaltError(dict.fromkeys(gone, _GONE))
        customers = {customer for slice_ in slices for customer in slice_.customers}
        return Snapshot(now_ms, slices, read_contacts(connection, customers))
