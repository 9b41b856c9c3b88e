"""A backup of an installation's database, as a copy on the same server, or of its tables alone.

Owns the copies. Invariant: what is restored is the database as it stood at the instant of `take`.
"""

from collections.abc import Callable
from contextlib import closing

import psycopg2


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


class TableCopies:
    """Copies of all tables, in the same database; put back, no connection breaks."""

    _NAMES = """
        SELECT quote_ident(tablename) FROM pg_tables
        WHERE schemaname = 'public' AND tablename <> 'alembic_version' ORDER BY tablename
    """

    def __init__(self, dsn: Callable[[], str]) -> None:
        self._dsn = dsn

    def take(self) -> None:
        """Copy every table, all at one instant."""
        with closing(psycopg2.connect(self._dsn())) as connection:
            connection.set_session(isolation_level="REPEATABLE READ")
            with connection, connection.cursor() as cursor:
                cursor.execute("DROP SCHEMA IF EXISTS was CASCADE; CREATE SCHEMA was")
                for name in self._names(cursor):
                    cursor.execute(f"CREATE TABLE was.{name} AS TABLE public.{name}")

    def put_back(self) -> None:
        """Put them in the place of what stands, in one transaction."""
        with (
            closing(psycopg2.connect(self._dsn())) as connection,
            connection,
            connection.cursor() as cursor,
        ):
            names = self._names(cursor)
            cursor.execute(f"TRUNCATE {', '.join(f'public.{name}' for name in names)}")
            for name in names:
                cursor.execute(f"INSERT INTO public.{name} TABLE was.{name}")

    def _names(self, cursor: "psycopg2.extensions.cursor") -> list[str]:
        cursor.execute(self._NAMES)
        return [name for (name,) in cursor.fetchall()]
