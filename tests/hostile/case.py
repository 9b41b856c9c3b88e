"""What a case of bad input is, and what the cases are made from.

A case is a record as a stranger could publish it, what the decoder says of it, and how it is
answered. Requests of a case carry an id of the case's own, so that no case disturbs another.
"""

import json
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid5

from saec.contracts import avro
from saec.contracts.headers import CopiedHeaders
from saec.contracts.status import Status
from saec.errors import Reason

SECRET = "segredo-da-ana"
"""Planted in values; no answer may contain it."""

MAX_BYTES = 1_000_000
TOPIC_BYTES = 1_100_000
"""Largest batch that a source topic takes, as `saec init` makes it."""

_NAMESPACE = UUID("3f0f1a52-6c53-4a5c-9a0a-7d7c3a6b7f11")
_DAY_MS = 86_400_000
# Verdicts depend on the broker's clock; this is far enough from all bounds. A whole day, since it
# stands in names of tests, which have to be the same in all processes that share a run.
DUE_MS = (int(time.time() * 1000) // _DAY_MS + 2) * _DAY_MS
NEXT_YEAR = datetime.now(UTC).year + 1

Answer = tuple[Status, Reason | None]
ACCEPTED: Answer = (Status.ACCEPTED, None)


def rejected(reason: Reason) -> Answer:
    """The answer to what is refused for this reason."""
    return Status.REJECTED, reason


@dataclass(frozen=True)
class Case:
    """One record. `decoded` is the decoder's refusal, None where it reads an event."""

    name: str
    value: bytes | None
    decoded: Reason | None = None
    answer: tuple[Answer, ...] = ()
    key: bytes | None = b"any key"
    headers: CopiedHeaders = ()
    timestamp_ms: int | None = None
    names_request: bool = False
    hint: str = ""

    @property
    def request_id(self) -> UUID:
        """The id that the case's request carries, if it can be read."""
        return request_id(self.name)


def is_in_words(detail: str) -> bool:
    """Whether a detail says what is wrong in words, not by a code of the validator's."""
    said = detail.rpartition(": ")[2]
    return said == "none" or " " in said


def request_id(name: str) -> UUID:
    """The id of a case's request, by the part of its name before the bar."""
    return uuid5(_NAMESPACE, name.partition(" | ")[0])


def schedule(name: str, **changes: Any) -> dict[str, Any]:
    """A valid request, with some fields changed; `...` takes one away."""
    event = {
        "type": "saec.v1.ScheduleRequested",
        "id": str(request_id(name)),
        "requester": "tests",
        "channels": ["EMAIL"],
        "customers": ["42"],
        "due_at": DUE_MS,
        "message": {"body": "Olá", "content_type": "text/plain"},
    }
    return {k: v for k, v in (event | changes).items() if v is not ...}


def text(value: object) -> bytes:
    """As JSON."""
    return json.dumps(value).encode()


def good(name: str, **changes: Any) -> bytes:
    """A valid request."""
    return text(schedule(name, **changes))


def customer(id_: str, **fields: Any) -> bytes:
    """A registration."""
    return text({"type": "saec.v1.CustomerRegistered", "id": id_, **fields})


def avro_fields(name: str, **changes: Any) -> dict[str, Any]:
    fields = schedule(name, type=...) | {"campaign_id": None, "expires_at": None, "lane": None}
    message: dict[str, object] = {
        "subject": None,
        "body": b"x",
        "content_type": "a/b",
        "attributes": {},
    }
    return {**fields, "message": message, **changes}


def good_avro(name: str, **changes: Any) -> bytes:
    """A valid request in Avro."""
    return avro.encode_single("schedule_requested", avro_fields(name, **changes))
