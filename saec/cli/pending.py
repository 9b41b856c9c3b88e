"""`saec pending`: what is still to be dispatched."""

from typing import Annotated

import typer

from saec.accounts import hour_as_dict
from saec.cli import output
from saec.contracts.instants import iso
from saec.settings import Settings, load_settings
from saec.store import history, installation
from saec.store.engine import open_engine, transaction
from saec.store.history import PendingHour


def pending_command(
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Show what is still to be dispatched, by hour (UTC), lane and channel.

    Example: `saec pending`
    """
    hours = _read(load_settings())
    if as_json:
        output.as_json([hour_as_dict(hour) for hour in hours])
    elif not hours:
        output.line("Nothing is pending.")
    else:
        rows = [(_hour(h), h.lane, h.channel, h.requests, h.messages) for h in hours]
        columns = ("Hour (UTC)", "Lane", "Channel", "Requests", "Messages")
        output.table("Pending", columns, rows)
        output.line(f"{output.counted(sum(h.messages for h in hours), 'message')} in all")


def _read(settings: Settings) -> list[PendingHour]:
    engine = open_engine(settings.database_url, application="saec-pending")
    try:
        with transaction(engine, snapshot=True) as connection:
            installation.read(connection, settings.topic_prefix)
            return history.read_pending(connection)
    finally:
        engine.dispose()


def _hour(hour: PendingHour) -> str:
    return iso(hour.hour_ms)[:16].replace("T", " ")
