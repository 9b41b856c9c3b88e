"""Connections and transactions over a switchover, and through a pooler."""

import threading
from collections.abc import Callable

import psycopg2
import pytest

from faults.proxy import HOST
from saec.embedded.postgres import USER
from saec.errors import StoreUnavailableError
from saec.settings import Settings
from saec.store.bounds import BRIEF, ORDINARY, not_in_force
from saec.store.engine import Engine, count, open_engine, rows, transaction
from saec.store.inspection import read_durability
from tests.failover.conftest import database_of
from tests.failover.pair import PAUSE_S, Pair
from tests.failover.pooler import USUAL, Pooler, needed


def write(engine: Engine) -> None:
    with transaction(engine) as connection:
        count(connection, "UPDATE shards SET halted = NULL")


def read_batch(engine: Engine) -> None:
    """Dispatch only reads here, and a standby may not know yet what is read."""
    with transaction(engine, snapshot=True, primary=True) as connection:
        rows(connection, "SELECT 1")


def refused(engine: Engine) -> None:
    for use in (write, read_batch):
        with pytest.raises(StoreUnavailableError, match="25006"):
            use(engine)


def test_nobody_stays_on_a_demoted_primary(pair: Pair, installed: Settings) -> None:
    engine = open_engine(installed.database_url)
    write(engine)
    pair.catch_up()
    pair.switch_over()
    refused(engine)
    with transaction(engine, snapshot=True) as connection:  # `saec status` may ask a standby
        assert rows(connection, "SELECT pg_is_in_recovery()") == [(True,)]
    pair.turn()  # no connection is cut
    write(engine)
    assert pair.primary.sessions() == 1
    engine.dispose()


def test_of_several_servers_the_primary_is_found_wherever_it_is(
    pair: Pair, installed: Settings
) -> None:
    ports = f"{HOST}:{pair.primary.port},{HOST}:{pair.standby.port}"
    engine = open_engine(f"postgresql://{USER}@{ports}/{database_of(installed)}")
    write(engine)
    pair.catch_up()
    pair.switch_over()
    pair.turn()
    write(engine)
    engine.dispose()


def unawaited(pair: Pair) -> int:
    """As a user sees it who may see no details of standbys."""
    engine = open_engine(pair.primary.url().replace(f"{USER}@", "plain@"))
    try:
        with transaction(engine, snapshot=True) as connection:
            return read_durability(connection).unawaited
    finally:
        engine.dispose()


def test_doctor_sees_a_standby_that_no_commit_waits_for(pair: Pair) -> None:
    pair.catch_up()
    pair.primary.sql("CREATE ROLE plain LOGIN")
    assert unawaited(pair) == 1
    pair.primary.sql("ALTER SYSTEM SET synchronous_standby_names = '*'")
    pair.primary.sql("SELECT pg_reload_conf()")
    while pair.primary.sql("SHOW synchronous_standby_names") != [("*",)]:
        threading.Event().wait(PAUSE_S)
    assert unawaited(pair) == 0
    pair.primary.sql("ALTER DATABASE postgres SET synchronous_commit = local")
    assert unawaited(pair) == 1


@needed
@pytest.mark.parametrize("settings", [{}, USUAL], ids=["default", "usual"])
def test_every_bound_holds_through_a_pooler(
    pair: Pair,
    installed: Settings,
    make_pooler: Callable[..., Pooler],
    settings: dict[str, str],
) -> None:
    url = make_pooler(pair.address, settings).url(database_of(installed))
    engine = open_engine(url)
    for bounds in (ORDINARY, BRIEF):
        with transaction(engine, bounds=bounds) as connection:
            assert not_in_force(connection, bounds) == {}
    with psycopg2.connect(url) as other, other.cursor() as cursor:
        cursor.execute("SHOW statement_timeout")  # the server session of before, with nothing left
        assert cursor.fetchall() == [("0",)]
    engine.dispose()


@needed
def test_a_pooler_does_not_hand_the_demoted_primary_out_again(
    pair: Pair, installed: Settings, make_pooler: Callable[..., Pooler]
) -> None:
    """It keeps its sessions when a client goes, so the session itself has to end."""
    engine = open_engine(make_pooler(pair.address).url(database_of(installed)))
    write(engine)
    pair.catch_up()
    pair.switch_over()
    refused(engine)
    pair.turn()  # nobody reloads the pooler, and nothing is cut
    write(engine)
    engine.dispose()
