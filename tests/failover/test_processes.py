"""Processes at work while two servers change places, and through a pooler: exactly once."""

from collections.abc import Callable

import pytest

from saec.settings import Settings
from saec.store.tables import metadata
from tests.failover.conftest import database_of
from tests.failover.pair import Pair
from tests.failover.pooler import USUAL, Pooler, needed
from tests.outages.grounds import wait_until
from tests.outages.scene import Scene

REQUESTS = 40

pytestmark = pytest.mark.timeout(900)


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


@needed
def test_a_column_more_disturbs_neither_this_release_nor_what_a_pooler_kept(
    pair: Pair,
    installed: Settings,
    make_scene: Callable[..., Scene],
    make_pooler: Callable[..., Pooler],
) -> None:
    """As a migration of the next release adds it, while the processes of this one run on."""
    database = database_of(installed)
    pooled = installed.model_copy(update={"database_url": make_pooler(pair.address).url(database)})
    scene = make_scene(pooled)
    scene.register()
    with scene.asking(REQUESTS, 2.0):
        pass
    scene.settle()
    for table in metadata.tables:
        pair.primary.sql(f"ALTER TABLE {table} ADD added integer NOT NULL DEFAULT 0", database)
    scene.register()
    with scene.asking(REQUESTS, 2.0):
        wait_until(lambda: scene.pending() > 0)
        pair.proxy.cut()  # new sessions see the new tables
    assert scene.settle().dispatched > REQUESTS
    kept = "SELECT count(*) FROM pg_class WHERE relpersistence = 't'"
    assert pair.primary.sql(kept, database) == [(0,)]
