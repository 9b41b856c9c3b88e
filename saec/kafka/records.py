"""Kafka records as plain values: what came in, what goes out."""

from dataclasses import dataclass
from typing import NamedTuple

from saec.contracts.headers import CopiedHeaders, RawHeaders
from saec.errors import Reason


@dataclass(frozen=True, slots=True)
class Incoming:
    """A record as it was read. `appended_at_ms` is the broker's clock when it was appended.

    `refused` is why it cannot be an event, whatever it says: then it is 0 where it is not known.
    """

    topic: str
    partition: int
    offset: int
    appended_at_ms: int
    key: bytes | None
    value: bytes | None
    headers: RawHeaders = None
    refused: Reason | None = None
    cut: bool = False
    """Too large to be kept: key, value and headers are not whole."""


class Outgoing(NamedTuple):
    """A record ready to be produced. A tuple: made in a third of the time."""

    topic: str
    value: bytes | None
    key: bytes | None
    headers: CopiedHeaders
