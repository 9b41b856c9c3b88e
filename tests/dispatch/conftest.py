"""Fixtures of the dispatch tests."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from saec.clock import SystemClock
from saec.dispatch.round import Worker
from saec.settings import Settings
from saec.store.engine import open_engine
from tests.dispatch.kit import KNOWN, Installed


@pytest.fixture
def installed(installation: Settings) -> Iterator[Installed]:
    """An installation with three registered customers."""
    engine = open_engine(installation.database_url)
    made = Installed(installation, engine)
    made.register(*KNOWN)
    yield made
    engine.dispose()


@pytest.fixture
def make_worker(installed: Installed) -> Iterator[Callable[..., Worker]]:
    """Makes workers of the installation; those that were not closed are, at the end."""
    made: list[Worker] = []

    def make(**settings: Any) -> Worker:
        chosen = installed.settings.model_copy(update=settings)
        worker = Worker(chosen, open_engine(chosen.database_url), SystemClock())
        made.append(worker)
        return worker

    yield make
    for worker in made:
        worker.close()
        worker._engine.dispose()
