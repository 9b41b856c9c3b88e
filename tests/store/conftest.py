"""Fixtures of the store tests."""

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
def fresh(stack: "Stack", request: pytest.FixtureRequest) -> Iterator[Engine]:
    """An empty database."""
    yield from _database(stack, f"fresh_{abs(hash(request.node.nodeid)):x}")


@pytest.fixture(scope="module")
def migrated(stack: "Stack") -> Iterator[Engine]:
    """A database after the migrations, shared by the tests of a module."""
    for engine in _database(stack, "saec_store_tests"):
        with transaction(engine) as connection:
            migrate.upgrade(connection)
        yield engine


def _database(stack: "Stack", name: str) -> Iterator[Engine]:
    stack.sql(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
    stack.sql(f'CREATE DATABASE "{name}"')
    engine = open_engine(stack.dsn(name))
    yield engine
    engine.dispose()
    stack.sql(f'DROP DATABASE "{name}" WITH (FORCE)')
