"""An installation to measure on: a database and topics of its own, on parts that others share."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg2
from psycopg2 import extensions

from saec.settings import Settings


@dataclass(frozen=True)
class Site:
    """One installation."""

    name: str
    settings: Settings

    @contextmanager
    def connect(self) -> Iterator[extensions.connection]:
        """A connection; each statement is a transaction of its own, without a bound."""
        connection = psycopg2.connect(self.settings.database_url, connect_timeout=10)
        connection.autocommit = True
        try:
            yield connection
        finally:
            connection.close()

    def rows(self, statement: str, *given: Any) -> list[tuple[Any, ...]]:
        """What a query finds."""
        with self.connect() as connection, connection.cursor() as cursor:
            cursor.execute(statement, given or None)
            return list(cursor.fetchall())

    def run(self, *statements: str) -> None:
        """Statements without a result, one after the other."""
        with self.connect() as connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)

    def count(self, statement: str) -> int:
        """The number that a query finds."""
        return int(self.rows(statement)[0][0])

    def empty(self) -> None:
        """No requests and nothing pending; the next side begins as this one did."""
        self.run("TRUNCATE requests, pending, skips, cancels")

    def settle(self, tables: Sequence[str] = ("pending", "requests")) -> None:
        """What PostgreSQL would do sooner or later, now: vacuum, statistics, a checkpoint."""
        self.run(*(f"VACUUM (ANALYZE) {table}" for table in tables), "CHECKPOINT")

    def owners(self) -> set[str | None]:
        """Who dispatches the shards; None where nobody does."""
        return {row[0] for row in self.rows("SELECT owner FROM shards")}
