"""`saec submit`: publish scheduling requests."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from saec.cli import compose, publishing
from saec.cli.errors import InputError
from saec.cli.instants import FORMS, wall_ms
from saec.cli.ways import DEFAULT_REQUESTER, CaFile, Http, KeyFile, Way
from saec.settings import load_settings

_WAIT = "Wait this many seconds for the answers."
_REQUESTER = (
    f"Who asks; a cancel must name the same. By default {DEFAULT_REQUESTER}, or over HTTP the one "
    "of the API key."
)


def submit_command(
    file: Annotated[
        str | None,
        typer.Argument(help="JSON file: an object, an array or a line each; - for stdin."),
    ] = None,
    *,
    to: Annotated[list[str] | None, typer.Option("--to", help="Customer id; repeat it.")] = None,
    channel: Annotated[
        list[str] | None,
        typer.Option("--channel", help="EMAIL, SMS, WHATSAPP or PUSH; repeat it."),
    ] = None,
    body: Annotated[str | None, typer.Option("--body", help="The message's text.")] = None,
    body_file: Annotated[
        Path | None, typer.Option("--body-file", help="The message, byte for byte.")
    ] = None,
    subject: Annotated[str | None, typer.Option("--subject")] = None,
    content_type: Annotated[
        str | None, typer.Option("--content-type", help="By default plain text, or bytes.")
    ] = None,
    at: Annotated[str | None, typer.Option("--at", help=f"When it is due: {FORMS}.")] = None,
    expires: Annotated[
        str | None,
        typer.Option("--expires", help="Not to be sent from then on; the forms of --at."),
    ] = None,
    campaign: Annotated[str | None, typer.Option("--campaign", help="Campaign id.")] = None,
    request_id: Annotated[
        str | None, typer.Option("--id", help="Request id, a UUID; by default a new one.")
    ] = None,
    requester: Annotated[str | None, typer.Option("--requester", help=_REQUESTER)] = None,
    lane: Annotated[
        str | None, typer.Option("--lane", help="TRANSACTIONAL or CAMPAIGN; by default by size.")
    ] = None,
    attribute: Annotated[
        list[str] | None, typer.Option("--attribute", help="name=value for the sender; repeat it.")
    ] = None,
    wait: Annotated[float | None, typer.Option("--wait", min=0, help=_WAIT)] = None,
    http: Http = None,
    key_file: KeyFile = None,
    ca_file: CaFile = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Publish scheduling requests; prints their ids.

    One request by the flags, or many in a FILE. Everything is validated before anything is
    published. Examples:

    `saec submit --to 42 --channel EMAIL --subject Fatura --body 'Olá!' --at +10s --wait 5`

    `saec submit --channel PUSH --body 'Bom dia ☀️' --at 2026-12-01T09:00:00-03:00`

    `saec submit requests.jsonl --wait 30`

    `SAEC_API_KEY=$KEY saec submit requests.jsonl --http https://saec.example.com`
    """
    way = Way.of(load_settings(), http, key_file, ca_file)
    if file is not None:
        if to or channel or body or body_file or at:
            raise InputError("give either a FILE or a request by flags, not both")
        raw = sys.stdin.buffer.read() if file == "-" else compose.read_file(Path(file))
        questions = compose.of_json(raw, way.rules)
    else:
        flags = compose.Flags(
            to=to or [],
            channels=channel or [],
            body=body,
            body_file=body_file,
            subject=subject,
            content_type=content_type,
            at=at,
            expires=expires,
            campaign=campaign,
            request_id=request_id,
            requester=way.requester(requester),
            lane=lane,
            attributes=attribute or [],
        )
        questions = [compose.of_flags(flags, wall_ms(), way.rules)]
    publishing.ask(way.put, questions, wait, as_json=as_json)
