"""Fixtures of the recovery tests."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any
from urllib.parse import urlsplit

import pytest

from faults.backup import Backup
from saec.settings import Settings
from tests.recover.scene import KNOWN, Scene
from tests.stack import Stack


@pytest.fixture
def backup_of(stack: Stack) -> Iterator[Callable[[Settings], Backup]]:
    """Makes backups; their copies are dropped at the end."""
    with ExitStack() as copies:

        def make(settings: Settings) -> Backup:
            backup = Backup(stack.sql, urlsplit(settings.database_url).path.lstrip("/"))
            copies.callback(backup.drop)
            return backup

        yield make


@pytest.fixture
def make_scene(
    make_installation: Callable[..., Settings], backup_of: Callable[[Settings], Backup]
) -> Iterator[Callable[..., Scene]]:
    """Makes installations with three registered customers: `make_scene(shards=1)`."""
    made: list[Scene] = []

    def make(**settings: Any) -> Scene:
        chosen = make_installation(**({"shards": 2, "partitions": 2} | settings))
        scene = Scene(chosen, backup_of(chosen))
        made.append(scene)
        scene.register(*KNOWN)
        return scene

    yield make
    for scene in made:
        scene.engine.dispose()


@pytest.fixture
def scene(make_scene: Callable[..., Scene]) -> Scene:
    """One such installation: 2 shards, 2 partitions."""
    return make_scene()
