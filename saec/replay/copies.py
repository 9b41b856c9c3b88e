"""A record as it is written a second time.

Invariant: key, value and headers are those of the source, byte for byte; what is added stands
behind them.
"""

from typing import NamedTuple

from saec.contracts.headers import CopiedHeaders
from saec.kafka.clients import UNREADABLE
from saec.kafka.records import Incoming

REPLAY_ID = "saec-replay-id"
SOURCE_TIMESTAMP = "saec-source-timestamp"

# Around a record in a batch of one: the batch's own header, lengths, attributes, deltas.
_FRAMING_BYTES = 61 + 32
_HEADER_BYTES = 10


class Copy(NamedTuple):
    """What is produced. `partition` is -1 where the key decides."""

    value: bytes | None
    key: bytes | None
    headers: CopiedHeaders
    partition: int

    @property
    def size_bytes(self) -> int:
        """Of key, value and headers."""
        headers = sum(len(name.encode()) + len(value or b"") for name, value in self.headers)
        return len(self.key or b"") + len(self.value or b"") + headers

    @property
    def most_bytes(self) -> int:
        """At most what it is counted as by a broker; too much by a few bytes."""
        return self.size_bytes + _FRAMING_BYTES + _HEADER_BYTES * len(self.headers)


def copy_of(record: Incoming, replay_id: str, partitions: int) -> Copy:
    """The copy for a target of so many partitions.

    A key goes where every Java client puts it. A record without one stays in the partition of its
    number, so that its order is kept.
    """
    return Copy(
        record.value,
        record.key,
        [
            *(record.headers or ()),
            (REPLAY_ID, replay_id.encode()),
            ("saec-source-topic", record.topic.encode()),
            ("saec-source-partition", str(record.partition).encode()),
            ("saec-source-offset", str(record.offset).encode()),
            (SOURCE_TIMESTAMP, str(record.appended_at_ms).encode()),
        ],
        record.partition % partitions if record.key is None else -1,
    )


def loses_headers(record: Incoming) -> bool:
    """Whether the record has headers that the client cannot show."""
    return record.headers is not None and record.headers == UNREADABLE
