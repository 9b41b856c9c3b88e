"""Kafka records as plain values: what came in, what goes out."""

from dataclasses import dataclass

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


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A record ready to be produced."""

    topic: str
    value: bytes | None
    key: bytes | None
    headers: CopiedHeaders
