"""Batches that Kafka keeps and its C client cannot read: how they are made, and where they stand.

Where they stand is read from the broker's own files, since publishing one may be in doubt.
Invariant: of the batches in the source topics these alone are compressed.
"""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests import raw_batches

# More than the client decompresses, and a few kilobytes in the log.
_ZEROS = 120_000_000
# Base offset, length, epoch, magic, checksum, attributes, last offset, first and last timestamp.
_HEAD = struct.Struct(">qiibIhiqq")
_BEFORE_LENGTH = 12
_CODEC = 7

Lost = Mapping[tuple[str, int], list["Batch"]]
"""Topic and partition -> the batches in it that the client cannot read."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Where a batch begins, where it ends (the offset of its last record), and when it came."""

    first: int
    last: int
    appended_ms: int


def publish(bootstrap_servers: str, topic: str, partition: int) -> None:
    """Append a batch of one record. Raises OSError: not done, or in doubt."""
    records = raw_batches.batch("zstd", raw_batches.Large(_ZEROS))
    raw_batches.publish(bootstrap_servers, topic, records, partition)


def find(data: Path, topics: list[str], partitions: int) -> dict[tuple[str, int], list[Batch]]:
    """All of them that stand in these topics, from the files of a broker."""
    return {
        (topic, partition): list(_compressed(data, f"{topic}-{partition}"))
        for topic in topics
        for partition in range(partitions)
    }


def _compressed(data: Path, name: str) -> Iterator[Batch]:
    for path in sorted(data.rglob(f"{name}/*.log")):
        with path.open("rb") as log:
            while len(head := log.read(_HEAD.size)) == _HEAD.size:
                first, length, _, _, _, attributes, last, _, at_ms = _HEAD.unpack(head)
                if length <= 0:
                    break  # the file is longer than what is written
                if attributes & _CODEC:
                    yield Batch(first, first + last, at_ms)
                log.seek(_BEFORE_LENGTH + length - _HEAD.size, 1)
