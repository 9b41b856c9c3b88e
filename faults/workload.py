"""What is asked, from one seed: requests, cancels, doubles, bad input, and a registry that changes.

Everything is JSON in the words of a stranger. Invariant: the same seed gives the same events in
the same order; only instants differ, because they count from the start.
"""

import json
import random
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

PERSONAL = ("EMAIL", "SMS", "WHATSAPP")
REQUESTER = "faults"
CUSTOMERS = 400
SLICE_RECIPIENTS = 40
PARTITIONS = 4

# How many of what, in a thousand events.
LARGE_BYTES = 6_000
_SHARES = {
    "single": 600,
    "campaign": 12,
    "push": 20,
    "cancelled": 160,
    "twice": 60,
    "changed": 30,
    "expiring": 30,
    "stranger": 20,
    "unknown": 10,
    "bad": 30,
    "customer": 90,
    "apart": 90,
    "unreadable": 4,
}


@dataclass(frozen=True, slots=True)
class Event:
    """One record to publish, `at_ms` after the start. `customer`: to the registry's topic.

    To the partition that its key has, where none is said. `unreadable`: what the client cannot read
    is put there instead.
    """

    at_ms: int
    key: str
    value: bytes | None
    customer: bool = False
    partition: int | None = None
    unreadable: bool = False


