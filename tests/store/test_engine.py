"""Connections and transactions on the real database."""

from collections.abc import Iterator
from contextlib import suppress

import pytest
from sqlalchemy.exc import DBAPIError

from saec.errors import ConfigurationError, SaecError, StoreUnavailableError
from saec.settings import Settings
from saec.store.bounds import BRIEF, ORDINARY, Bounds, not_in_force
from saec.store.engine import Connection, Engine, count, open_engine, rows, transaction
from saec.store.place import parameters


@pytest.fixture
def engine(installation: Settings) -> Iterator[Engine]:
    made = open_engine(installation.database_url)
    yield made
    made.dispose()


def pid(connection: Connection) -> int:
    return int(rows(connection, "SELECT pg_backend_pid()")[0][0])


def cut(engine: Engine, session: int) -> None:
    """End a session, and wait until it is gone."""
    with transaction(engine, snapshot=True) as other:
        assert rows(other, "SELECT pg_terminate_backend(%(pid)s, 10000)", pid=session) == [(True,)]


@pytest.mark.parametrize("bounds", [ORDINARY, BRIEF, Bounds(statement_s=5)])
@pytest.mark.parametrize("mode", ["READ COMMITTED", "REPEATABLE READ"])
def test_each_transaction_has_its_bounds_and_leaves_none_behind(
    engine: Engine, bounds: Bounds, mode: str
) -> None:
    snapshot = mode == "REPEATABLE READ"
    with transaction(engine, bounds=bounds, snapshot=snapshot) as connection:
        used = pid(connection)
        assert not_in_force(connection, bounds) == {}
    with engine.connect() as connection:
        assert pid(connection) == used
        assert rows(connection, "SHOW statement_timeout") == [("0",)]
    with transaction(engine) as connection:
        assert pid(connection) == used
        count(connection, "SET LOCAL jit = on")
        assert not_in_force(connection) == {"jit": "on"}


def failing(engine: Engine) -> None:
    """A transaction that does not hear of an error of its own."""
    with transaction(engine) as connection:
        count(connection, "CREATE TABLE lost ()")
        with suppress(DBAPIError):
            count(connection, "SELECT 1 / 0")


def test_what_failed_within_a_transaction_is_not_committed_and_said(engine: Engine) -> None:
    with pytest.raises(StoreUnavailableError, match="rolled back"):
        failing(engine)
    with transaction(engine) as connection:
        assert rows(connection, "SELECT to_regclass('lost') IS NULL") == [(True,)]


def test_an_error_of_the_block_rolls_back_and_keeps_the_connection(engine: Engine) -> None:
    used = []
    with suppress(KeyError), transaction(engine) as connection:
        used.append(pid(connection))
        count(connection, "CREATE TABLE lost ()")
        raise KeyError
    with transaction(engine) as connection:
        assert [pid(connection)] == used
        assert rows(connection, "SELECT to_regclass('lost') IS NULL") == [(True,)]


def cut_within(engine: Engine, other: Engine) -> int:
    """Lose the session of a transaction that has begun; it fails. Returns its session."""
    used = 0
    with pytest.raises(StoreUnavailableError), transaction(engine) as connection:  # noqa: PT012
        used = pid(connection)
        cut(other, used)
        rows(connection, "SELECT 1")
    return used


def test_a_session_cut_while_it_lay_idle_costs_no_transaction(
    engine: Engine, installation: Settings
) -> None:
    other = open_engine(installation.database_url)
    with transaction(engine) as connection:
        used = pid(connection)
    cut(other, used)
    with transaction(engine) as connection:
        assert pid(connection) != used
    used = cut_within(engine, other)
    with transaction(engine) as connection:
        assert pid(connection) != used
    other.dispose()


