"""Processes at work while two servers change places, and through a pooler: exactly once."""

from collections.abc import Callable

import pytest

from saec.settings import Settings
from tests.failover.conftest import database_of
from tests.failover.pair import Pair
from tests.failover.pooler import USUAL, Pooler, needed
from tests.outages.grounds import wait_until
from tests.outages.scene import Scene

REQUESTS = 40

pytestmark = pytest.mark.timeout(300)


def change_places(scene: Scene, pair: Pair) -> None:
    """Ask all the while; the address leads to the standby for as long as that is noticed."""
    scene.register()
    mark = scene.mark()
    with scene.asking(REQUESTS, 4.0):
        wait_until(lambda: scene.pending() > 0)
        pair.catch_up()
        pair.switch_over()
        scene.wait_for("round abandoned", "dispatch", mark)
        scene.wait_for("batch abandoned", "requests", mark)
        wait_until(lambda: scene.database_says("25006"))
        pair.turn()
    assert scene.settle().dispatched > REQUESTS
    scene.told(mark)


def test_a_switchover_needs_no_restart(
    pair: Pair, installed: Settings, make_scene: Callable[..., Scene]
) -> None:
    change_places(make_scene(installed), pair)


@needed
def test_nor_does_it_behind_a_pooler(
    pair: Pair,
    installed: Settings,
    make_scene: Callable[..., Scene],
    make_pooler: Callable[..., Pooler],
) -> None:
    pooler = make_pooler(pair.address, USUAL)
    pooled = installed.model_copy(update={"database_url": pooler.url(database_of(installed))})
    change_places(make_scene(pooled), pair)
