"""Fixtures of the ingest tests. They share one installation, emptied before each test."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest

from saec.settings import Settings
from saec.store.engine import Engine, open_engine
from tests.ingest.kit import Ingest

if TYPE_CHECKING:
    from tests.stack import Installations

# The machine of a test run may be busy; how long one example takes says nothing then.
hypothesis.settings.register_profile("ingest", deadline=None)
hypothesis.settings.load_profile("ingest")


@pytest.fixture(scope="package")
def shared(installations: "Installations") -> Iterator[tuple[Settings, Engine]]:
    """One installation, and an engine for its database."""
    with installations.make() as settings:
        engine = open_engine(settings.database_url)
        yield settings, engine
        engine.dispose()


@pytest.fixture
def make_ingest(shared: tuple[Settings, Engine]) -> Callable[..., Ingest]:
    """Ingest into empty tables, with settings to choose: `make_ingest(slice_recipients=1)`."""
    settings, engine = shared

    def make(**changes: Any) -> Ingest:
        ingest = Ingest(settings.model_copy(update=changes), engine)
        ingest.empty()
        return ingest

    return make


@pytest.fixture
def ingest(make_ingest: Callable[..., Ingest]) -> Ingest:
    """Ingest where every recipient is a slice of its own."""
    return make_ingest(slice_recipients=1)