def test_a_server_that_takes_no_writes_is_left_for_another(
    engine: Engine, installation: Settings
) -> None:
    """Nobody ends the session: neither an operator, nor the server."""
    other = open_engine(installation.database_url)
    with transaction(engine) as connection:
        name, used = rows(connection, "SELECT current_database()")[0][0], pid(connection)
        count(connection, f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    cut(other, used)
    ended = set()
    for _ in range(3):
        with pytest.raises(StoreUnavailableError, match="25006"), transaction(engine):
            raise AssertionError
        with transaction(engine, snapshot=True) as connection:  # what only reads may be asked
            ended.add(pid(connection))
    assert len(ended) == 3
    with transaction(other, snapshot=True) as connection:
        assert rows(connection, "SELECT 1") == [(1,)]
    with other.connect() as connection:
        count(connection, "SET default_transaction_read_only = off")
        count(connection, f"ALTER DATABASE {name} RESET default_transaction_read_only")
    with transaction(engine) as connection:
        assert pid(connection) not in ended
    other.dispose()


def test_read_committed_rows_are_asked_for_whatever_the_database_defaults_to(
    installation: Settings,
) -> None:
    """Under another isolation a cancel would not see the claim that it waited for."""
    engine = open_engine(installation.database_url)
    with transaction(engine) as connection:
        name = rows(connection, "SELECT current_database()")[0][0]
        connection.exec_driver_sql(
            f"ALTER DATABASE {name} SET default_transaction_isolation = 'repeatable read'"
        )
    engine.dispose()
    for snapshot, level in ((False, "read committed"), (True, "repeatable read")) * 2:
        with transaction(engine, snapshot=snapshot) as connection:
            assert rows(connection, "SHOW transaction_isolation")[0][0] == level
    engine.dispose()


@pytest.mark.parametrize(
    "url",
    [
        "mysql://u:s3cret@h/d",
        "s3cret",
        "",
        "postgresql://u:s3cret@h:x/d",
        # What a password is cut at, of which the rest would be taken for the host or the port.
        "postgresql://u:p@s3cret@h/d",
        "postgresql://u:99999999/s3cret",
        "postgresql://u:p@h/d?s3cret=1",
        "postgresql://u:p@h/d?password=s3cret&nonsense=1",
        "postgresql://u:p@h/d?password=s3cret&password=s3cret",
        "postgresql://u:s3cret@/d?host=h:5432",
        "postgresql://u:s3cret@h/d?options=-c%20statement_timeout%3D5s",
        "postgresql://u:s3cret@h/d?options=--lock-timeout%3D5s",
    ],
)
def test_what_is_no_url_of_postgresql_is_refused_without_quoting_it(url: str) -> None:
    with pytest.raises(ConfigurationError, match="SAEC_DATABASE_URL") as error:
        open_engine(url)
    assert "s3cret" not in str(error.value)


def test_what_the_url_says_is_kept(installation: Settings) -> None:
    mark = "&" if "?" in installation.database_url else "?"
    options = "options=-c%20search_path%3Dhere,public%20-c%20work_mem%3D8MB"
    said = f"{options}&application_name=mine&connect_timeout=30"
    engine = open_engine(f"{installation.database_url}{mark}{said}", application="saec-test")
    with transaction(engine) as connection:
        asked = "SELECT current_setting('search_path'), current_setting('work_mem'), "
        (found,) = rows(connection, asked + "current_setting('application_name')")
        assert tuple(found) == ("here,public", "8MB", "mine")
        assert not_in_force(connection) == {}
    engine.dispose()


def test_of_several_servers_the_one_that_takes_writes_is_looked_for() -> None:
    several = parameters("postgresql://u@h1:5433,h2:5434/d?connect_timeout=30", "saec-x")
    assert (several["host"], several["port"], several["dbname"]) == ("h1,h2", "5433,5434", "d")
    assert several["target_session_attrs"] == "read-write"
    assert (several["connect_timeout"], several["application_name"]) == ("30", "saec-x")
    chosen = parameters("postgresql://u@h1,h2/d?target_session_attrs=any")
    assert chosen["target_session_attrs"] == "any"
    assert "target_session_attrs" not in parameters("postgresql://u@h1/d")


@pytest.mark.parametrize(
    ("state", "away"),
    [
        *(
            (state, "PostgreSQL")
            for state in ("57P01", "57014", "53100", "53300", "55P03", "40001")
        ),
        *((state, None) for state in ("42501", "22012", "XX000", "23514")),
    ],
)
def test_only_what_passes_by_itself_counts_as_being_away(
    engine: Engine, state: str, away: str | None
) -> None:
    """A health check waits for the one, and tells the other."""
    fault = f"DO $$ BEGIN RAISE EXCEPTION 'for a test' USING ERRCODE = '{state}'; END $$"
    with pytest.raises(SaecError) as told, transaction(engine) as connection:
        count(connection, fault)
    assert told.value.away == away
