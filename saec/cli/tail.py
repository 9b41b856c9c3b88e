"""`saec tail`: what arrives in a channel's topic, as a sender would read it; answers; refusals.

Invariant: customers' addresses and the messages' content are shown only when asked for.
"""

from base64 import b64encode
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import islice
from typing import Annotated, Any

import typer

from saec.cli import answers, output
from saec.cli.errors import InputError
from saec.cli.instants import parse_past, wall_ms
from saec.contracts.dispatch import DispatchMessage, decode_dispatch
from saec.contracts.events import Channel
from saec.contracts.instants import iso
from saec.contracts.rejected import RejectedError
from saec.contracts.status import decode_status
from saec.kafka.follow import Beginning, End, Follower, Since, Start, read_whole
from saec.kafka.records import Incoming
from saec.settings import Settings, load_settings

_POLL_S = 0.1
_STATUS, _REJECTED = "STATUS", "REJECTED"


def tail_command(
    channel: Annotated[
        str,
        typer.Argument(
            help="email, sms, whatsapp or push; `status` for the answers, `rejected` for what "
            "was refused."
        ),
    ],
    from_beginning: Annotated[
        bool, typer.Option("--from-beginning", help="Start with the oldest message kept.")
    ] = False,
    since: Annotated[
        str | None, typer.Option("--since", help="Start there: 10m ago, or an instant with a zone.")
    ] = None,
    follow: Annotated[
        bool,
        typer.Option(
            "--follow/--no-follow", help="Go on with what arrives (until Ctrl-C), or end."
        ),
    ] = True,
    count: Annotated[
        int | None, typer.Option("--count", min=1, help="End after this many messages.")
    ] = None,
    show_content: Annotated[
        bool, typer.Option("--show-content", help="Show addresses and messages too.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Read a channel's topic as senders do (read_committed), without taking part in a group.

    With --no-follow it reads from the beginning, or from --since, to the end as it is now.
    Examples:

    `saec tail email --since 10m --no-follow`

    `saec tail rejected --since 2026-12-01T09:00:00-03:00`
    """
    settings = load_settings()
    topic = _topic(settings, channel)
    start = _start(since, from_beginning=from_beginning or not follow)
    records = _following(settings, topic, start) if follow else read_whole(settings, [topic], start)
    with suppress(KeyboardInterrupt):
        for record in islice(records, count):
            _show(record, channel.upper(), show_content=show_content, as_json=as_json)


def _topic(settings: Settings, channel: str) -> str:
    name = channel.upper()
    if name == _STATUS:
        return settings.topics.status
    if name == _REJECTED:
        return settings.topics.rejected
    if name not in Channel.__members__:
        raise InputError("CHANNEL: give email, sms, whatsapp, push, status or rejected")
    return settings.topics.dispatch[Channel(name)]


def _start(since: str | None, *, from_beginning: bool) -> Start:
    if since is None:
        return Beginning() if from_beginning else End()
    return Since(parse_past("--since", since, wall_ms()))


def _following(settings: Settings, topic: str, start: Start) -> Iterator[Incoming]:
    with Follower(settings, [topic], start) as follower:
        while True:
            yield from follower.poll(_POLL_S)


def _show(record: Incoming, name: str, *, show_content: bool, as_json: bool) -> None:
    try:
        told = _read(record, name, show_content=show_content, as_json=as_json)
    except RejectedError as error:
        output.note(f"partition {record.partition}, offset {record.offset}: {error}")
        return
    output.line(told) if isinstance(told, str) else output.as_json(told)


def _read(
    record: Incoming, name: str, *, show_content: bool, as_json: bool
) -> str | dict[str, Any]:
    """A record, for people or for JSON. Raises RejectedError."""
    if name == _REJECTED:
        refused = _refused(record, show_content=show_content)
        return refused if as_json else _refused_line(refused)
    if name == _STATUS:
        answer = decode_status(record.value or b"")
        about = None if answer.request_id else _header(record, "ce_id")
        if as_json:
            return answers.as_dict(answer, about)
        return f"{iso(answer.at_ms)}  {answers.as_line(answer, about)}"
    message = decode_dispatch(record.value or b"")
    if as_json:
        return _as_dict(message, show_content=show_content)
    return _as_line(message, show_content=show_content)


def _refused(record: Incoming, *, show_content: bool) -> dict[str, Any]:
    """What was refused, where it stands, and how large it is; its key and value when asked."""
    told: dict[str, Any] = {
        "at": iso(record.appended_at_ms),
        "reason": _header(record, "saec-reason"),
        "detail": _header(record, "saec-detail"),
        "topic": _header(record, "saec-source-topic"),
        "partition": _number(_header(record, "saec-source-partition")),
        "offset": _number(_header(record, "saec-source-offset")),
        "value_bytes": None if record.value is None else len(record.value),
    }
    if show_content:
        told["key"] = None if record.key is None else record.key.decode(errors="replace")
        told["value"] = None if record.value is None else _body(record.value)
    return told


def _refused_line(told: dict[str, Any]) -> str:
    size = told["value_bytes"]
    parts = [
        told["at"],
        told["reason"],
        told["detail"],
        f"{told['topic']}/{told['partition']}/{told['offset']}",
        "no value kept" if size is None else output.counted(size, "byte"),
        told.get("key"),
        *(told.get("value") or {}).values(),
    ]
    return _one_line(parts)


def _header(record: Incoming, name: str) -> str | None:
    """The last header of this name: SAEC's own come last in a copy."""
    found = [value for key, value in record.headers or () if key == name and value is not None]
    return found[-1].decode(errors="replace") if found else None


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdecimal() else None


def _one_line(parts: Iterable[str | None]) -> str:
    return "  ".join(part.replace("\n", " ⏎ ") for part in parts if part)


def _as_dict(message: DispatchMessage, *, show_content: bool) -> dict[str, Any]:
    told: dict[str, Any] = {
        "message_id": message.message_id,
        "request_id": str(message.request_id),
        "campaign_id": message.campaign_id,
        "requester": message.requester,
        "customer_id": message.customer_id,
        "channel": message.channel.value,
        "due_at": iso(message.due_at_ms),
        "dispatched_at": iso(message.dispatched_at_ms),
        "expires_at": iso(message.expires_at_ms),
    }
    if show_content:
        told["address"] = message.address
        told["message"] = {
            "subject": message.message.subject,
            **_body(message.message.body),
            "content_type": message.message.content_type,
            "attributes": dict(message.message.attributes),
        }
    return told


def _body(body: bytes) -> dict[str, str]:
    try:
        return {"body": body.decode("utf-8")}
    except UnicodeDecodeError:
        return {"body_base64": b64encode(body).decode()}


def _as_line(message: DispatchMessage, *, show_content: bool) -> str:
    late_ms = message.dispatched_at_ms - message.due_at_ms
    parts = [
        iso(message.dispatched_at_ms),
        message.channel,
        f"customer {message.customer_id}" if message.customer_id else "everyone",
        f"request {message.request_id}",
        f"{late_ms:+,} ms",
    ]
    if show_content:
        content = message.message
        parts += [
            message.address or "",
            content.subject or "",
            next(iter(_body(content.body).values())),
        ]
    return _one_line(parts)
