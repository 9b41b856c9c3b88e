"""Fixtures of every test. The parts start when the first test asks for them, once a run."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from saec.settings import Settings
from tests.privacy import spilled

if TYPE_CHECKING:
    from tests.stack import Installations, Stack

KEPT_SETTINGS = ("SAEC_TEST_", "SAEC_CACHE_DIR", "SAEC_MAVEN_URL")
USED = pytest.StashKey[str]()


def pytest_configure(config: pytest.Config) -> None:
    """Keep the settings of the person who runs the tests out of them."""
    for name in list(os.environ):
        if name.startswith("SAEC_") and not name.startswith(KEPT_SETTINGS):
            del os.environ[name]


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Say which parts the tests ran on."""
    used = config.stash.get(USED, "no test needed Kafka or PostgreSQL")
    terminalreporter.write_line(f"Ran on: {used}")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Where tests run in several processes, each tells the first which parts it used."""
    told = getattr(session.config, "workeroutput", None)
    if told is not None:
        told["used"] = session.config.stash.get(USED, None)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Hear from one of these processes."""
    used = getattr(node, "workeroutput", {}).get("used")
    if used is not None:
        node.config.stash[USED] = used


@pytest.fixture(scope="session", autouse=True)
def logs_without_personal_data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """At the end no log of this run holds an address or a body that a test made up."""
    yield
    assert spilled(tmp_path_factory.getbasetemp()) == []


@pytest.fixture(scope="session")
def stack(request: pytest.FixtureRequest) -> Iterator["Stack"]:
    """The running Kafka and PostgreSQL that all tests share."""
    from tests.stack import choose  # noqa: PLC0415 - pure tests need none of it

    choice = choose()
    with choice.open(choice.description) as running:
        request.config.stash[USED] = running.description
        yield running


@pytest.fixture(scope="session")
def installations(stack: "Stack") -> Iterator["Installations"]:
    """The maker of installations on the stack."""
    from tests.stack import Installations  # noqa: PLC0415

    made = Installations(stack)
    yield made
    made.close()


@pytest.fixture
def installation(installations: "Installations") -> Iterator[Settings]:
    """Topics and a database of the test's own, initialised: 4 shards, 2 partitions."""
    with installations.make() as settings:
        yield settings


@pytest.fixture
def make_installation(installations: "Installations") -> Iterator[Callable[..., Settings]]:
    """The same with settings to choose: `make_installation(shards=1, grace_s=0)`."""
    with ExitStack() as stack:

        def make(**settings: Any) -> Settings:
            return stack.enter_context(installations.make(**settings))

        yield make
