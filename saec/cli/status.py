"""`saec status`: where one request stands."""

from typing import Annotated
from uuid import UUID

import typer

from saec.accounts import PORTUGUESE, as_dict
from saec.cli import output
from saec.cli.errors import ExitCode, InputError
from saec.contracts.events import canonical_uuid
from saec.contracts.instants import iso
from saec.settings import Settings, load_settings
from saec.store import history, installation
from saec.store.engine import open_engine, transaction
from saec.store.history import Account


def status_command(
    request_id: Annotated[str, typer.Argument(metavar="ID", help="The request's id.")],
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Show where a request stands: its state, and what became of its messages.

    Exit code 1 when it is not stored.

    Example: `saec status 6d1f0c1e-2a55-4c3e-9a39-0f1f1d6d8f10`
    """
    wanted = parse_id(request_id)
    account = _read(load_settings(), wanted)
    if account is None:
        output.error(
            f"{wanted} is not stored: it was refused, or has not been read yet. "
            "`saec tail status --no-follow` shows what was answered."
        )
        raise typer.Exit(ExitCode.REFUSED)
    if as_json:
        output.as_json(as_dict(account))
    else:
        _show(account)


def parse_id(text: str) -> UUID:
    """The id that was given. Raises InputError: it is none."""
    try:
        return canonical_uuid(text)
    except ValueError:
        raise InputError("ID: not a canonical lowercase UUID") from None


def _read(settings: Settings, request_id: UUID) -> Account | None:
    engine = open_engine(settings.database_url, application="saec-status")
    try:
        with transaction(engine, snapshot=True) as connection:
            installation.read(connection, settings.topic_prefix)
            return history.read_account(connection, request_id)
    finally:
        engine.dispose()


def _show(account: Account) -> None:
    output.line(f"{account.request_id}  {account.state} ({PORTUGUESE[account.state]})")
    told = {
        "requester": account.requester,
        "campaign": account.campaign_id,
        "channels": ", ".join(account.channels),
        "lane": account.lane,
        "due": iso(account.due_at_ms),
        "expires": iso(account.expires_at_ms),
        "recipients": f"{account.recipients:,}",
    }
    for name, value in told.items():
        if value is not None:
            output.line(f"  {name:<11}{value}")
    counts = (account.total, account.pending, account.skipped, account.cancelled, account.sent)
    output.table("Messages", ("Total", "Pending", "Skipped", "Cancelled", "Sent"), [counts])
    if account.skips:
        rows = [(skip.channel, skip.reason, skip.messages) for skip in account.skips]
        output.table("Skipped", ("Channel", "Reason", "Messages"), rows)
