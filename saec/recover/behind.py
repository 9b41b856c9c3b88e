"""Whether Kafka holds what the database does not know: then it was restored to an older state.

Invariant: whatever was dispatched after it was claimed is known to a database that never went back,
as a batch that was applied or as a claim.
"""

from collections.abc import Mapping

from saec.contracts.ledger import LedgerRecord, ShardTaken, decode_ledger
from saec.contracts.rejected import RejectedError
from saec.errors import ConfigurationError
from saec.kafka import stretches
from saec.kafka.records import Incoming
from saec.kafka.stretches import Stretch
from saec.settings import Settings
from saec.store.engine import Engine, transaction
from saec.store.positions import read_positions
from saec.store.recovery import ShardRow, read_shard_rows

_ROLE = "requests"
WENT_BACK = (
    "the database went back in time; stop everything and run `saec recover`: see "
    "docs/operations.md, After a restore"
)


def refuse_behind(settings: Settings, engine: Engine) -> None:
    """Refuse to answer requests and cancels from a database that went back in time.

    Raises:
        ConfigurationError: it is behind what was answered, in any partition, or dispatched.
        BrokerUnavailableError, StoreUnavailableError: no answer.
    """
    _refuse_behind_answers(settings, engine)
    refuse_behind_ledger(settings, engine)


def _refuse_behind_answers(settings: Settings, engine: Engine) -> None:
    """What is lost of a partition of another member, a cancel that I have may be about."""
    topic = settings.topics.requests
    # First: ingest stores before it answers.
    answered = stretches.committed_offsets(settings, _ROLE, topic, wait=False)
    with transaction(engine) as connection:
        saved = read_positions(connection, topic)
    for partition, offset in sorted(answered.items()):
        if saved.get(partition, 0) < offset:
            raise ConfigurationError(
                f"{topic} partition {partition} was answered up to {offset}, and the database "
                f"knows it up to {saved.get(partition, 0)}: {WENT_BACK}"
            )


def refuse_behind_ledger(settings: Settings, engine: Engine) -> None:
    """Refuse to answer cancels from a database that does not know what was dispatched.

    A batch that is still open counts: its first record names it, and may be there before a claim
    is lost.

    Raises:
        ConfigurationError: it is behind.
        BrokerUnavailableError, StoreUnavailableError: no answer.
    """
    ledger = settings.topics.ledger
    # The ledger first: claims and epochs are in the database before they show there.
    ends = stretches.bounds(settings, ledger, role=_ROLE)
    if _unknown_shard(settings, engine, ends, committed=False) is None:
        return
    # It may be of a transaction that never happened: that is known once it has ended.
    ends = stretches.settled(settings, ledger, role=_ROLE)
    shard = _unknown_shard(settings, engine, ends, committed=True)
    if shard is not None:
        raise ConfigurationError(
            f"the ledger of shard {shard} holds what the database does not know: {WENT_BACK}"
        )


def _unknown_shard(
    settings: Settings, engine: Engine, ends: Mapping[int, Stretch], *, committed: bool
) -> int | None:
    """A shard whose ledger holds, up to these ends, what the database does not know."""
    with transaction(engine) as connection:
        rows = {row.shard: row for row in read_shard_rows(connection)}
    wanted = {
        shard: Stretch(max(row.ledger_offset, ends[shard].start), ends[shard].end)
        for shard, row in rows.items()
        if shard in ends
    }
    topic = settings.topics.ledger
    for batch in stretches.read(settings, topic, wanted, role=_ROLE, committed=committed):
        for source in batch:
            if _is_unknown(source, rows[source.partition]):
                return source.partition
    return None


def _is_unknown(source: Incoming, row: ShardRow) -> bool:
    try:
        record: LedgerRecord = decode_ledger(source.value or b"")
    except RejectedError:
        return False  # a stranger's: dispatch halts the shard
    if record.epoch > row.epoch:
        return True
    known = max(row.batch_no, row.claimed)
    return not isinstance(record, ShardTaken) and record.batch_no > known
