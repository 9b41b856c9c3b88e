"""Kafka records as plain values: what came in, what goes out."""

from dataclasses import dataclass
from typing import NamedTuple

from saec.contracts.headers import CopiedHeaders, RawHeaders


@dataclass(frozen=True, slots=True)
class Incoming:
    """A record as it was read. `appended_at_ms` is the broker's clock when it was appended."""

    topic: str
    partition: int
    offset: int
    appended_at_ms: int
    key: bytes | None
    value: bytes | None
    headers: RawHeaders = None


class Outgoing(NamedTuple):
    """A record ready to be produced. A tuple: made in a third of the time."""

    topic: str
    value: bytes | None
    key: bytes | None
    headers: CopiedHeaders
