"""Brings a database to the shape this code needs, and says when it has another.

Invariant: upgrades run under one lock, so that several `saec init` at once do the work once.
"""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from saec.errors import ConfigurationError

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
    current = MigrationContext.configure(connection).get_current_revision()
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if current is not None and current not in known:
        raise ConfigurationError(
            f"the database is at schema {current}, which this release does not know: run "
            "`saec init` with the newest version of SAEC in use"
        )
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def check(connection: Connection) -> None:
    """Refuse a database that is older or newer than this code.

    Raises:
        ConfigurationError: says which of the two to bring up to date.
    """
    head = ScriptDirectory.from_config(_config()).get_current_head()
    current = MigrationContext.configure(connection).get_current_revision()
    if current is None:
        raise ConfigurationError("the database has no SAEC tables: run `saec init` first")
    if current != head:
        raise ConfigurationError(
            f"the database is at schema {current}, this code needs {head}: run `saec init` "
            "with the newest version of SAEC in use, and upgrade the processes that are older"
        )
