"""`saec tail`: what arrives in a channel's topic, as a sender would read it.

Invariant: customers' addresses and the messages' content are shown only when asked for.
"""

from base64 import b64encode
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from typing import Annotated, Any

import typer

from saec.cli import answers, output
from saec.cli.errors import InputError
from saec.cli.instants import FORMS, duration_ms, parse_instant, wall_ms
from saec.contracts.dispatch import DispatchMessage, decode_dispatch
from saec.contracts.events import Channel
from saec.contracts.rejected import RejectedError
from saec.contracts.status import RequestStatus, decode_status
from saec.kafka.follow import Beginning, End, Follower, Since, Start, read_whole
from saec.kafka.records import Incoming
from saec.settings import Settings, load_settings

_POLL_S = 0.1
_STATUS = "STATUS"


def tail_command(
    channel: Annotated[
        str, typer.Argument(help="email, sms, whatsapp or push; `status` for the answers.")
    ],
    from_beginning: Annotated[
        bool, typer.Option("--from-beginning", help="Start with the oldest message kept.")
    ] = False,
    since: Annotated[
        str | None, typer.Option("--since", help=f"Start there: 10m (ago), or {FORMS}.")
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

    Example: `saec tail email --since 10m --no-follow`
    """
    settings = load_settings()
    topic = _topic(settings, channel)
    start = _start(since, from_beginning=from_beginning or not follow)
    records = _following(settings, topic, start) if follow else read_whole(settings, [topic], start)
    with suppress(KeyboardInterrupt):
        for record in islice(records, count):
            _show(record, channel.upper() == _STATUS, show_content=show_content, as_json=as_json)


def _topic(settings: Settings, channel: str) -> str:
    name = channel.upper()
    if name == _STATUS:
        return settings.topics.status
    if name not in Channel.__members__:
        raise InputError("CHANNEL: give email, sms, whatsapp, push or status")
    return settings.topics.dispatch[Channel(name)]


def _start(since: str | None, *, from_beginning: bool) -> Start:
    if since is None:
        return Beginning() if from_beginning else End()
    with suppress(ValueError):
        return Since(wall_ms() - duration_ms(since))
    return Since(parse_instant("--since", since, wall_ms()))


def _following(settings: Settings, topic: str, start: Start) -> Iterator[Incoming]:
    with Follower(settings, [topic], start) as follower:
        while True:
            yield from follower.poll(_POLL_S)


def _show(record: Incoming, is_status: bool, *, show_content: bool, as_json: bool) -> None:
    value = record.value or b""
    try:
        said = decode_status(value) if is_status else decode_dispatch(value)
    except RejectedError as error:
        output.note(f"partition {record.partition}, offset {record.offset}: {error}")
        return
    if isinstance(said, RequestStatus):
        output.as_json(answers.as_dict(said)) if as_json else output.line(answers.as_line(said))
    elif as_json:
        output.as_json(_as_dict(said, show_content=show_content))
    else:
        output.line(_as_line(said, show_content=show_content))


def _as_dict(message: DispatchMessage, *, show_content: bool) -> dict[str, Any]:
    told: dict[str, Any] = {
        "message_id": message.message_id,
        "request_id": str(message.request_id),
        "campaign_id": message.campaign_id,
        "requester": message.requester,
        "customer_id": message.customer_id,
        "channel": message.channel.value,
        "due_at": output.instant(message.due_at_ms),
        "dispatched_at": output.instant(message.dispatched_at_ms),
        "expires_at": output.instant(message.expires_at_ms),
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
        str(output.instant(message.dispatched_at_ms)),
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
    return "  ".join(part.replace("\n", " ⏎ ") for part in parts if part)
