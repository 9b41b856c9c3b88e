"""PostgreSQL held against the topics: nothing is found in a true one, and each lie is found."""

from collections.abc import Callable

import pytest

from saec.audit import Finding, Report, audit
from saec.dispatch.round import Worker
from tests.recover.conftest import backup_of, make_scene  # noqa: F401
from tests.recover.scene import Scene

MakeScene = Callable[..., Scene]


def compared(scene: Scene) -> tuple[Report, list[Finding]]:
    with audit(scene.settings, with_store=True) as done:
        return done.report, list(done.findings())


def told(scene: Scene) -> Scene:
    """Everything that can become of a request, in two partitions and two shards."""
    scene.register("dora", "eva")
    scene.publish(scene.settings.topics.customers, None, "eva")
    scene.publish(scene.settings.topics.customers, {"type": "what"}, "fabio")
    scene.take_customers()
    for _ in range(3):
        scene.ask(customers=("ana", "bia", "dora", "eva", "nobody"), channels=["EMAIL", "PUSH"])
    scene.take_requests()
    scene.dispatch()
    scene.ask(3_600_000, customers=("ana", "bia", "caio"), campaign_id="spring")
    return scene


def test_it(make_scene: MakeScene) -> None:
    scene = told(make_scene(slice_recipients=2))
    scene.take_requests()
    report, found = compared(scene)
    print(report.store)
    assert found == []
