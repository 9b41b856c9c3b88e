"""A database that only dispatch is ahead of: no request is missing, and yet nobody may answer."""

from pathlib import Path

import pytest

from saec.contracts.status import Status
from saec.errors import ConfigurationError
from saec.recover.behind import refuse_behind_ledger
from tests.dispatch.test_worker import KilledError, drive, kill_after
from tests.outages.grounds import wait_until
from tests.outages.single import Process
from tests.recover.scene import Scene


def test_a_cancel_is_not_answered_from_a_database_behind_the_ledger(
    scene: Scene, tmp_path: Path
) -> None:
    """It would say that it stopped what left long ago."""
    asked = scene.ask()
    scene.take_requests()
    scene.back_up()
    scene.dispatch()
    scene.restore()
    scene.cancel(asked)
    consumer = Process("consumers.requests", scene.settings, tmp_path / "consumer.log")
    assert "holds what the database does not know" in consumer.ends_by_itself()
    scene.recover()
    scene.take_requests()
    assert scene.answers(asked) == [Status.ACCEPTED, Status.TOO_LATE]


def test_a_consumer_that_runs_on_notices_it(scene: Scene, tmp_path: Path) -> None:
    """No request is missing in its partitions, but what left since the backup is pending again."""
    asked = scene.ask()
    consumer = Process("consumers.requests", scene.settings, tmp_path / "consumer.log")
    wait_until(lambda: scene.answers(asked) == [Status.ACCEPTED])
    scene.back_up()
    scene.dispatch()
    scene.restore()
    scene.cancel(asked)
    assert "holds what the database does not know" in consumer.ends_by_itself()
    assert scene.answers(asked) == [Status.ACCEPTED]


def test_a_batch_that_is_committed_and_not_applied_is_known(scene: Scene) -> None:
    """As a claim: its slices cannot be stopped, so the answers are true."""
    scene.ask()
    scene.take_requests()
    worker = scene.worker()
    with pytest.MonkeyPatch.context() as patched:
        kill_after("emit")(patched)
        with pytest.raises(KilledError):
            drive(worker, until=lambda: False)
    assert scene.installed.claims() == 1
    refuse_behind_ledger(scene.settings, scene.engine)
    scene.installed.execute("DELETE FROM claims")
    with pytest.raises(ConfigurationError, match="went back in time"):
        refuse_behind_ledger(scene.settings, scene.engine)
    scene.close(worker, killed=True)
