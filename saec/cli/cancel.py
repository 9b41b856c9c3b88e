"""`saec cancel`: stop what has not left yet of a request."""

from typing import Annotated

import typer

from saec.cli import compose, publishing
from saec.cli.submit import DEFAULT_REQUESTER
from saec.settings import load_settings


def cancel_command(
    request_id: Annotated[str, typer.Argument(metavar="ID", help="The request's id.")],
    requester: Annotated[
        str, typer.Option("--requester", help="The one that the request names.")
    ] = DEFAULT_REQUESTER,
    wait: Annotated[
        float | None, typer.Option("--wait", min=0, help="Wait this many seconds for the answer.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Cancel a request: what has not left yet is never sent.

    With --wait the exit code is 1 when the answer is TOO_LATE, UNKNOWN_REQUEST or REJECTED.

    Example: `saec cancel 6d1f0c1e-2a55-4c3e-9a39-0f1f1d6d8f10 --requester billing --wait 5`
    """
    settings = load_settings()
    question = compose.of_cancel(request_id, requester, settings.max_request_bytes)
    publishing.ask(settings, [question], wait, as_json=as_json)
