"""A shard that a recovery leaves halted: requests are taken in, and what it sent is not stopped."""

import uuid
from collections.abc import Callable

import pytest

from saec.contracts.status import Status
from saec.recover.behind import refuse_behind_ledger
from saec.recover.withheld import withhold
from tests.dispatch.test_worker import drive
from tests.recover.scene import Scene


@pytest.fixture
def halted(scene: Scene) -> dict[int, uuid.UUID]:
    """A recovery that leaves shard 1 halted; by shard, a request that was sent before."""
    scene.back_up()
    asked = {shard: scene.ask(id_=scene.installed._new_id(shard)) for shard in (0, 1)}
    scene.take_requests()
    scene.dispatch()
    scene.publish(scene.settings.topics.ledger, {"of": "a stranger"}, "x", 1)
    scene.restore()
    assert list(scene.recover().halted) == [1]
    return asked


def test_requests_are_taken_and_cancels_answered_truthfully(
    scene: Scene, halted: dict[int, uuid.UUID]
) -> None:
    unsent = scene.ask(id_=scene.installed._new_id(1))
    scene.take_requests()  # looks at the ledger, as the process does
    for request in (*halted.values(), unsent):
        scene.cancel(request)
    scene.take_requests()
    assert scene.answers(halted[1])[-1] is Status.TOO_LATE
    assert scene.answers(halted[0])[-1] is Status.TOO_LATE
    assert scene.answers(unsent)[-1] is Status.CANCELLED


@pytest.mark.usefixtures("halted")
def test_clearing_the_halt_too_early_gives_nothing_up(scene: Scene) -> None:
    """As operations.md says: a cause that is still there comes back, with the claims in place."""
    scene.installed.execute("UPDATE shards SET halted = NULL")
    worker = scene.worker()
    drive(worker, until=lambda: worker.halted.keys() == {1})
    scene.close(worker)
    refuse_behind_ledger(scene.settings, scene.engine)
    assert scene.installed.pending() == 1
    assert set(scene.sent().values()) == {1}


@pytest.mark.usefixtures("halted")
def test_a_recovery_run_again_comes_to_the_same(scene: Scene) -> None:
    before = scene.installed.sql("SELECT * FROM claims")
    assert list(scene.recover().halted) == [1]
    assert scene.installed.sql("SELECT * FROM claims") == before


def test_slices_that_stand_in_another_shard_by_now_halt_it_too(
    scene: Scene, halted: dict[int, uuid.UUID]
) -> None:
    """The number of shards was changed: shard 0 would send again what shard 1 sent."""
    scene.installed.execute("UPDATE pending SET shard = 0")
    scene.installed.execute("DELETE FROM claims")
    touched = withhold(scene.settings, scene.engine, [1])
    assert touched == {0: "slices of it were dispatched by shard 1, which halted"}
    refuse_behind_ledger(scene.settings, scene.engine)
    assert scene.installed.sql("SELECT shard, cardinality(seqs) FROM claims ORDER BY 1, 2") == [
        (0, 1),
        (1, 0),
    ]
    assert scene.installed.pending() == 1
    assert halted[1] in {row[0] for row in scene.installed.sql("SELECT request_id FROM pending")}


def test_a_shard_that_was_cut_otherwise_keeps_nobody_out(
    make_scene: Callable[..., Scene],
) -> None:
    scene = make_scene(shards=1, slice_recipients=2)
    scene.back_up()
    asked = scene.ask(customers=("ana", "bia", "caio"))
    scene.take_requests()
    scene.dispatch()
    scene.restore()
    assert list(scene.recover(slice_recipients=1).halted) == [0]
    scene.cancel(asked)
    scene.take_requests()
    assert scene.answers(asked) == [Status.ACCEPTED, Status.TOO_LATE]
