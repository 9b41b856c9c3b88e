"""What the survival run asks for: requests by JSON, in the words of a stranger, and cancels.

The model of what must come out is computed from these alone, never from SAEC's own state.
"""

import json
import random
import uuid
from collections.abc import Iterator
from dataclasses import dataclass

PERSONAL = ("EMAIL", "SMS", "WHATSAPP")
PUSH = "PUSH"


@dataclass(frozen=True)
class Customer:
    """A registered customer. `opted_out` names channels."""

    id: str
    opted_out: frozenset[str]

    def value(self) -> bytes:
        """The registration."""
        number = int(self.id[1:])
        return json.dumps(
            {
                "type": "saec.v1.CustomerRegistered",
                "id": self.id,
                "email": f"{self.id}@example.com",
                "phone": f"+55119{80000000 + number}",
                "opted_out": sorted(self.opted_out),
            }
        ).encode()


@dataclass(frozen=True)
class Request:
    """One request and, if `cancel_at_ms` is set, when its cancel is published."""

    id: str
    customers: tuple[Customer, ...]
    channels: tuple[str, ...]
    due_at_ms: int
    body: str
    cancel_at_ms: int | None

    def value(self) -> bytes:
        """The event."""
        return json.dumps(
            {
                "type": "saec.v1.ScheduleRequested",
                "id": self.id,
                "requester": "survival",
                "channels": self.channels,
                "customers": [customer.id for customer in self.customers],
                "due_at": self.due_at_ms,
                "message": {"body": self.body, "content_type": "text/plain; charset=utf-8"},
            },
            ensure_ascii=False,
        ).encode()

    def cancel(self) -> bytes:
        """The event that cancels it."""
        return json.dumps(
            {"type": "saec.v1.CancelRequested", "id": self.id, "requester": "survival"}
        ).encode()

    def messages(self) -> Iterator[tuple[str, str, str]]:
        """What goes out when nobody stops it: (request id, customer or "", channel)."""
        for channel in self.channels:
            if channel == PUSH:
                yield self.id, "", PUSH
                continue
            for customer in self.customers:
                if channel not in customer.opted_out:
                    yield self.id, customer.id, channel


def make_customers(chance: random.Random, count: int = 500) -> list[Customer]:
    """Customers, some of which opted out of some channels."""
    return [
        Customer(f"c{number}", frozenset(c for c in PERSONAL if chance.random() < 0.05))
        for number in range(count)
    ]


def make(
    chance: random.Random,
    customers: list[Customer],
    requests: int,
    first_due_ms: int,
    seconds: float,
) -> list[Request]:
    """`requests` requests due over `seconds` from `first_due_ms`, one in twenty cancelled."""
    made = []
    for number in range(requests):
        due_at_ms = first_due_ms + int(chance.random() * seconds * 1000)
        cancelled = chance.random() < 0.05
        made.append(_request(chance, number, customers, due_at_ms, cancelled=cancelled))
    return made


def _request(
    chance: random.Random,
    number: int,
    customers: list[Customer],
    due_at_ms: int,
    *,
    cancelled: bool,
) -> Request:
    many = chance.choice((20, 120)) if number % 200 == 0 else 1
    channels = tuple(chance.sample(PERSONAL, chance.choice((1, 1, 1, 2))))
    if number % 50 == 0:
        channels = (*channels, PUSH)
    if number % 75 == 0:
        channels = (PUSH,)
    personal = () if channels == (PUSH,) else tuple(chance.sample(customers, many))
    # Races the due instant: from half a second before it to a little after.
    cancel_at_ms = due_at_ms + chance.randint(-500, 50) if cancelled else None
    request_id = str(uuid.UUID(int=chance.getrandbits(128), version=4))
    return Request(request_id, personal, channels, due_at_ms, f"Olá nº {number} 🎉", cancel_at_ms)
