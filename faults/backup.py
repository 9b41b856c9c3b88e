"""A backup of an installation's database, as a copy on the same server.

Owns the copy. Invariant: what is restored is the database as it stood at the instant of `take`.
"""

from collections.abc import Callable


class Backup:
    """Takes a copy while processes work, and puts it back in the place of what stands.

    `sql` runs a statement in another database of the same server, outside of a transaction.
    """

    def __init__(self, sql: Callable[[str], object], database: str) -> None:
        self._sql = sql
        self._name = database
        self._copy = f"{database}_backup"

    def take(self) -> None:
        """Copy the database. Whoever is connected is thrown out for a moment, in whatever it did.

        The copy is what a physical backup of that instant would be.
        """
        self.drop()
        self._sql(f'ALTER DATABASE "{self._name}" ALLOW_CONNECTIONS false')
        try:
            self._throw_out()
            self._sql(f'CREATE DATABASE "{self._copy}" TEMPLATE "{self._name}"')
        finally:
            self._sql(f'ALTER DATABASE "{self._name}" ALLOW_CONNECTIONS true')

    def restore(self) -> None:
        """Put the copy in the place of the database; it can be done again."""
        self._sql(f'DROP DATABASE IF EXISTS "{self._name}" WITH (FORCE)')
        self._sql(f'CREATE DATABASE "{self._name}" TEMPLATE "{self._copy}"')

    def drop(self) -> None:
        """Delete the copy."""
        self._sql(f'DROP DATABASE IF EXISTS "{self._copy}"')

    def _throw_out(self) -> None:
        sessions = f"FROM pg_stat_activity WHERE datname = '{self._name}'"
        self._sql(f"SELECT pg_terminate_backend(pid, 5000) {sessions}")
