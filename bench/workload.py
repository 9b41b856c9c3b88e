"""What is asked for: requests whose ids follow from a label and a number.

Invariant: the rows (`bench/preload.py`), the events (`bench/events.py`) and what a reader must see
are made from the same values, so that a reader's ids are compared with what was asked.
"""

import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import md5

from saec.contracts import dispatch
from saec.contracts.events import Channel, Message

REQUESTER = "bench"
MESSAGE = Message(body=b"x" * 200, content_type="text/plain; charset=utf-8")


@dataclass(frozen=True)
class Singles:
    """Requests of one customer each, by e-mail; the n-th is due at dues_ms[n - 1]."""

    label: str
    dues_ms: range | tuple[int, ...]
    customers: int

    def __len__(self) -> int:
        return len(self.dues_ms)

    @property
    def messages(self) -> int:
        """How many messages come of them: one each."""
        return len(self)

    def request_ids(self) -> Iterator[uuid.UUID]:
        """The ids, in order."""
        return (request_id(self.label, number) for number in range(1, len(self) + 1))

    def customer(self, number: int) -> str:
        """Whom the n-th request is for."""
        return f"c{number % self.customers}"

    def expected(self) -> Mapping[bytes, int]:
        """Message id -> when it is due."""
        return {
            message_id(id_, Channel.EMAIL, self.customer(number)): due_ms
            for number, (id_, due_ms) in enumerate(
                zip(self.request_ids(), self.dues_ms, strict=True), 1
            )
        }


@dataclass(frozen=True)
class Campaign:
    """One campaign in requests of up to `per_request` customers, each by every one of `channels`.

    The customers are c0, c1, and so on; nobody is in it twice.
    """

    label: str
    due_ms: int
    recipients: int
    channels: tuple[Channel, ...]
    per_request: int = 10_000

    @property
    def requests(self) -> int:
        """How many requests it takes."""
        return -(-self.recipients // self.per_request)

    @property
    def messages(self) -> int:
        """How many messages come of it."""
        return self.recipients * len(self.channels)

    def request_ids(self) -> Iterator[uuid.UUID]:
        """The ids, in order."""
        return (request_id(self.label, number) for number in range(1, self.requests + 1))

    def members(self, number: int) -> range:
        """Whom the n-th request (from 1) is for, by number."""
        start = (number - 1) * self.per_request
        return range(start, min(start + self.per_request, self.recipients))

    def expected(self) -> Mapping[bytes, int]:
        """Message id -> when it is due."""
        return {
            message_id(request_id(self.label, number), channel, f"c{member}"): self.due_ms
            for number in range(1, self.requests + 1)
            for member in self.members(number)
            for channel in self.channels
        }


Asked = Singles | Campaign

# As long as a message of SAEC, with the id where the reader looks for it.
_HEAD = bytes(11)
BODY = "x" * 293


def record_value(id_: bytes, body: bytes = BODY.encode()) -> bytes:
    """The value of a record that somebody else than SAEC publishes."""
    return _HEAD + id_ + body


def request_id(label: str, number: int) -> uuid.UUID:
    """The id of the n-th request."""
    return uuid.UUID(md5(f"{label}:{number}".encode(), usedforsecurity=False).hexdigest())


def message_id(id_: uuid.UUID, channel: Channel, customer: str) -> bytes:
    """As it stands in the value of a message."""
    return dispatch.message_id(id_.bytes, channel, customer).encode()
