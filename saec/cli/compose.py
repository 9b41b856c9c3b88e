"""Requests out of flags, files and lines: valid ones, or an error that names the place.

Invariant: what is published passed the very validation that SAEC applies when it reads it.
"""

import json
import uuid
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from saec.cli.errors import InputError
from saec.cli.instants import parse_instant
from saec.cli.publishing import Question
from saec.contracts.decode import RejectedError, decode_request
from saec.contracts.events import CancelRequested
from saec.contracts.json_text import parse_object

MAX_LINES = 1_000_000
_SHOWN_ERRORS = 20


_ANYBODY = "requester"
"""Stands, while it is validated, for the requester that the endpoint puts in."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What is asked of a request, beside what its contract says."""

    most_bytes: int
    names_requester: bool = True
    """False: where it names none, it is the one of the API key."""


@dataclass(frozen=True, slots=True)
class Flags:
    """One request, as the flags of `saec submit` give it."""

    to: list[str]
    channels: list[str]
    body: str | None
    body_file: Path | None
    subject: str | None
    content_type: str | None
    at: str | None
    expires: str | None
    campaign: str | None
    request_id: str | None
    requester: str | None
    lane: str | None
    attributes: list[str]


def of_flags(flags: Flags, now_ms: int, rules: Rules) -> Question:
    """The request that the flags describe. Raises InputError."""
    if not flags.channels or flags.at is None:
        raise InputError("give at least --channel, --at and --body (or a FILE, or - for stdin)")
    expires = flags.expires and parse_instant("--expires", flags.expires, now_ms)
    fields = {
        "type": "saec.v1.ScheduleRequested",
        "id": flags.request_id or str(uuid.uuid4()),
        **_named(flags.requester),
        "campaign_id": flags.campaign,
        "channels": [channel.upper() for channel in flags.channels],
        "customers": flags.to,
        "due_at": parse_instant("--at", flags.at, now_ms),
        "expires_at": expires,
        "lane": flags.lane and flags.lane.upper(),
        "message": _message(flags),
    }
    try:
        return _question(fields, rules)
    except RejectedError as rejected:
        raise InputError(str(rejected)) from None


def of_cancel(request_id: str, requester: str | None, rules: Rules) -> Question:
    """A cancel. Raises InputError."""
    fields = {"type": "saec.v1.CancelRequested", "id": request_id, **_named(requester)}
    try:
        return _question(fields, rules)
    except RejectedError as rejected:
        raise InputError(str(rejected)) from None


def of_json(raw: bytes, rules: Rules) -> list[Question]:
    """The requests in one JSON object, an array of them, or JSON lines.

    `type` and `id` may be left out: then it is a ScheduleRequested with a new id.

    Raises:
        InputError: names every line that is not valid, up to 20.
    """
    questions: list[Question] = []
    errors: list[str] = []
    for place, value in _parts(raw):
        if len(questions) + len(errors) >= MAX_LINES:
            raise InputError(f"more than {MAX_LINES:,} requests: give them in several files")
        try:
            questions.append(_question(_completed(parse_object(value)), rules))
        except RejectedError as rejected:
            errors.append(f"{place}: {rejected}")
    if errors:
        raise invalid_lines(errors)
    if not questions:
        raise InputError("the input is empty: give JSON objects, one a line")
    return questions


def invalid_lines(errors: list[str]) -> InputError:
    """The error that lists the first of these."""
    more = [f"… and {len(errors) - _SHOWN_ERRORS:,} more"] if len(errors) > _SHOWN_ERRORS else []
    shown = "\n".join(f"  {text}" for text in [*errors[:_SHOWN_ERRORS], *more])
    return InputError(f"nothing was published, correct these first:\n{shown}")


def _parts(raw: bytes) -> Iterator[tuple[str, bytes]]:
    """Each request's bytes, with the words for its place."""
    array = _array(raw)
    if array is not None:
        for number, item in enumerate(array, 1):
            yield f"item {number}", json.dumps(item).encode()
        return
    if _is_one_object(raw):
        yield "the object", raw
        return
    for number, value in enumerate(raw.splitlines(), 1):
        if value.strip():
            yield f"line {number}", value


def _array(raw: bytes) -> list[Any] | None:
    if not raw.lstrip().startswith(b"["):
        return None
    try:
        return list(json.loads(raw))
    except (ValueError, RecursionError):
        raise InputError("the file starts as a JSON array but is none") from None


def _is_one_object(raw: bytes) -> bool:
    """True for an object over several lines; a single line is the same either way."""
    try:
        return isinstance(json.loads(raw), dict)
    except (ValueError, RecursionError):
        return False


def _completed(fields: dict[str, Any]) -> dict[str, Any]:
    return {"type": "saec.v1.ScheduleRequested", "id": str(uuid.uuid4())} | fields


def _named(requester: str | None) -> dict[str, str]:
    return {} if requester is None else {"requester": requester}


def _question(fields: dict[str, Any], rules: Rules) -> Question:
    """What is to be published. Raises RejectedError."""
    value = _as_bytes(fields)
    implied = not rules.names_requester and "requester" not in fields
    whole = _as_bytes({"requester": _ANYBODY} | fields) if implied else value
    event = decode_request(whole, None, rules.most_bytes)
    return Question(str(event.id), value, isinstance(event, CancelRequested))


def _as_bytes(fields: dict[str, Any]) -> bytes:
    return json.dumps(fields, ensure_ascii=False).encode()


def _message(flags: Flags) -> dict[str, Any]:
    return {
        "subject": flags.subject,
        **_body(flags),
        "attributes": dict(_attribute(text) for text in flags.attributes),
    }


def _body(flags: Flags) -> dict[str, str]:
    if (flags.body is None) == (flags.body_file is None):
        raise InputError("give one of --body and --body-file")
    if flags.body_file is None:
        text = flags.body
    else:
        raw = read_file(flags.body_file)
        text = _as_text(raw)
        if text is None:
            encoded = b64encode(raw).decode()
            kind = flags.content_type or "application/octet-stream"
            return {"body_base64": encoded, "content_type": kind}
    return {"body": str(text), "content_type": flags.content_type or "text/plain; charset=utf-8"}


def read_file(path: Path) -> bytes:
    """A file's bytes. Raises InputError."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None


def _as_text(raw: bytes) -> str | None:
    """The text, if publishing it as one gives the same bytes back."""
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        return None
    return None if "\x00" in text else text


def _attribute(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise InputError("--attribute: give name=value")
    return name, value
