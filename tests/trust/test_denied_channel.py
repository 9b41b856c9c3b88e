"""A channel that a worker may not write to any more: the others go on, by the real authorizer."""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import pytest
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)
from structlog.testing import capture_logs

from saec.clock import SystemClock
from saec.contracts.events import Channel
from saec.dispatch.round import Worker
from saec.kafka.limits import denied_channels
from saec.settings import Settings
from saec.store.engine import open_engine
from tests.dispatch.kit import KNOWN, Installed
from tests.dispatch.test_worker import drive
from tests.outages.grounds import wait_until
from tests.trust.conftest import secured_installation
from tests.trust.secured import CALL_TIMEOUT_S, Secured


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """One of its own: PostgreSQL gets requests here at positions that Kafka does not have."""
    with secured_installation(tmp_path_factory) as made:
        yield made


@contextmanager
def denied(secured: Secured, topic: str) -> Iterator[None]:
    """Meanwhile the worker may not write to this topic."""
    admin = AdminClient({"bootstrap.servers": secured.plain.bootstrap_servers})
    rule = (
        ResourceType.TOPIC,
        topic,
        ResourcePatternType.LITERAL,
        f"User:{secured.user('dispatch')}",
        "*",
        AclOperation.WRITE,
        AclPermissionType.DENY,
    )
    for made in admin.create_acls([AclBinding(*rule)]).values():
        made.result(CALL_TIMEOUT_S)
    try:
        yield
    finally:
        for gone in admin.delete_acls([AclBindingFilter(*rule)]).values():
            gone.result(CALL_TIMEOUT_S)


def test_a_channel_that_is_denied_waits_and_the_others_go_out(
    secured: Secured, as_role: Callable[..., Settings]
) -> None:
    settings = as_role("dispatch")
    email = settings.topics.dispatch[Channel.EMAIL]
    engine = open_engine(secured.plain.database_url)
    installed = Installed(secured.plain, engine)
    installed.register(*KNOWN)
    with closing(Worker(settings, open_engine(settings.database_url), SystemClock())) as worker:
        with denied(secured, email), capture_logs() as said:
            wait_until(lambda: denied_channels(settings) == [Channel.EMAIL])
            waiting = [installed.ask(shard=shard, due_in_ms=-2_000) for shard in (0, 1)]
            going = [installed.ask(shard=shard, channels=("SMS",)) for shard in (0, 1)]
            drive(worker, until=lambda: installed.pending() == len(waiting))
            sent = installed.sent()
            assert sent == {(request, "SMS", "ana"): 1 for request in going}
            told = [line for line in said if line["event"] == "Kafka refuses what is due"]
            assert [line["channel"] for line in told] == ["EMAIL"]
        wait_until(lambda: denied_channels(settings) == [])
        for one in worker._refusals._apart:
            one.again_s = 0.0
        drive(worker, until=lambda: installed.pending() == 0)
        assert {installed.sent()[request, "EMAIL", "ana"] for request in waiting} == {1}
    worker._engine.dispose()
    engine.dispose()
