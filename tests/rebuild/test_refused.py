"""What a rebuild does not know it says, and it overwrites nothing."""

import uuid
from collections.abc import Callable
from typing import Any

import pytest

from saec import installation
from saec.errors import ConfigurationError
from saec.recover.errors import RecoverError
from saec.recover.rebuild import Rebuild
from saec.recover.run import recover
from saec.settings import Settings
from saec.store.rebuilding import UNFINISHED
from tests.dispatch.test_worker import KilledError
from tests.rebuild.kit import again, content, delete_up_to, query
from tests.recover.scene import Scene
from tests.recover.test_anchor import recreate

MakeScene = Callable[..., Scene]
NewDatabase = Callable[[], str]
HOUR_MS = 3_600_000
INSERT_KEY = "INSERT INTO keys VALUES ('{0}', sha256('{0}'), 'job', 'tests', '{{read}}', null, 1)"


def moved_to(scene: Scene, url: str) -> Settings:
    """The settings that lead to another database."""
    return scene.settings.model_copy(update={"database_url": url})


def forget_ledger(scene: Scene) -> None:
    """Delete all that the ledger holds."""
    for shard in range(scene.settings.shards):
        delete_up_to(scene.settings, scene.settings.topics.ledger, shard, -1)


def due_ms(scene: Scene, request_id: uuid.UUID) -> int:
    """When a request is due."""
    found = scene.installed.sql(
        f"SELECT due_at_ms FROM requests WHERE request_id = '{request_id}'"
    )[0][0]
    assert isinstance(found, int)
    return found


def test_what_only_a_deleted_ledger_knew_is_not_sent_again(
    scene: Scene, new_database: NewDatabase
) -> None:
    before = scene.ask(-HOUR_MS // 120)
    scene.ask(HOUR_MS)
    scene.take_requests()
    scene.dispatch(until=lambda: scene.installed.pending() == 1)
    forget_ledger(scene)
    scene.ask(due_in_ms=0)
    scene.take_requests()
    scene.dispatch(until=lambda: scene.installed.pending() == 1)
    live, at_ms = content(scene.settings.database_url), due_ms(scene, before)
    assert again(scene, new_database(), dry_run=True).doubtful == 2  # at most: the ledger has one
    with pytest.raises(RecoverError, match=r"^1 requests, due from .* may have been dispatched"):
        again(scene, new_database())
    with pytest.raises(RecoverError, match=r"^1 requests, due from"):
        again(scene, new_database(), presume_sent_before_ms=at_ms)
    url = new_database()
    report = again(scene, url, presume_sent_before_ms=at_ms + 1)
    assert report.presumed_sent == 1
    assert report.ledger_since_ms is not None
    assert content(url) == live


def test_of_a_ledger_without_a_record_nothing_that_was_due_is_taken_for_pending(
    scene: Scene, new_database: NewDatabase
) -> None:
    for shard in (0, 1):
        scene.ask(id_=scene.installed._new_id(shard))
    scene.ask(HOUR_MS)
    scene.take_requests()
    scene.dispatch(until=lambda: scene.installed.pending() == 1)
    forget_ledger(scene)
    with pytest.raises(RecoverError, match=r"^2 requests, due from .* may have been dispatched"):
        again(scene, new_database())
    url = new_database()
    assert again(scene, url, presume_sent_before_ms=scene.installed.now_ms()).presumed_sent == 2
    assert content(url)["pending"] == content(scene.settings.database_url)["pending"]


def test_a_ledger_that_was_created_again_is_not_taken_for_the_whole(
    scene: Scene, new_database: NewDatabase
) -> None:
    scene.ask()
    scene.take_requests()
    scene.dispatch()
    recreate(scene.settings, [scene.settings.topics.ledger])
    with pytest.raises(RecoverError, match=r"^1 requests, due from .* may have been dispatched"):
        again(scene, new_database())


def test_requests_that_are_not_kept_are_told(scene: Scene, new_database: NewDatabase) -> None:
    gone = scene.ask(partition=0)
    stays = [scene.ask(HOUR_MS, partition=partition) for partition in (0, 1)]
    scene.take_requests()
    scene.dispatch(until=lambda: scene.installed.pending() == 2)
    delete_up_to(scene.settings, scene.settings.topics.requests, 0, 1)
    url = new_database()
    with pytest.raises(RecoverError, match=r"the partitions \[0\] of .*requests are not kept from"):
        again(scene, url, dry_run=True)
    with pytest.raises(RecoverError, match=r"published before .* is not known"):
        again(scene, url)
    assert query(url, "SELECT to_regclass('requests')") == [(None,)]
    report = again(scene, url, requests_from_ms=scene.installed.now_ms() + HOUR_MS)
    assert (report.forgotten, report.requests, report.slices) == (1, 2, 1)
    live = content(scene.settings.database_url)
    assert content(url) == live | {
        "requests": [row for row in live["requests"] if row[0] != gone],
    }
    assert {row[3] for row in live["pending"]} == set(stays)


def test_how_far_the_group_had_come_has_to_be_known(
    scene: Scene, new_database: NewDatabase
) -> None:
    scene.ask(partition=0)
    with pytest.raises(RecoverError, match=r"does not know .* in the partitions \[0\]"):
        again(scene, new_database())


def test_a_database_that_holds_something_is_left_alone(
    scene: Scene, new_database: NewDatabase
) -> None:
    scene.ask(HOUR_MS)
    scene.take_requests()
    live = content(scene.settings.database_url)
    for dry_run in (True, False):
        with pytest.raises(RecoverError, match="the database is not empty"):
            again(scene, scene.settings.database_url, dry_run=dry_run)
    assert content(scene.settings.database_url) == live
    installation.check(scene.settings)
    url = new_database()
    again(scene, url)
    with pytest.raises(RecoverError, match="the database is not empty"):
        again(scene, url)


def test_one_that_was_only_initialised_is_taken(
    scene: Scene, new_database: NewDatabase, make_installation: Callable[..., Settings]
) -> None:
    scene.ask(HOUR_MS)
    scene.take_requests()
    url = new_database()
    installation.init(moved_to(scene, url))
    again(scene, url)
    assert content(url) == content(scene.settings.database_url)
    with pytest.raises(ConfigurationError, match="belongs to the topic prefix"):
        again(scene, make_installation().database_url)


def test_keys_are_not_made_anew_and_not_lost(scene: Scene, new_database: NewDatabase) -> None:
    """No topic has them: neither what was made before a rebuild nor what it began with counts."""
    scene.installed.execute(INSERT_KEY.format("0123456789ab"))
    url = new_database()
    installation.init(moved_to(scene, url))
    query(url, INSERT_KEY.format("ba9876543210") + " RETURNING key_id")
    for _ in range(2):
        again(scene, url)
        assert query(url, "SELECT key_id FROM keys") == [("ba9876543210",)]
        query(url, f"UPDATE shards SET halted = '{UNFINISHED}' RETURNING shard")


def test_no_process_starts_before_the_recovery(scene: Scene, new_database: NewDatabase) -> None:
    """It alone fences those who work on the old database."""
    scene.ask()
    scene.take_requests()
    url = new_database()
    again(scene, url)
    with pytest.raises(ConfigurationError, match="has not finished: run `saec recover` again"):
        installation.check(moved_to(scene, url))
    recover(moved_to(scene, url), print, dry_run=False)
    installation.check(moved_to(scene, url))


STEPS = (
    "_begin", "_store_requests", "_store_ahead", "_store_customers", "_apply_ledger",
    "_restore_cancels", "_settle_doubts",
)  # fmt: skip


@pytest.mark.parametrize("step", STEPS)
def test_interrupted_after_any_step_it_begins_anew(
    scene: Scene, new_database: NewDatabase, step: str
) -> None:
    scene.ask()
    scene.ask(HOUR_MS)
    stopped = scene.ask(HOUR_MS)
    scene.take_requests()
    scene.dispatch(until=lambda: scene.installed.pending() == 2)
    scene.cancel(stopped)
    scene.take_requests()
    url, original = new_database(), getattr(Rebuild, step)

    def die(*args: Any) -> None:
        original(*args)
        raise KilledError

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Rebuild, step, die)
        with pytest.raises(KilledError):
            again(scene, url)
    with pytest.raises(ConfigurationError, match="has not finished"):
        installation.check(moved_to(scene, url))
    with pytest.raises(RecoverError, match="run `saec rebuild` on it again"):
        recover(moved_to(scene, url), print, dry_run=False)
    again(scene, url)
    assert content(url) == content(scene.settings.database_url)


