"""Requests and cancels as they come by HTTP, turned into what is published.

Invariant: what is published passed the very validation that SAEC applies when it reads it, and
names the requester of the API key and no other.
"""

import json
import uuid
from dataclasses import dataclass
from typing import Any

from saec.contracts.decode import request_of_json
from saec.contracts.events import CancelRequested
from saec.contracts.json_text import parse_object
from saec.contracts.rejected import RejectedError
from saec.errors import Reason

SCHEDULE = "saec.v1.ScheduleRequested"
CANCEL = "saec.v1.CancelRequested"
_CANCEL_BYTES = 4_096
_FILLED_IN = ("type", "id", "requester")
_CANCEL_FIELDS = frozenset({"requester"})


@dataclass(frozen=True, slots=True)
class Question:
    """A valid request or cancel, as JSON."""

    action: str
    request_id: str
    value: bytes


def of_request(body: bytes, requester: str, most_bytes: int) -> Question:
    """One scheduling request. `type`, `id` and `requester` may be left out.

    Raises:
        RejectedError: it is no valid request of this requester.
    """
    fields = _parsed(body)
    if fields.get("type", SCHEDULE) != SCHEDULE:
        raise RejectedError(Reason.UNKNOWN_EVENT_TYPE, "type: not a scheduling request")
    defaults = {"type": SCHEDULE, "requester": requester}
    if "id" not in fields:
        defaults["id"] = str(uuid.uuid4())
    return _valid(_completed(fields, body, defaults), fields, requester, most_bytes)


def of_line(line: bytes, requester: str, most_bytes: int) -> Question:
    """A request or a cancel of many. Its `id` must be given, so that it can be sent again.

    Raises:
        RejectedError: it is no valid event of this requester.
    """
    fields = _parsed(line)
    if "id" not in fields:
        raise RejectedError(Reason.INVALID_ID, "id: missing; choose one, to send it again safely")
    defaults = {"type": SCHEDULE, "requester": requester}
    return _valid(_completed(fields, line, defaults), fields, requester, most_bytes)


def of_cancel(body: bytes, request_id: str, requester: str) -> Question:
    """A cancel. The body is empty, or an object that names the requester.

    Raises:
        RejectedError: it is no valid cancel of this requester.
    """
    fields = _parsed(body) if body.strip() else {}
    if not fields.keys() <= _CANCEL_FIELDS:
        raise RejectedError(Reason.INVALID_EVENT, "the body: empty, or an object with `requester`")
    defaults = {"type": CANCEL, "id": request_id, "requester": requester}
    return _valid(_completed(fields, b"", defaults), fields, requester, _CANCEL_BYTES)


def _parsed(body: bytes) -> dict[str, Any]:
    """The object's fields; null is as good as left out, also of what may be filled in here."""
    fields = parse_object(body)
    for name in _FILLED_IN:
        if name in fields and fields[name] is None:
            del fields[name]
    return fields


def _completed(fields: dict[str, Any], given: bytes, defaults: dict[str, str]) -> bytes:
    """What is to be published: `given`, if nothing is missing in its `fields`."""
    missing = defaults.keys() - fields.keys()
    if not missing:
        return given
    for name in missing:
        fields[name] = defaults[name]
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode()


def _valid(value: bytes, fields: dict[str, Any], requester: str, most_bytes: int) -> Question:
    """The question of `value`, whose fields these are."""
    if len(value) > most_bytes:
        raise RejectedError(Reason.VALUE_TOO_LARGE, f"more than {most_bytes} bytes")
    event = request_of_json(fields)
    if event.requester != requester:
        raise RejectedError(
            Reason.OTHER_REQUESTER, "requester: not the one of the API key", event.id
        )
    action = "cancel" if isinstance(event, CancelRequested) else "schedule"
    return Question(action, str(event.id), value)
