"""A database that answers but cannot do its work: full, or in recovery."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial

from tests.outages.grounds import wait_until
from tests.outages.scene import Scene

REQUESTS = 40

# Nothing short of a small file system fills a disk, and that takes root. What SAEC sees of a full
# disk is this SQLSTATE, on any statement that writes; a trigger raises the same.
FULL = """
CREATE FUNCTION disk_full() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'could not extend file "base/1/2": No space left on device'
        USING ERRCODE = 'disk_full';
END $$
"""
# What dispatch writes first, so that it does not get done with everything meanwhile.
WRITTEN = ("claims", "shards", "pending", "requests", "positions")


TRIGGER = "CREATE TRIGGER disk_full BEFORE INSERT OR UPDATE ON {} EXECUTE FUNCTION disk_full()"


@contextmanager
def full(scene: Scene) -> Iterator[None]:
    """A full disk, in so many words."""
    scene.sql(FULL)
    for table in WRITTEN:
        scene.sql(TRIGGER.format(table))
    yield
    scene.sql("DROP FUNCTION disk_full CASCADE")


@contextmanager
def read_only(scene: Scene) -> Iterator[None]:
    """Sessions that may not write, as on the wrong server of a cluster."""
    database = f'ALTER DATABASE "{scene.database}"'
    scene.grounds.stack.sql(f"{database} SET default_transaction_read_only = on")
    scene.grounds.cut_sessions(scene.database)
    yield
    scene.grounds.stack.sql(f"{database} RESET ALL")
    scene.grounds.cut_sessions(scene.database)


def hot_standby(scene: Scene) -> AbstractContextManager[None]:
    """A real standby that answers questions; it is promoted in the end."""
    return scene.grounds.standby(takes_connections=True)


def starting_up(scene: Scene) -> AbstractContextManager[None]:
    """A server in recovery that lets nobody in."""
    return scene.grounds.standby(takes_connections=False)


def test_a_database_that_cannot_do_its_work(scene: Scene) -> None:
    scene.start()
    scene.register()
    for state, said in (
        (full, "53100"),
        (read_only, "25006"),
        (hot_standby, "25006"),
        (starting_up, "not accepting connections"),
    ):
        mark = scene.mark()
        with scene.asking(REQUESTS, 4.0):
            wait_until(lambda: scene.pending() > 0)
            with state(scene):
                scene.wait_for("batch abandoned", "requests", mark)
                scene.wait_for("round abandoned", "dispatch", mark)
                wait_until(partial(scene.database_says, said))
        scene.settle()
        scene.told(mark)
