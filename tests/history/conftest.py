"""Fixtures of the history tests: installations whose parts work in turn, as in tests/recover."""

from collections.abc import Callable

import pytest

from tests.history.kit import Told
from tests.recover.conftest import backup_of, make_scene, scene
from tests.recover.scene import KNOWN, Scene

__all__ = ["backup_of", "make_scene", "scene"]


@pytest.fixture
def told(scene: Scene) -> Told:
    """An installation whose three customers have a phone as well."""
    scene.register(*KNOWN, phone="+5511987654321")
    return Told(scene)


@pytest.fixture
def make_told(make_scene: Callable[..., Scene]) -> Callable[..., Told]:
    """The same with settings to choose."""

    def make(**settings: object) -> Told:
        made = make_scene(**settings)
        made.register(*KNOWN, phone="+5511987654321")
        return Told(made)

    return make
