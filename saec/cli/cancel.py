"""`saec cancel`: stop what has not left yet of a request."""

from typing import Annotated

import typer

from saec.cli import compose, publishing
from saec.cli.ways import DEFAULT_REQUESTER, CaFile, Http, KeyFile, Way
from saec.settings import load_settings

_REQUESTER = (
    f"The one that the request names. By default {DEFAULT_REQUESTER}, or over HTTP the one of the "
    "API key."
)


def cancel_command(
    request_id: Annotated[str, typer.Argument(metavar="ID", help="The request's id.")],
    requester: Annotated[str | None, typer.Option("--requester", help=_REQUESTER)] = None,
    wait: Annotated[
        float | None, typer.Option("--wait", min=0, help="Wait this many seconds for the answer.")
    ] = None,
    http: Http = None,
    key_file: KeyFile = None,
    ca_file: CaFile = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Cancel a request: what has not left yet is never sent.

    With --wait the exit code is 1 when the answer is TOO_LATE, UNKNOWN_REQUEST or REJECTED.

    Example: `saec cancel 6d1f0c1e-2a55-4c3e-9a39-0f1f1d6d8f10 --requester billing --wait 5`
    """
    way = Way.of(load_settings(), http, key_file, ca_file)
    question = compose.of_cancel(request_id, way.requester(requester), way.rules)
    publishing.ask(way.put, [question], wait, as_json=as_json)