@dataclass(slots=True)
class Workload:
    """Makes the events of one run."""

    seed: int
    start_ms: int
    chance: random.Random = field(init=False)
    _versions: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.chance = random.Random(f"{self.seed}/workload")  # noqa: S311

    def registry(self) -> list[Event]:
        """The first registration of everyone."""
        return [self._registration(0, f"c{number}") for number in range(CUSTOMERS)]

    def events(self, seconds: float, per_second: float) -> Iterator[Event]:
        """All other events, ordered by `at_ms`."""
        made: list[Event] = []
        kinds, weights = list(_SHARES), list(_SHARES.values())
        for _ in range(int(seconds * per_second)):
            at_ms = self.chance.randrange(int(seconds * 1000))
            kind = self.chance.choices(kinds, weights)[0]
            made += getattr(self, f"_{kind}")(at_ms)
        yield from sorted(made, key=lambda event: event.at_ms)

    def _single(self, at_ms: int) -> list[Event]:
        return [self._event(at_ms, self._request(at_ms))]

    def _campaign(self, at_ms: int) -> list[Event]:
        many = self.chance.choice((60, 150, 400))
        wanted = self._request(at_ms, customers=many)
        events = [self._event(at_ms, wanted)]
        if self.chance.random() < 0.5:
            events.append(self._stop(wanted))
        return events

    def _push(self, at_ms: int) -> list[Event]:
        return [self._event(at_ms, self._request(at_ms, channels=["PUSH"]))]

    def _cancelled(self, at_ms: int) -> list[Event]:
        wanted = self._request(at_ms, customers=self.chance.choice((1, 1, 1, 90)))
        events = [self._event(at_ms, wanted), self._stop(wanted)]
        if self.chance.random() < 0.3:
            events.append(self._stop(wanted))
        return events

    def _twice(self, at_ms: int) -> list[Event]:
        event = self._event(at_ms, self._request(at_ms))
        later_ms = at_ms + self.chance.choice((0, 0, 50, 3_000, 15_000))
        return [event, Event(later_ms, event.key, event.value)]

    def _changed(self, at_ms: int) -> list[Event]:
        wanted = self._request(at_ms)
        other = wanted | {"message": _message("something else")}
        return [self._event(at_ms, wanted), self._event(at_ms + 500, other)]

    def _expiring(self, at_ms: int) -> list[Event]:
        wanted = self._request(at_ms, customers=self.chance.choice((1, 80)))
        wanted["expires_at"] = wanted["due_at"] + self.chance.choice((20, 60, 400, 3_000))
        return [self._event(at_ms, wanted)]

    def _stranger(self, at_ms: int) -> list[Event]:
        wanted = self._request(at_ms)
        stop = _cancel(wanted["id"], "somebody else")
        there, *others = self.chance.sample(range(PARTITIONS), PARTITIONS)
        where = self.chance.choice((there, others[0]))
        return [self._event(at_ms, wanted, there), self._event(at_ms + 100, stop, where)]

    def _apart(self, at_ms: int) -> list[Event]:
        """Cancels in other partitions than their request: soon after it, or before it.

        Mostly long before it is due, so that whoever reads them first decides, and not dispatch.
        """
        wanted = self._request(at_ms, customers=self.chance.choice((1, 1, 1, 90)))
        there, *others = self.chance.sample(range(PARTITIONS), PARTITIONS)
        events = [self._event(at_ms, wanted, there)]
        for where in others[: self.chance.choice((1, 1, 1, 2, 3))]:
            stop_ms = at_ms + self.chance.choice((-300, -30, 0, 0, 1, 2, 5, 10, 30, 300, 1_500))
            stop = _cancel(wanted["id"], REQUESTER)
            events.append(self._event(max(0, stop_ms), stop, where))
        if self.chance.random() < 0.2:
            stop_ms = at_ms + self.chance.choice((0, 5, 3_000))
            events.append(self._event(stop_ms, _cancel(wanted["id"], REQUESTER), there))
        return events

    def _unreadable(self, at_ms: int) -> list[Event]:
        """What the client cannot read, in one of both topics."""
        customer = self.chance.random() < 0.4
        where = self.chance.randrange(PARTITIONS)
        return [Event(at_ms, "", None, customer=customer, partition=where, unreadable=True)]

    def _unknown(self, at_ms: int) -> list[Event]:
        """A cancel whose request comes later, and is not touched by it."""
        wanted = self._request(at_ms)
        stop = self._event(at_ms, _cancel(wanted["id"], REQUESTER))
        return [stop, self._event(at_ms + 200, wanted)]

    def _bad(self, at_ms: int) -> list[Event]:
        wanted = self._request(at_ms)
        spoilt = self.chance.choice(
            (
                b"",
                b"\xff\xfe\x00",
                b'{"type": "saec.v1.ScheduleRequested", "id":',
                json.dumps({"type": "saec.v1.Nothing", "id": wanted["id"]}).encode(),
                json.dumps(wanted | {"channels": ["PIGEON"]}).encode(),
                json.dumps(wanted | {"due_at": "tomorrow"}).encode(),
                json.dumps(wanted | {"due_at": 1}).encode(),
                json.dumps(wanted | {"due_at": wanted["due_at"] + 86_400_000 * 800}).encode(),
                json.dumps(wanted | {"message": {"body": "no type"}}).encode(),
            )
        )
        return [Event(at_ms, wanted["id"], spoilt)]

    def _customer(self, at_ms: int) -> list[Event]:
        return [self._registration(at_ms, f"c{self.chance.randrange(CUSTOMERS)}")]

    def _registration(self, at_ms: int, customer: str) -> Event:
        version = self._versions[customer] = self._versions.get(customer, -1) + 1
        if version and self.chance.random() < 0.1:
            return Event(at_ms, customer, None, customer=True)
        fields: dict[str, Any] = {"type": "saec.v1.CustomerRegistered", "id": customer}
        # What is absent or null stays as it was, what is empty is cleared.
        if self.chance.random() < 0.6:
            fields["opted_out"] = [one for one in PERSONAL if self.chance.random() < 0.1]
        fields["email"] = fields["phone"] = self.chance.choice((None, None, ""))
        if self.chance.random() < 0.9:
            fields["email"] = f"{customer}.{version}@example.com"
        if self.chance.random() < 0.9:
            fields["phone"] = f"+55119{80_000_000 + int(customer[1:]) * 1_000 + version % 1_000}"
        return Event(at_ms, customer, json.dumps(fields).encode(), customer=True)

    def _request(
        self, at_ms: int, customers: int = 1, channels: list[str] | None = None
    ) -> dict[str, Any]:
        """The fields of a request, due between now and a while after it is published."""
        ahead_ms = self.chance.choice((0, 500, 1_500, 4_000, 10_000))
        due_ms = at_ms + ahead_ms + self.chance.randrange(1_000)
        chosen = channels or self._channels()
        # Some that nobody registered.
        known = [f"c{number}" for number in range(CUSTOMERS + 4)]
        return {
            "type": "saec.v1.ScheduleRequested",
            "id": str(uuid.UUID(int=self.chance.getrandbits(128), version=4)),
            "requester": REQUESTER,
            "channels": chosen,
            "customers": [] if chosen == ["PUSH"] else self.chance.sample(known, customers),
            "due_at": self.start_ms + due_ms,
            "message": _message(self._body()),
        }

    def _body(self) -> str:
        """Some are large, so that a topic may refuse them."""
        number = self.chance.randrange(1_000_000)
        return f"Olá nº {number} 🎉" + "." * (0 if number % 25 else LARGE_BYTES)

    def _channels(self) -> list[str]:
        chosen = self.chance.sample(PERSONAL, self.chance.choice((1, 1, 1, 2, 3)))
        return [*chosen, "PUSH"] if self.chance.random() < 0.05 else chosen

    def _stop(self, wanted: dict[str, Any]) -> Event:
        """A cancel, mostly near the due instant."""
        due_ms = wanted["due_at"] - self.start_ms
        near_ms = due_ms + self.chance.choice((-1_500, -300, -100, -50, -20, 0, 20, 50, 150))
        at_ms = max(0, near_ms + self.chance.randrange(30))
        return self._event(at_ms, _cancel(wanted["id"], REQUESTER))

    def _event(self, at_ms: int, fields: dict[str, Any], partition: int | None = None) -> Event:
        value = json.dumps(fields, ensure_ascii=False).encode()
        return Event(at_ms, fields["id"], value, partition=partition)


def _message(body: str) -> dict[str, Any]:
    return {"body": body, "content_type": "text/plain; charset=utf-8"}


def _cancel(request_id: str, requester: str) -> dict[str, Any]:
    return {"type": "saec.v1.CancelRequested", "id": request_id, "requester": requester}
