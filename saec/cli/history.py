"""`saec history`: what happened to one request, from being asked to the messages it became.

Invariant: an address or a message never stands in it.
"""

from collections.abc import Iterator
from typing import Annotated, Any

import typer

from saec.accounts import PORTUGUESE
from saec.cli import history_lines, output
from saec.cli.errors import ExitCode
from saec.cli.history_lines import places
from saec.cli.instants import parse_past, wall_ms
from saec.cli.status import parse_id
from saec.contracts.instants import iso
from saec.history import Story, story
from saec.history.events import Event
from saec.settings import load_settings


def history_command(
    request_id: Annotated[str, typer.Argument(metavar="ID", help="The request's id.")],
    since: Annotated[
        str | None,
        typer.Option(
            "--since",
            help="Also read all answers from there on: 2h ago, or an instant with a zone. Finds "
            "repetitions, and requests that were refused.",
        ),
    ] = None,
    messages: Annotated[
        int, typer.Option("--messages", min=0, help="Show so many messages of each batch at most.")
    ] = 10,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, with every message.")] = False,
) -> None:
    """Show what happened to a request: asked, answered, cancelled, dispatched, and where it stands.

    Exit code 1 when it is not stored, or when its parts contradict one another.

    Examples:

    `saec history 6d1f0c1e-2a55-4c3e-9a39-0f1f1d6d8f10`

    `saec history 6d1f0c1e-2a55-4c3e-9a39-0f1f1d6d8f10 --since 2h`
    """
    wanted = parse_id(request_id)
    since_ms = None if since is None else parse_past("--since", since, wall_ms())
    told = story(load_settings(), wanted, since_ms=since_ms)
    if not told.account and not told.events:
        output.error(_not_found(told, since))
        raise typer.Exit(ExitCode.REFUSED)
    if as_json:
        output.as_json(as_dict(told))
    else:
        _show(told, messages)
    if told.contradicts:
        raise typer.Exit(ExitCode.REFUSED)


def as_dict(told: Story) -> dict[str, Any]:
    """A story, for JSON."""
    return {
        "request_id": str(told.request_id),
        "state": None if told.account is None else told.account.state.value,
        "contradicts": told.contradicts,
        "events": [_event(event) for event in told.events],
    }


def _event(event: Event) -> dict[str, Any]:
    return {
        "event": event.name,
        "at": iso(event.at_ms),
        **places(event.place),
        **history_lines.as_dict(event),
    }


def _not_found(told: Story, since: str | None) -> str:
    if since is None:
        return (
            f"{told.request_id} is not stored: it was refused, has not been read yet, or belongs "
            "to another installation. Give --since to read the answers from there on: "
            f"`saec history {told.request_id} --since 2h`."
        )
    return (
        f"{told.request_id} is not stored, and was not answered since then. Give an earlier "
        "--since; answers are kept for SAEC_STATUS_RETENTION_DAYS. `saec doctor` shows whether "
        "requests wait to be read."
    )


def _show(told: Story, most_messages: int) -> None:
    account = told.account
    state = "not stored" if account is None else f"{account.state} ({PORTUGUESE[account.state]})"
    output.line(f"{told.request_id}  {state}")
    for event in told.events:
        for text in _lines(event, most_messages):
            output.line(text)


def _lines(event: Event, most_messages: int) -> Iterator[str]:
    at = iso(event.at_ms) or "–"
    where = "" if event.place is None else f"  {event.place}"
    name = event.name.replace("_", " ")
    yield f"{at:<24}  {name:<14}  {history_lines.as_line(event)}{where}"
    yield from (f"{'':<42}{text}" for text in history_lines.indented(event, most_messages))
