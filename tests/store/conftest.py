"""Fixtures of the store tests."""

import secrets
from collections.abc import Iterator
from typing import TYPE_CHECKING

import hypothesis
import pytest

from saec.store import migrate
from saec.store.engine import Engine, open_engine, transaction

if TYPE_CHECKING:
    from tests.stack import Stack

# The machine of a test run may be busy; how long one example takes says nothing then.
hypothesis.settings.register_profile("store", deadline=None)
hypothesis.settings.load_profile("store")


@pytest.fixture
def fresh(stack: "Stack") -> Iterator[Engine]:
    """An empty database."""
    yield from _database(stack)


@pytest.fixture(scope="module")
def migrated(stack: "Stack") -> Iterator[Engine]:
    """A database after the migrations, shared by the tests of a module."""
    for engine in _database(stack):
        with transaction(engine) as connection:
            migrate.upgrade(connection)
        yield engine


def _database(stack: "Stack") -> Iterator[Engine]:
    name = f"t{secrets.token_hex(5)}"
    stack.sql(f'CREATE DATABASE "{name}"')
    engine = open_engine(stack.dsn(name))
    yield engine
    engine.dispose()
    stack.sql(f'DROP DATABASE "{name}" WITH (FORCE)')
