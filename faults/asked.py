"""The model of ingest: from the source topic alone, what each record must be answered.

Plain Python over what was published; nothing of SAEC's code or state. Invariant: every record has
exactly one expected answer, but for the cancels of a request, which race each other and dispatch,
and from other partitions the request itself: those are judged together.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from faults.wire import Record
from faults.workload import PERSONAL, SLICE_RECIPIENTS

GRACE_MS = 60_000
HORIZON_MS = 730 * 86_400_000

Place = tuple[str, int, int]


@dataclass(frozen=True, slots=True)
class Slice:
    """A part of a request that goes out or is stopped as a whole; PUSH has no customers."""

    number: int
    channels: tuple[str, ...]
    customers: tuple[str, ...]

    def messages(self) -> Iterator[tuple[str, str]]:
        """Customer ("" for PUSH) and channel of each."""
        for channel in self.channels:
            for customer in self.customers or ("",):
                yield customer, channel

    @property
    def size(self) -> int:
        """How many messages it has when none is skipped."""
        return max(1, len(self.customers)) * len(self.channels)


@dataclass(frozen=True, slots=True)
class Cancel:
    """A cancel that may decide its request.

    One that is `apart` stands in another partition, so that it may be read first. Then it holds all
    the same and is answered twice, unless it was appended `before` the request.
    """

    place: Place
    appended_ms: int
    apart: bool = False
    before: bool = False

    @property
    def age(self) -> tuple[int, int, int]:
        """Of several that were read before their request the first in this order holds."""
        return self.appended_ms, *self.place[1:]


@dataclass(slots=True)
class Request:
    """An accepted request, where it stands, and the cancels that may decide it."""

    fields: dict[str, Any]
    place: Place
    cancels: list[Cancel] = field(default_factory=list)

    @property
    def slices(self) -> list[Slice]:
        """How it is cut."""
        customers = list(dict.fromkeys(self.fields["customers"]))
        personal = tuple(c for c in PERSONAL if c in self.fields["channels"])
        parts: list[tuple[tuple[str, ...], tuple[str, ...]]] = []
        if personal:
            starts = range(0, len(customers), SLICE_RECIPIENTS)
            parts += [(personal, tuple(customers[at : at + SLICE_RECIPIENTS])) for at in starts]
        if "PUSH" in self.fields["channels"]:
            parts.append((("PUSH",), ()))
        return [Slice(number, *part) for number, part in enumerate(parts)]

    @property
    def size(self) -> int:
        """How many messages it has when none is skipped."""
        return sum(part.size for part in self.slices)


@dataclass(frozen=True, slots=True)
class Expected:
    """What a record may be answered; `reason` goes with REJECTED.

    `together`: a cancel that is judged with all others of its request.
    """

    statuses: frozenset[str]
    reason: str | None = None
    request: Request | None = None
    together: bool = False


@dataclass(slots=True)
class Asked:
    """What was asked: the requests accepted, by id, and what every record must be answered."""

    requests: dict[str, Request] = field(default_factory=dict)
    answers: dict[Place, Expected] = field(default_factory=dict)
    records: dict[Place, Record] = field(default_factory=dict)

    def wanted_ms(self, request: Request) -> int:
        """From when a request could go out: due, and asked for."""
        due_ms: int = request.fields["due_at"]
        return max(due_ms, self.records[request.place].timestamp_ms)


def understand(records: Iterable[Record]) -> Asked:
    """The model of the records of saec.requests, and of those that no client can read.

    A request and whatever repeats it stand in one partition, in the order of their offsets; where
    its cancels stand does not matter.
    """
    asked = Asked()
    cancels: list[tuple[Record, dict[str, Any]]] = []
    for record in sorted(records, key=lambda one: one.place):
        asked.records[record.place] = record
        if record.lost:
            asked.answers[record.place] = _refused("unreadable_record")
            continue
        fields, reason = _read(record.value)
        if reason is not None:
            asked.answers[record.place] = _refused(reason)
        elif fields["type"] == "saec.v1.CancelRequested":
            cancels.append((record, fields))
        else:
            asked.answers[record.place] = _of_request(asked, record, fields)
    for record, fields in cancels:
        asked.answers[record.place] = _of_cancel(asked, record, fields)
    return asked


def _of_request(asked: Asked, record: Record, fields: dict[str, Any]) -> Expected:
    stored = asked.requests.get(fields["id"])
    if stored is not None:
        same = stored.fields == fields
        return Expected(frozenset({"DUPLICATE"}), None, stored) if same else _refused("id_taken")
    if fields["due_at"] < record.timestamp_ms - GRACE_MS:
        return _refused("due_in_the_past")
    if fields["due_at"] > record.timestamp_ms + HORIZON_MS:
        return _refused("due_beyond_horizon")
    stored = asked.requests[fields["id"]] = Request(fields, record.place)
    return Expected(frozenset({"ACCEPTED"}), None, stored)


def _of_cancel(asked: Asked, record: Record, fields: dict[str, Any]) -> Expected:
    stored, unknown = asked.requests.get(fields["id"]), frozenset({"UNKNOWN_REQUEST"})
    if stored is None:
        return Expected(unknown)
    apart = record.partition != stored.place[1]
    if not apart and record.place < stored.place:
        return Expected(unknown)
    early = unknown if apart else frozenset()
    if fields["requester"] != stored.fields["requester"]:
        return Expected(early | {"REJECTED"}, "other_requester")
    before = apart and record.timestamp_ms < asked.records[stored.place].timestamp_ms
    stored.cancels.append(Cancel(record.place, record.timestamp_ms, apart, before))
    decided = {"CANCELLED", "TOO_LATE", "ALREADY_CANCELLED"}
    return Expected(early | decided, None, stored, together=True)


def _refused(reason: str) -> Expected:
    return Expected(frozenset({"REJECTED"}), reason)


def _read(value: bytes | None) -> tuple[dict[str, Any], str | None]:
    """The fields, and why they are no event: of the ways to spoil one that the workload knows."""
    fields: dict[str, Any] = {}
    if not value:
        return fields, "empty_value"
    try:
        fields = json.loads(value.decode())
    except UnicodeDecodeError:
        return fields, "not_utf8"
    except ValueError:
        return fields, "invalid_json"
    return fields, _fault(fields)


def _fault(fields: dict[str, Any]) -> str | None:
    if fields["type"] not in {"saec.v1.ScheduleRequested", "saec.v1.CancelRequested"}:
        return "unknown_event_type"
    if fields["type"] == "saec.v1.CancelRequested":
        return None
    if set(fields["channels"]) - {*PERSONAL, "PUSH"}:
        return "unknown_channel"
    if not isinstance(fields["due_at"], int):
        return "invalid_instant"
    return None if "content_type" in fields["message"] else "invalid_message"
