"""A message of the client as a record, and how much memory it takes.

Invariant: a source record that the broker did not stamp is a refused record, with 0 for its append
time; what is too large to be copied is not kept whole.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from saec.errors import Reason
from saec.kafka import clients
from saec.kafka.records import Incoming

_LOG_APPEND_TIME = 2
# What Kafka writes for a header besides its name and value, at most: their lengths.
_HEADER_BYTES = 10
# Of a key or header that is cut: more than any that is valid.
_KEPT_BYTES = 1_000
_HEADER_OBJECT_BYTES = 100
_CHUNK_RECORDS = 500
# Little is taken at first, since it is not known yet how large it is.
_FIRST_RECORDS = 16


def incoming(message: Any, *, stamped: bool = False) -> Incoming:
    """A record as it was read. `stamped`: of a topic that the broker stamps."""
    kind, at_ms = message.timestamp()
    unstamped = stamped and kind != _LOG_APPEND_TIME
    return Incoming(
        message.topic(),
        message.partition(),
        message.offset(),
        0 if unstamped else at_ms,
        message.key(),
        message.value(),
        clients.headers_of(message),
        Reason.NO_APPEND_TIME if unstamped else None,
    )


def weight(record: Incoming) -> int:
    """The bytes of key, value and headers."""
    size = len(record.key or b"") + len(record.value or b"")
    if record.headers:
        size += sum(
            len(name.encode()) + len(value or b"") + _HEADER_BYTES for name, value in record.headers
        )
    return size


def cut(record: Incoming, largest_value: int) -> Incoming:
    """The record without most of its bytes; it is refused for the same reason as before.

    For what is larger than any copy: its value stays too large, and so does its key.
    """
    headers = tuple(
        (name, value)
        for name, value in (record.headers or ())
        if len(name) + len(value or b"") <= _KEPT_BYTES
    )
    return replace(
        record,
        value=record.value and record.value[: largest_value + 1],
        key=record.key and record.key[:_KEPT_BYTES],
        headers=headers,
        cut=True,
    )


@dataclass(slots=True)
class Portion:
    """What was taken so far of a batch of `most_records` and about `most_bytes`.

    Records of more than `most_kept` bytes are not kept whole: of a value, `largest_value` and one.
    """

    most_records: int
    most_bytes: int
    most_kept: int
    largest_value: int
    records: list[Incoming] = field(default_factory=list)
    _bytes: int = 0
    _largest: int = 1

    def add(self, more: Iterable[Incoming]) -> None:
        """Take records in, weighed as they come."""
        for record in more:
            kept, size = record, weight(record)
            if size > self.most_kept:
                kept = cut(record, self.largest_value)
                size = weight(kept)
            if kept.headers:
                size += _HEADER_OBJECT_BYTES * sum(1 for _ in kept.headers)
            self._largest = max(self._largest, size)
            self._bytes += size
            self.records.append(kept)

    @property
    def room(self) -> int:
        """How many more may be taken at once: of the largest so far no more than fit. 0: full."""
        left, count = self.most_bytes - self._bytes, len(self.records)
        if left <= 0 or count >= self.most_records:
            return 0
        fitting = max(1, left // self._largest)
        return min(_CHUNK_RECORDS, fitting, self.most_records - count, _FIRST_RECORDS + 2 * count)
