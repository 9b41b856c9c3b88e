"""Parts go away in every way, under processes at work: they wait, say so once, and go on.

Nothing is lost and nothing doubled: what readers of the channel topics see is held against all
that was ever asked in this module. The processes live from the first test to the last.
"""

import os
import threading
from collections.abc import Callable

import pytest

from tests.outages.grounds import Grounds
from tests.outages.scene import ROLES, Scene

# SAEC_TEST_OUTAGE_S=60 makes it the minute of a real outage.
OUTAGE_S = float(os.environ.get("SAEC_TEST_OUTAGE_S", "7"))
REQUESTS = 80

pytestmark = pytest.mark.timeout(300 + 4 * int(OUTAGE_S))


def last(seconds: float) -> None:
    """Let an outage last."""
    threading.Event().wait(seconds)


def test_parts_that_are_away_at_the_start_are_waited_for(scene: Scene) -> None:
    scene.grounds.postgres.refuse()
    scene.grounds.kafka.refuse()
    scene.start()
    for role in ROLES:
        scene.wait_for("waiting for PostgreSQL and Kafka", role, 0)
    last(2.0)
    scene.grounds.postgres.mend()
    last(2.0)
    scene.grounds.kafka.mend()
    for role in ROLES:
        scene.wait_for("ready", role, 0)
    scene.register()
    with scene.asking(REQUESTS, 2.0):
        pass
    assert scene.settle().dispatched > REQUESTS
    told = scene.told(0)
    assert {(role, "waiting for PostgreSQL and Kafka") for role in ROLES} <= set(told)


def kill_postgres(grounds: Grounds) -> None:
    grounds.kill_postgres()
    last(OUTAGE_S)
    grounds.start_postgres()


def kill_broker(grounds: Grounds) -> None:
    grounds.kill_broker()
    last(OUTAGE_S)
    grounds.start_broker()


def freeze_both(grounds: Grounds) -> None:
    """Connections stay open and nothing comes through: what a firewall does that drops."""
    grounds.kafka.freeze()
    grounds.postgres.freeze()
    last(OUTAGE_S)
    grounds.kafka.mend()
    grounds.postgres.mend()


@pytest.mark.parametrize("outage", [kill_postgres, kill_broker, freeze_both])
def test_an_outage_in_the_middle(scene: Scene, outage: Callable[[Grounds], None]) -> None:
    mark = scene.mark()
    with scene.asking(REQUESTS, OUTAGE_S + 2):
        last(1.0)
        outage(scene.grounds)
    scene.settle()
    told = scene.told(mark)
    if outage is kill_broker:
        # Whichever fails first tells of it: the connection, or what was to go by it.
        abandoned = {("dispatch", "round abandoned"), ("requests", "batch abandoned")}
        heard = {role for role, event in set(told) - abandoned if event == "Kafka does not answer"}
        heard |= {role for role, event in abandoned & set(told)}
        assert heard == set(ROLES), scene.lines(mark)
    if outage is kill_postgres:
        assert {("dispatch", "round abandoned"), ("requests", "batch abandoned")} == set(told)
    # An outage and its end, and what follows from it; not a line for each attempt.
    assert len(scene.lines(mark)) <= 15 * (1 + OUTAGE_S / 30), scene.lines(mark)


def test_flapping_and_connections_that_are_cut(scene: Scene) -> None:
    mark, grounds = scene.mark(), scene.grounds
    with scene.asking(REQUESTS, 6.0):
        for _ in range(4):
            for proxy in (grounds.kafka, grounds.postgres):
                proxy.refuse()
                last(0.4)
                proxy.mend()
                last(0.2)
            grounds.cut_sessions(scene.database)
            last(0.2)
            grounds.kafka.cut()
            grounds.postgres.cut()
        grounds.kill_postgres()
        grounds.kill_broker()
        grounds.start_postgres()
        grounds.start_broker()
    scene.settle()
    scene.told(mark, most=4)
