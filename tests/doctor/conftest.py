"""Fixtures of the doctor's tests: an installation, and what the doctor finds in it."""

from collections.abc import Callable, Iterator

import pytest
from confluent_kafka.admin import AdminClient

from saec.cli.instants import wall_ms
from saec.doctor.examine import Report, examine
from saec.doctor.findings import Finding, Level
from saec.settings import Settings
from saec.store.engine import open_engine
from tests.dispatch.kit import Installed

Look = Callable[..., list[Finding]]


@pytest.fixture
def installed(installation: Settings) -> Iterator[Installed]:
    """An installation that nobody runs."""
    engine = open_engine(installation.database_url)
    yield Installed(installation, engine)
    engine.dispose()


@pytest.fixture
def report(installation: Settings) -> Callable[..., Report]:
    """Looks at everything; an open transaction may take no time to end."""

    def look(**changes: object) -> Report:
        said = examine(installation.model_copy(update=changes), wall_ms, wait_s=0)
        assert all(bool(f.advice) is (f.level is not Level.OK) for f in said.findings)
        return said

    return look


@pytest.fixture
def look(report: Callable[..., Report]) -> Look:
    """What one check found: `look("topics")`."""
    return lambda check, **changes: [f for f in report(**changes).findings if f.check == check]


@pytest.fixture
def admin(installation: Settings) -> AdminClient:
    """A client that lives as long as what it was asked for."""
    return AdminClient({"bootstrap.servers": installation.bootstrap_servers})
