"""Which shape the database has: the number of its last migration.

Apart from `migrate`, which only `saec init` needs: a process that starts does not load its tools.
"""

from sqlalchemy import Connection

from saec.errors import ConfigurationError
from saec.store.engine import rows

HEAD = "0003"
"""The last migration of this release."""


def check(connection: Connection) -> None:
    """Refuse a database that is older or newer than this code.

    Raises:
        ConfigurationError: says which of the two to bring up to date.
    """
    current = version(connection)
    if current is None:
        raise ConfigurationError("the database has no SAEC tables: run `saec init` first")
    if current != HEAD:
        raise ConfigurationError(
            f"the database is at schema {current}, this code needs {HEAD}: run `saec init` "
            "with the newest version of SAEC in use, and upgrade the processes that are older"
        )


def version(connection: Connection) -> str | None:
    """The number of the last migration that ran; None when none ever did."""
    if rows(connection, "SELECT to_regclass('alembic_version')")[0][0] is None:
        return None
    found = rows(connection, "SELECT version_num FROM alembic_version")
    return str(found[0][0]) if found else None
