"""Whether the ledger holds what the database cannot know: then it was restored to an older state.

Invariant: whatever was dispatched after it was claimed is known to a database that never went back,
as a batch that was applied or as a claim.
"""

from saec.contracts.ledger import BatchCommitted, LedgerRecord, decode_ledger
from saec.contracts.rejected import RejectedError
from saec.errors import ConfigurationError
from saec.kafka import stretches
from saec.kafka.records import Incoming
from saec.kafka.stretches import Stretch
from saec.settings import Settings
from saec.store.engine import Engine, transaction
from saec.store.recovery import ShardRow, read_shard_rows

_ROLE = "requests"


def refuse_behind_ledger(settings: Settings, engine: Engine) -> None:
    """Refuse to answer cancels from a database that does not know what was dispatched.

    Raises:
        ConfigurationError: it is behind.
        BrokerUnavailableError, StoreUnavailableError: no answer.
    """
    ledger = settings.topics.ledger
    # The ledger first: claims and epochs are in the database before they show there.
    ends = stretches.bounds(settings, ledger, role=_ROLE, committed=True)
    with transaction(engine) as connection:
        rows = {row.shard: row for row in read_shard_rows(connection)}
    wanted = {
        shard: Stretch(max(row.ledger_offset, ends[shard].start), ends[shard].end)
        for shard, row in rows.items()
        if shard in ends
    }
    for batch in stretches.read(settings, ledger, wanted, role=_ROLE):
        for source in batch:
            if _is_unknown(source, rows[source.partition]):
                raise ConfigurationError(
                    f"the ledger of shard {source.partition} holds what the database does not "
                    "know: the database went back in time; see docs/operations.md, Recovery"
                )


def _is_unknown(source: Incoming, row: ShardRow) -> bool:
    try:
        record: LedgerRecord = decode_ledger(source.value or b"")
    except RejectedError:
        return False  # a stranger's: dispatch halts the shard
    if record.epoch > row.epoch:
        return True
    known = max(row.batch_no, row.claimed)
    return isinstance(record, BatchCommitted) and record.batch_no > known
