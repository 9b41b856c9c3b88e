"""A backup of an installation's database, as a copy on the same server."""

from urllib.parse import urlsplit

from saec.settings import Settings
from tests.stack import Stack


class Backup:
    """Takes a copy while processes work, and puts it back in the place of what stands."""

    def __init__(self, stack: Stack, settings: Settings) -> None:
        self._stack = stack
        self._name = urlsplit(settings.database_url).path.lstrip("/")
        self._copy = f"{self._name}_backup"

    def take(self) -> None:
        """Copy the database. Whoever is connected is thrown out for a moment, in whatever it did.

        The copy is what a physical backup of that instant would be.
        """
        self._stack.sql(f'DROP DATABASE IF EXISTS "{self._copy}"')
        self._stack.sql(f'ALTER DATABASE "{self._name}" ALLOW_CONNECTIONS false')
        self._throw_out()
        self._stack.sql(f'CREATE DATABASE "{self._copy}" TEMPLATE "{self._name}"')
        self._stack.sql(f'ALTER DATABASE "{self._name}" ALLOW_CONNECTIONS true')

    def restore(self) -> None:
        """Put the copy in the place of the database; it can be done again."""
        self._stack.sql(f'DROP DATABASE "{self._name}" WITH (FORCE)')
        self._stack.sql(f'CREATE DATABASE "{self._name}" TEMPLATE "{self._copy}"')

    def drop(self) -> None:
        """Delete the copy."""
        self._stack.sql(f'DROP DATABASE IF EXISTS "{self._copy}"')

    def _throw_out(self) -> None:
        self._stack.sql(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
            f"WHERE datname = '{self._name}'"
        )
