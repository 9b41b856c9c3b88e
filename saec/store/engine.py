"""Connections and transactions; where the database's errors become SAEC's.

Invariant: a transaction is short and bounded, and whoever gets `StoreUnavailableError` or
`StoreConflictError` does not know whether it was committed. A connection whose server is gone, or
takes nothing any more, is never used again: the next transaction connects anew.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import psycopg2
from psycopg2.extensions import TRANSACTION_STATUS_ACTIVE as ACTIVE
from psycopg2.extensions import TRANSACTION_STATUS_INERROR as INERROR
from psycopg2.extensions import TRANSACTION_STATUS_UNKNOWN as UNKNOWN
from sqlalchemy import Connection, Engine, create_engine
from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError

from saec.errors import ConfigurationError, SaecError, StoreUnavailableError
from saec.store import place
from saec.store.bounds import BRIEF, ORDINARY, Bounds, opening

__all__ = [
    "BRIEF",
    "ORDINARY",
    "Bounds",
    "Connection",
    "Engine",
    "ReadOnlyError",
    "StoreConflictError",
    "count",
    "open_engine",
    "rows",
    "transaction",
]

_DATA_EXCEPTION = "22"  # the class of its SQLSTATE
# A table, column, function, type, schema or unique key that this release needs is not there.
_OTHER_SCHEMA = {"42P01", "42703", "42883", "42704", "3F000", "42P10"}
# The server ends or ended the session (08, 57P, 25P), or takes no writes as a standby does. Of
# another server behind the same address nothing would ever be heard on this connection.
_GIVE_UP = ("08", "57P", "25P03", "25P04", "25006")
# Away, overfull, or too slow: it passes. What else it answers does not by itself.
_AWAY = ("08", "57", "25P", "25006", "53", "55P03", "40")


class StoreConflictError(SaecError):
    """A key that must be new stood in the database already."""


class ReadOnlyError(StoreUnavailableError):
    """The server that answers takes no writes: a standby, or set so."""


def open_engine(url: str, *, application: str = "saec") -> Engine:
    """An engine for `url`; connects to nothing yet.

    `url` is postgresql://…, as PostgreSQL's client reads it: see `place`.

    Raises:
        ConfigurationError: it is no such URL, or asks for what SAEC cannot keep.
    """
    return create_engine(
        "postgresql+psycopg2://",
        creator=partial(psycopg2.connect, **place.parameters(url, application)),
        # Each transaction is begun here, with its bounds, and not by the driver.
        isolation_level="AUTOCOMMIT",
        pool_size=2,
        max_overflow=2,
        pool_pre_ping=False,
        use_native_hstore=False,  # one question less of each new connection
    )


@contextmanager
def transaction(
    engine: Engine,
    *,
    snapshot: bool = False,
    primary: bool = False,
    bounds: Bounds = ORDINARY,
) -> Iterator[Connection]:
    """One READ COMMITTED transaction, or with `snapshot` a read-only REPEATABLE READ one.

    Commits at the end of the block, rolls back when it raises. A server that takes no writes is
    refused at once, so that nothing is decided by what a standby knows; a snapshot may be read
    from one, unless it has to be of the `primary`.

    Raises:
        StoreUnavailableError: no answer; whether it was committed is not known.
        StoreConflictError: a unique key was taken already.
        ConfigurationError: the database has another schema than this release needs.
    """
    try:
        with _begun(engine, bounds, snapshot=snapshot, primary=primary) as connection:
            try:
                yield connection
                _commit(connection)
            except BaseException as error:
                _leave(engine, connection, error)
                raise
    # COPY runs on the driver's own cursor, so its errors come as the driver's.
    except (IntegrityError, psycopg2.IntegrityError) as error:
        raise StoreConflictError(_describe(error)) from None
    except (SQLAlchemyError, psycopg2.Error) as error:
        if _sqlstate(error) in _OTHER_SCHEMA:
            raise ConfigurationError(
                f"the database has another schema than this release needs: {_describe(error)}; "
                "run `saec init` and all processes from one release"
            ) from None
        raise _unavailable(error) from None


def _begun(engine: Engine, bounds: Bounds, *, snapshot: bool, primary: bool) -> Connection:
    """A connection with a transaction begun; the caller closes it.

    A connection that was cut while it lay idle, or whose server lost its place, is found out here,
    before anything was done: then another one is tried at once.
    """
    for last in (False, True):
        connection = engine.connect()
        try:
            _begin(connection, bounds, snapshot=snapshot, primary=primary)
        except BaseException as error:
            _leave(engine, connection, error)
            gone = connection.invalidated
            connection.close()
            if last or not gone or not isinstance(error, Exception):
                raise
        else:
            return connection
    raise AssertionError


def _begin(connection: Connection, bounds: Bounds, *, snapshot: bool, primary: bool) -> None:
    read_only, standby, *_ = rows(connection, opening(bounds, snapshot=snapshot))[0]
    if standby and (primary or not snapshot):
        raise ReadOnlyError("PostgreSQL: it is a standby, which takes no writes (25006)")
    if read_only and not snapshot:
        raise ReadOnlyError("PostgreSQL: it is set to read-only (25006)")


def _commit(connection: Connection) -> None:
    driver: Any = connection.connection.dbapi_connection
    if driver.info.transaction_status == INERROR:  # COMMIT would roll back, and not say so
        raise StoreUnavailableError("PostgreSQL: a statement failed, so it was rolled back")
    count(connection, "COMMIT")


def _leave(engine: Engine, connection: Connection, error: BaseException) -> None:
    """Roll back, and give the connection up where that is not possible or would not help."""
    try:
        if connection.invalidated:
            engine.dispose()
        elif _ends(error) or not _roll_back(connection):
            _end_session(connection)
            connection.invalidate()
            engine.dispose()  # the others lead to the same server
    except (SQLAlchemyError, psycopg2.Error):
        engine.dispose()


def _ends(error: BaseException) -> bool:
    if isinstance(error, ReadOnlyError):
        return True
    return isinstance(error, DBAPIError | psycopg2.Error) and (
        (_sqlstate(error) or "").startswith(_GIVE_UP)
    )


def _roll_back(connection: Connection) -> bool:
    """Whether the connection is fit for the next transaction."""
    driver: Any = connection.connection.dbapi_connection
    # Interrupted while PostgreSQL worked, or lost: its answer would be taken for the next one's.
    if driver.closed or driver.info.transaction_status in {ACTIVE, UNKNOWN}:
        return False
    connection.exec_driver_sql("ROLLBACK")
    return True


def _end_session(connection: Connection) -> None:
    """Ask the server to end its session: a pooler would hand the same one out again."""
    driver: Any = connection.connection.dbapi_connection
    if driver.closed or driver.info.transaction_status in {ACTIVE, UNKNOWN}:
        return
    with suppress(psycopg2.Error), driver.cursor() as cursor:
        cursor.execute("ROLLBACK; SELECT pg_terminate_backend(pg_backend_pid())")


def _unavailable(error: Exception) -> StoreUnavailableError:
    """What a server answers otherwise than by being away, as a right that is missing, lasts."""
    told, state = StoreUnavailableError(_describe(error)), _sqlstate(error)
    if state is not None and not state.startswith(_AWAY):
        told.away = None
    return told


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
