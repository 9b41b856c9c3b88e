"""Connections and transactions; where the database's errors become SAEC's.

Invariant: a transaction is short and bounded, and whoever gets `StoreUnavailableError` or
`StoreConflictError` does not know whether it was committed.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg2
from psycopg2.extensions import make_dsn
from sqlalchemy import URL, Connection, Engine, create_engine, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, SQLAlchemyError

from saec.errors import ConfigurationError, SaecError, StoreUnavailableError

__all__ = [
    "Connection",
    "Engine",
    "StoreConflictError",
    "bound",
    "count",
    "open_engine",
    "rows",
    "transaction",
]

# Bounds of every statement. JIT compiles longer than a claim takes. A queue's statistics are often
# those of an empty table, and then a batch would be looked up by reading all of it.
_SESSION = {
    "statement_timeout": "60s",
    "lock_timeout": "15s",
    "idle_in_transaction_session_timeout": "60s",
    "jit": "off",
    "enable_seqscan": "off",
    "timezone": "UTC",
}
_CONNECT_TIMEOUT_S = 5
_DATA_EXCEPTION = "22"  # the class of its SQLSTATE
# A table, column, function, type, schema or unique key that this release needs is not there.
_OTHER_SCHEMA = {"42P01", "42703", "42883", "42704", "3F000", "42P10"}


class StoreConflictError(SaecError):
    """A key that must be new stood in the database already."""


def open_engine(url: str, *, application: str = "saec") -> Engine:
    """An engine for `url`; connects to nothing yet.

    `url` is postgresql://…; the driver is psycopg2.

    Raises:
        ConfigurationError: it is no such URL.
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):  # its own text quotes the URL, and with it the password
        parsed = None
    if parsed is None or parsed.get_backend_name() != "postgresql" or _is_misread(parsed):
        raise ConfigurationError(
            "SAEC_DATABASE_URL is not like postgresql://user:password@host:5432/database; in a "
            "password @ is written as %40, : as %3A, / as %2F"
        )
    _check_options(parsed)
    return create_engine(
        parsed.set(drivername="postgresql+psycopg2"),
        # What the locks of cancel and claim rest on, whatever the database's own default is.
        isolation_level="READ COMMITTED",
        pool_size=2,
        max_overflow=2,
        pool_pre_ping=False,
        connect_args={
            "connect_timeout": _CONNECT_TIMEOUT_S,
            "application_name": application,
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "tcp_user_timeout": 30_000,
            "options": " ".join(f"-c {name}={value}" for name, value in _SESSION.items()),
        },
    )


def _is_misread(url: URL) -> bool:
    """Whether a piece of a password was taken for the host or the port, and would be quoted."""
    return "@" in (url.host or "") or not 0 < (url.port or 5432) < 65_536


def _check_options(url: URL) -> None:
    """Refuse what PostgreSQL's client would refuse at every attempt to connect."""
    try:
        make_dsn(**{name: str(value) for name, value in url.query.items()})
    except psycopg2.ProgrammingError:
        raise ConfigurationError(
            "SAEC_DATABASE_URL has an option behind the ? that PostgreSQL's client does not know"
        ) from None


@contextmanager
def transaction(engine: Engine, *, snapshot: bool = False) -> Iterator[Connection]:
    """One READ COMMITTED transaction, or with `snapshot` a read-only REPEATABLE READ one.

    Commits at the end of the block, rolls back when it raises.

    Raises:
        StoreUnavailableError: no answer; whether it was committed is not known.
        StoreConflictError: a unique key was taken already.
        ConfigurationError: the database has another schema than this release needs.
    """
    try:
        with engine.connect() as connection:
            if snapshot:
                connection.execution_options(
                    isolation_level="REPEATABLE READ", postgresql_readonly=True
                )
            with connection.begin():
                yield connection
    # COPY runs on the driver's own cursor, so its errors come as the driver's.
    except (IntegrityError, psycopg2.IntegrityError) as error:
        raise StoreConflictError(_describe(error)) from None
    except (SQLAlchemyError, psycopg2.Error) as error:
        if _sqlstate(error) in _OTHER_SCHEMA:
            raise ConfigurationError(
                f"the database has another schema than this release needs: {_describe(error)}; "
                "run `saec init` and all processes from one release"
            ) from None
        raise StoreUnavailableError(_describe(error)) from None


def bound(connection: Connection, most_s: int) -> None:
    """Let no statement of this transaction take longer than `most_s` seconds."""
    count(connection, f"SET LOCAL statement_timeout = '{most_s}s'")


def rows(connection: Connection, sql: str, **parameters: Any) -> list[Any]:
    """The rows of a statement written in psycopg2's `%(name)s` style."""
    return list(connection.exec_driver_sql(sql, parameters).fetchall())


def count(connection: Connection, sql: str, **parameters: Any) -> int:
    """How many rows a statement wrote."""
    return connection.exec_driver_sql(sql, parameters).rowcount


def _sqlstate(error: Exception) -> str | None:
    said = error.orig if isinstance(error, DBAPIError) else error
    return said.pgcode if isinstance(said, psycopg2.Error) else None


def _describe(error: Exception) -> str:
    """What PostgreSQL said, in one line, without the statement, its values, DETAIL or CONTEXT."""
    said = error.orig if isinstance(error, DBAPIError) else error
    if not isinstance(said, psycopg2.Error):
        return f"PostgreSQL: {type(error).__name__}"
    text = str(said).strip().partition("\n")[0] if said.pgcode is None else _primary(said)
    return f"PostgreSQL: {text} ({said.pgcode or type(said).__name__})"


def _primary(error: psycopg2.Error) -> str:
    """The primary message: names of tables and columns. A data exception's would quote values."""
    quotes_values = (error.pgcode or "").startswith(_DATA_EXCEPTION)
    return (not quotes_values and error.diag.message_primary) or type(error).__name__
