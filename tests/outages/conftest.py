"""Fixtures of the outage tests: parts that may be killed, and processes that have to bear it."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from saec.settings import Settings
from saec.supervise.endpoint import free_port
from tests.outages.grounds import Grounds
from tests.outages.scene import Scene
from tests.outages.single import Process
from tests.stack import Installations
from tests.survival.processes import Fleet


@pytest.fixture(scope="package")
def grounds() -> Iterator[Grounds]:
    """The parts."""
    # A short path: PostgreSQL's socket stands below it.
    with tempfile.TemporaryDirectory(prefix="saec-outages-") as directory:
        made = Grounds(Path(directory))
        yield made
        made.close()


@pytest.fixture(scope="package")
def ruin(grounds: Grounds) -> Iterator[Callable[..., Settings]]:
    """Makes installations on these parts."""
    installations = Installations(grounds.stack)
    with ExitStack() as made:
        made.callback(installations.close)

        def make(**settings: Any) -> Settings:
            return made.enter_context(installations.make(**settings))

        yield make


@pytest.fixture(scope="module")
def scene(
    grounds: Grounds,
    ruin: Callable[..., Settings],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Scene]:
    """One process of each kind, at work from the first test of a module to its last."""
    settings = ruin(shards=4, partitions=2)
    log = tmp_path_factory.mktemp("scene") / "processes.log"
    with log.open("wb") as output:
        fleet = Fleet(settings, output, each=1, extra_env={"SAEC_GRACE_S": "3600"})
        made = Scene(grounds, settings, fleet, log)
        try:
            yield made
        finally:
            codes = fleet.stop()
        assert not any(codes), (codes, log.read_text()[-20_000:])


@pytest.fixture
def start(settings: Settings, tmp_path: Path) -> Iterator[Callable[..., Process]]:
    """Starts processes on the module's `settings`; those that still run are killed at the end."""
    made: list[Process] = []

    def begin(module: str, **environment: str) -> Process:
        log = tmp_path / f"{len(made)}.log"
        port = {"SAEC_HTTP_PORT": str(free_port("127.0.0.1", 0))}
        made.append(Process(module, settings, log, **port | environment))
        return made[-1]

    yield begin
    for process in made:
        process.child.kill()
        process.child.wait()
