"""SIGTERM at any moment: exit 0, nothing kept, the group left; a second one ends it at once."""

import signal
import threading
import uuid
from collections.abc import Callable, Iterator

import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from saec.kafka.records import Outgoing
from saec.settings import Settings
from saec.store.engine import Engine, open_engine, rows, transaction
from tests.dispatch.kit import Installed
from tests.outages.grounds import Grounds, wait_until
from tests.outages.single import STOP_S, Process
from tests.survival.processes import MODULES

DISPATCH = "producers.dispatch"
EVERY = (*MODULES, "producers.http")
BY_ITSELF = {"BOUNDS": "saec.process.LONGEST_STOP_S=600"}
"""What has not stopped by itself is never left where it is."""
AT_WORK = {"dispatch": "shards taken over", "http": "listening"}


@pytest.fixture(scope="module")
def settings(ruin: Callable[..., Settings]) -> Settings:
    """One installation for all."""
    return ruin(shards=4, partitions=2)


class Asked(Installed):
    """Requests that are stored without a record in Kafka, whose positions must not count."""

    def take(self, value: object) -> list[Outgoing]:
        """Store one record of the requests topic."""
        answers = super().take(value)
        self.execute("UPDATE positions SET next_offset = 0")
        return answers


@pytest.fixture(scope="module")
def installed(settings: Settings, grounds: Grounds) -> Iterator[Installed]:
    """The installation, to ask and to look; past the proxies."""
    engine = open_engine(grounds.direct_dsn(settings.database_url))
    made = Asked(settings, engine)
    made.register("ana")
    made.execute("UPDATE positions SET next_offset = 0")
    yield made
    engine.dispose()


def members(settings: Settings, role: str) -> int:
    """How many members the group of a role has."""
    group = settings.group_id(role)
    admin = AdminClient({"bootstrap.servers": settings.bootstrap_servers, "log_level": 0})
    try:
        return len(admin.describe_consumer_groups([group])[group].result(60).members)
    except (KafkaException, TimeoutError):  # the first group ever makes the coordinator
        return -1


def owned(engine: Engine) -> int:
    """How many shards have an owner."""
    with transaction(engine) as connection:
        found = rows(connection, "SELECT count(*) FROM shards WHERE owner IS NOT NULL")
    return int(found[0][0])


@pytest.mark.parametrize("module", MODULES)
def test_idle(module: str, start: Callable[..., Process], installed: Installed) -> None:
    process = start(module, **BY_ITSELF)
    wait_until(lambda: members(installed.settings, process.role) == 1)
    if module == DISPATCH:
        wait_until(lambda: owned(installed.engine) == 4)
    process.stop()
    assert members(installed.settings, process.role) == 0
    assert owned(installed.engine) == 0


def test_an_idle_worker_applies_its_last_batch_before_it_has_another(
    start: Callable[..., Process], installed: Installed
) -> None:
    process = start(DISPATCH, BOUNDS="saec.dispatch.round._CLAIM_AT_LEAST_EVERY_S=600")
    process.wait_for("shards taken over")
    installed.ask()
    process.wait_for("dispatched")
    wait_until(lambda: installed.pending() == 0 and installed.claims() == 0)
    process.stop()


def test_in_the_middle_of_batches(start: Callable[..., Process], installed: Installed) -> None:
    """Stopped as soon as it dispatches, again and again; the last one does the rest."""
    asked = [installed.ask(channels=("EMAIL", "SMS")) for _ in range(40)]
    for _ in range(3):
        process = start(DISPATCH, SAEC_DISPATCH_BATCH_MESSAGES="2")
        process.wait_for("dispatched")
        process.stop()
        assert owned(installed.engine) == 0
        assert installed.claims() == 0
    last = start(DISPATCH)
    last.wait_for("shards taken over")
    wait_until(lambda: installed.pending() == 0)
    last.stop()
    sent = installed.sent()
    assert {sent[one, channel, "ana"] for one in asked for channel in ("EMAIL", "SMS")} == {1}


def test_during_a_takeover(start: Callable[..., Process], installed: Installed) -> None:
    """At instants spread over the start of a worker, of which the takeover is the end."""
    killed = start(DISPATCH)
    wait_until(lambda: owned(installed.engine) == 4)
    killed.child.kill()
    killed.child.wait()
    for after_s in (0.0, 0.1, 0.3):
        process = start(DISPATCH, **BY_ITSELF)
        process.wait_for("ready")
        threading.Event().wait(after_s)
        process.stop()
        assert "Traceback" not in process.log.read_text()
    last = start(DISPATCH)
    last.wait_for("shards taken over")
    last.stop()
    assert owned(installed.engine) == 0


@pytest.mark.parametrize(("away", "how"), [("kafka", "refuse"), ("postgres", "freeze")])
def test_while_a_part_is_away(
    away: str, how: str, start: Callable[..., Process], installed: Installed, grounds: Grounds
) -> None:
    processes = [start(module) for module in EVERY]
    for process in processes:
        process.wait_for(AT_WORK.get(process.role, "ready"))
    proxy = grounds.postgres if away == "postgres" else grounds.kafka
    installed.ask()
    if how == "refuse":
        proxy.refuse()
    else:
        proxy.freeze()
    try:
        threading.Event().wait(1.0)  # into the call that will not come back
        for process in processes:
            process.child.terminate()
        for process in processes:
            process.wait_stopped()
    finally:
        proxy.mend()


@pytest.mark.parametrize("module", EVERY)
def test_while_it_waits_at_its_start(
    module: str, start: Callable[..., Process], grounds: Grounds
) -> None:
    grounds.postgres.refuse()
    try:
        process = start(module, **BY_ITSELF)
        process.wait_for("waiting for PostgreSQL and Kafka")
        process.stop()
    finally:
        grounds.postgres.mend()


def test_a_second_signal_ends_it_at_once(
    start: Callable[..., Process], installed: Installed, grounds: Grounds
) -> None:
    process = start(DISPATCH, **BY_ITSELF)
    process.wait_for("shards taken over")
    grounds.postgres.freeze()
    try:
        process.child.terminate()
        process.wait_for("stopping")
        process.child.send_signal(signal.SIGTERM)
        assert process.child.wait(STOP_S) == 1
    finally:
        grounds.postgres.mend()


def test_what_was_asked_meanwhile_went_out_once(
    start: Callable[..., Process], installed: Installed
) -> None:
    last = start(DISPATCH)
    last.wait_for("shards taken over")
    wait_until(lambda: installed.pending() == 0)
    last.stop()
    sent = installed.sent()
    assert set(sent.values()) == {1}
    assert {request for request, _, _ in sent} == set[uuid.UUID](installed.asked)
