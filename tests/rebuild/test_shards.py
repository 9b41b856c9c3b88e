"""Another number of shards: whatever was dispatched under the old one never goes out again."""

import uuid
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from saec import installation
from saec.errors import ConfigurationError
from saec.kafka import topics
from saec.recover.errors import RecoverError
from saec.recover.run import recover
from saec.store.shards import shard_of
from tests.rebuild.kit import again, content, query
from tests.recover.scene import KNOWN, Scene

NewDatabase = Callable[[], str]
HOUR_MS = 3_600_000
MORE = 5


@pytest.fixture
def grown(scene: Scene, new_database: NewDatabase) -> Callable[[], Scene]:
    """Gives the installation more shards: a scene on the new database."""

    def grow() -> Scene:
        url = new_database()
        again(scene, url, shards=MORE, add_ledger_partitions=True)
        moved = scene.settings.model_copy(update={"database_url": url, "shards": MORE})
        assert recover(moved, print, dry_run=False).halted == {}
        return Scene(moved, scene.backup)

    return grow


def ask_in_each(scene: Scene, **fields: Any) -> list[uuid.UUID]:
    """A request in each old and new shard that there can be."""
    places = {(old, new) for old in (0, 1) for new in range(MORE)}
    asked = []
    while places:
        id_ = uuid.uuid4()
        place = shard_of(id_, 2), shard_of(id_, MORE)
        if place in places:
            places.discard(place)
            asked.append(scene.ask(id_=id_, **fields))
    return asked


def without_shard(found: dict[str, list[tuple[Any, ...]]]) -> list[tuple[Any, ...]]:
    """What is pending, in whatever shard."""
    return sorted((row[1:] for row in found["pending"]), key=repr)


def test_more_shards(scene: Scene, grown: Callable[[], Scene], new_database: NewDatabase) -> None:
    sent = ask_in_each(scene)
    later = ask_in_each(scene, due_in_ms=HOUR_MS, customers=KNOWN)
    scene.take_requests()
    scene.dispatch(until=lambda: scene.installed.pending() == len(later))
    scene.cancel(later[0])
    scene.take_requests()
    old = content(scene.settings.database_url)
    new = grown()
    url = new.settings.database_url
    assert query(url, "SELECT shards FROM installation") == [(MORE,)]
    found = content(url)
    assert without_shard(found) == without_shard(old)
    assert {row[3]: row[0] for row in found["pending"]} == {
        id_: shard_of(id_, MORE) for id_ in later[1:]
    }
    assert found["batches"] == [*old["batches"], (2, 0), (3, 0), (4, 0)]
    for table in ("requests", "cancels", "skips", "customers", "positions"):
        assert found[table] == old[table]

    more = ask_in_each(new)
    new.take_requests()
    new.dispatch(until=lambda: new.installed.pending() == len(later) - 1)
    assert new.sent() == Counter({(id_, "ana"): 1 for id_ in (*sent, *more)})
    # Of both numbers of shards, from the topics alone.
    once_more = new_database()
    again(new, once_more)
    assert content(once_more) == content(url)
    # The old database, and every backup of it.
    for refused in (installation.check, lambda old: recover(old, print, dry_run=True)):
        with pytest.raises(ConfigurationError, match="5 partitions, the database 2 shards"):
            refused(scene.settings)
    new.engine.dispose()


def test_what_leaves_the_old_database_at_the_last_moment_leaves_once(
    scene: Scene, grown: Callable[[], Scene], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that nobody saw: its batches stand in partitions of the old shards."""
    add = topics.add_ledger_partitions

    def late(*args: Any) -> None:
        scene.dispatch()
        add(*args)

    monkeypatch.setattr(topics, "add_ledger_partitions", late)
    asked = ask_in_each(scene)
    scene.take_requests()
    new = grown()
    assert new.installed.pending() == 0
    more = ask_in_each(new)
    new.take_requests()
    new.dispatch()
    assert new.sent() == Counter({(id_, "ana"): 1 for id_ in (*asked, *more)})
    new.engine.dispose()


def test_the_number_is_changed_on_purpose_only(scene: Scene, new_database: NewDatabase) -> None:
    url = new_database()
    with pytest.raises(RecoverError, match="for 5 shards stop every process"):
        again(scene, url, shards=MORE)
    with pytest.raises(RecoverError, match="there cannot be 1 shards"):
        again(scene, url, shards=1, add_ledger_partitions=True)
    worker = scene.worker()
    while len(worker.owned) < 2:
        worker.run_once()
    with pytest.raises(RecoverError, match="processes are running: 1 of dispatch"):
        again(scene, url, shards=MORE, add_ledger_partitions=True)
    again(scene, url, shards=2)
    scene.close(worker)
    assert topics.ledger_partitions(scene.settings) == 2
