"""Brings a database to the shape this code needs.

Invariant: upgrades run under one lock, so that several `saec init` at once do the work once.
"""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from saec.errors import ConfigurationError
from saec.store import schema

_LOCK = 0x5AEC  # pg_advisory_xact_lock: held for the transaction, so it is safe behind a pooler


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    return config


def upgrade(connection: Connection) -> None:
    """Run every migration that is missing, in this transaction.

    Raises:
        ConfigurationError: a newer release migrated the database.
    """
    connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    config = _config()
    current = schema.version(connection)
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if current is not None and current not in known:
        raise ConfigurationError(
            f"the database is at schema {current}, which this release does not know: run "
            "`saec init` with the newest version of SAEC in use"
        )
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
