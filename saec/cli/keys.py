"""`saec keys`: make, list and revoke the keys of the HTTP endpoint.

Invariant: a key's text is written once, to stdout, when it is made. It is no argument of a command,
so that no list of processes shows it, and no error quotes what was given in place of one.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from pydantic import TypeAdapter, ValidationError

from saec.cli import output
from saec.cli.errors import Commands, ExitCode, InputError
from saec.cli.instants import parse_coming
from saec.contracts.events import Id
from saec.contracts.instants import iso
from saec.keys import Scope, is_key_id, new_key
from saec.settings import load_settings
from saec.store import installation
from saec.store import keys as store
from saec.store.engine import Connection, open_engine, transaction
from saec.store.keys import KeyRow
from saec.store.shards import now_ms

NOTICED_S = 5
"""Within so many seconds a running endpoint knows of a key that was made or revoked."""
_ID: TypeAdapter[str] = TypeAdapter(Id)

keys = typer.Typer(cls=Commands, no_args_is_help=True, help="Keys of the HTTP endpoint.")


@keys.callback()
def _group() -> None:
    """Keys of the HTTP endpoint."""


@keys.command("add")
def add_command(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What you call it: who uses it.")],
    requester: Annotated[
        str, typer.Option("--requester", help="Whose requests it schedules, cancels and reads.")
    ],
    scopes: Annotated[
        list[Scope],
        typer.Option(
            "--scope",
            help="What it may do; may be repeated. schedule: schedule and cancel. read: read its "
            "requester's requests. operate: read everybody's, and what is pending.",
        ),
    ] = [Scope.SCHEDULE, Scope.READ],  # noqa: B006 - typer reads it, nobody changes it
    rate: Annotated[
        int | None,
        typer.Option(
            "--rate",
            min=1,
            max=1_000_000,
            help="HTTP requests a second it may make of one process; SAEC_HTTP_RATE if not given.",
        ),
    ] = None,
    expires: Annotated[
        str | None,
        typer.Option(
            "--expires", help="Until when: 90d, or ISO 8601 with a zone. Not given: for ever."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Make a key, and print it. It is shown once: SAEC keeps only a hash of it.

    The key alone goes to stdout.

    Example: `KEY=$(saec keys add "billing, nightly job" --requester billing --expires 90d)`
    """
    name, requester = _id("NAME", name), _id("--requester", requester)
    text, key_id, secret_hash = new_key()
    with _connection() as connection:
        created_at_ms = now_ms(connection)
        row = KeyRow(
            key_id=key_id,
            secret_hash=secret_hash,
            name=name,
            requester=requester,
            scopes=tuple(scope for scope in Scope if scope in scopes),
            rate=rate,
            created_at_ms=created_at_ms,
            expires_at_ms=_expiry(expires, created_at_ms),
            revoked_at_ms=None,
        )
        store.insert_key(connection, row)
    if as_json:
        output.as_json({"key": text} | _as_dict(row, created_at_ms))
        return
    output.line(text)
    output.note(
        f"Key {key_id} of {requester} ({', '.join(row.scopes)}). It is shown this once: keep it as "
        "you keep passwords. With each HTTP request send the header\n"
        f"Authorization: Bearer saec_{key_id}_…\n"
        f"Running endpoints know it within {NOTICED_S} s."
    )


@keys.command("list")
def list_command(
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """List every key that was ever made, oldest first. Secrets are not known to SAEC.

    Example: `saec keys list`
    """
    with _connection() as connection:
        at_ms, found = now_ms(connection), store.read_keys(connection)
    if as_json:
        output.as_json([_as_dict(row, at_ms) for row in found])
    elif not found:
        output.line("There are no keys: `saec keys add` makes one.")
    else:
        columns = ("Id", "Name", "Requester", "Scopes", "Rate", "Created", "Expires", "State")
        output.table("Keys (times in UTC)", columns, [_cells(row, at_ms) for row in found])


@keys.command("revoke")
def revoke_command(
    key_id: Annotated[str, typer.Argument(metavar="KEY_ID", help="The key's id, not its text.")],
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Revoke a key, for ever: running endpoints refuse it within 5 s.

    An endpoint that does not reach PostgreSQL refuses it when it does again.

    What it scheduled stays scheduled. Revoking it again changes nothing.

    Example: `saec keys revoke 0123456789ab`
    """
    if not is_key_id(key_id):
        raise InputError(
            "KEY_ID: 12 characters of 0-9 and a-f, as `saec keys list` shows them; in a key they "
            "stand behind saec_"
        )
    with _connection() as connection:
        at_ms = now_ms(connection)
        row = store.revoke_key(connection, key_id, at_ms)
    if row is None:
        output.error(f"there is no key {key_id}: look for it with `saec keys list`")
        raise typer.Exit(ExitCode.REFUSED)
    if as_json:
        output.as_json(_as_dict(row, at_ms))
    else:
        output.line(
            f"Key {key_id} of {row.requester} ({row.name}) is revoked since "
            f"{iso(row.revoked_at_ms)}. Running endpoints refuse it within "
            f"{NOTICED_S} s of that."
        )


@contextmanager
def _connection() -> Iterator[Connection]:
    """A transaction on the installation's database."""
    settings = load_settings()
    engine = open_engine(settings.database_url, application="saec-keys")
    try:
        with transaction(engine) as connection:
            installation.read(connection, settings.topic_prefix)
            yield connection
    finally:
        engine.dispose()


def _id(what: str, text: str) -> str:
    """The text, if an event could name a requester so. Raises InputError."""
    try:
        return _ID.validate_python(text)
    except ValidationError:
        raise InputError(
            f"{what}: 1 to 128 characters, no control characters, no space at either end"
        ) from None


def _expiry(text: str | None, from_ms: int) -> int | None:
    return None if text is None else parse_coming("--expires", text, from_ms)


def _cells(row: KeyRow, at_ms: int) -> tuple[str | int | None, ...]:
    return (
        row.key_id,
        row.name,
        row.requester,
        ", ".join(row.scopes),
        row.rate,
        _minute(row.created_at_ms),
        _minute(row.expires_at_ms),
        row.state(at_ms),
    )


def _minute(at_ms: int | None) -> str | None:
    return None if at_ms is None else str(iso(at_ms))[:16].replace("T", " ")


def _as_dict(row: KeyRow, at_ms: int) -> dict[str, Any]:
    return {
        "key_id": row.key_id,
        "name": row.name,
        "requester": row.requester,
        "scopes": row.scopes,
        "rate": row.rate,
        "created_at": iso(row.created_at_ms),
        "expires_at": iso(row.expires_at_ms),
        "revoked_at": iso(row.revoked_at_ms),
        "state": row.state(at_ms),
    }
