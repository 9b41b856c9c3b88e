"""Fixtures of the rebuild tests: the scenes of the recovery, and empty databases."""

import secrets
from collections.abc import Callable, Iterator

import pytest

from tests.recover.conftest import backup_of, make_scene, scene
from tests.stack import Stack

__all__ = ["backup_of", "make_scene", "new_database", "scene"]


@pytest.fixture
def new_database(stack: Stack) -> Iterator[Callable[[], str]]:
    """Makes empty databases; returns their URLs."""
    made: list[str] = []

    def make() -> str:
        made.append(f"t{secrets.token_hex(5)}_new")
        stack.sql(f'CREATE DATABASE "{made[-1]}"')
        return stack.dsn(made[-1])

    yield make
    for name in made:
        stack.sql(f'DROP DATABASE "{name}" WITH (FORCE)')