def test_of_two_rebuilds_the_one_that_began_last_counts(
    scene: Scene, new_database: NewDatabase
) -> None:
    scene.ask(HOUR_MS)
    scene.take_requests()
    url, settle = new_database(), Rebuild._settle_doubts

    def late(*args: Any) -> None:
        patched.undo()
        again(scene, url)
        settle(*args)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Rebuild, "_settle_doubts", late)
        with pytest.raises(RecoverError, match="another rebuild of this database began"):
            again(scene, url)
    assert content(url) == content(scene.settings.database_url)


def test_slices_are_cut_as_they_were(make_scene: MakeScene, new_database: NewDatabase) -> None:
    scene = make_scene(shards=1, slice_recipients=2)
    scene.ask(customers=("ana", "bia", "caio"))
    scene.take_requests()
    scene.dispatch()
    scene.settings = scene.settings.model_copy(update={"slice_recipients": 3})
    with pytest.raises(RecoverError, match="SAEC_SLICE_RECIPIENTS was changed; run this with the"):
        again(scene, new_database())


@pytest.mark.parametrize("changed", [{"horizon_days": 1}, {"max_request_bytes": 100}])
def test_what_was_accepted_is_not_refused_now(
    scene: Scene, new_database: NewDatabase, changed: dict[str, int]
) -> None:
    scene.ask(48 * HOUR_MS)
    scene.take_requests()
    scene.settings = scene.settings.model_copy(update=changed)
    with pytest.raises(RecoverError, match="was accepted, and would be refused now"):
        again(scene, new_database())


def test_a_record_of_a_stranger_in_the_ledger_is_told(
    scene: Scene, new_database: NewDatabase
) -> None:
    scene.publish(scene.settings.topics.ledger, {"of": "a stranger"}, "x", 1)
    url = new_database()
    for dry_run in (True, False):
        with pytest.raises(RecoverError, match="shard 1 contradicts itself: offset 0"):
            again(scene, url, dry_run=dry_run)
    assert query(url, "SELECT to_regclass('requests')") == [(None,)]
