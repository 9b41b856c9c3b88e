"""Fixtures of the failover tests: two servers behind one address, and what they hold."""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, cast

import pytest

from saec.settings import Settings
from tests.failover.pair import Pair
from tests.failover.pooler import Pooler
from tests.outages.grounds import Grounds
from tests.outages.scene import Scene
from tests.stack import Installations, Stack
from tests.survival.processes import Fleet


@pytest.fixture
def room() -> Iterator[Path]:
    """A directory that PostgreSQL's own user may reach."""
    with tempfile.TemporaryDirectory(prefix="saec-failover-") as made:
        yield Path(made)


@pytest.fixture
def pair(room: Path) -> Iterator[Pair]:
    """A primary and its standby."""
    made = Pair(room)
    yield made
    made.close()


@pytest.fixture
def make_pooler(room: Path) -> Iterator[Callable[..., Pooler]]:
    """Makes poolers: `make_pooler(server, {setting: value})`."""
    with ExitStack() as made:

        def make(server: str, settings: Mapping[str, str] | None = None) -> Pooler:
            pooler = Pooler(room / f"pooler-{len(list(room.iterdir()))}", server, settings or {})
            made.callback(pooler.close)
            return pooler

        yield make


@pytest.fixture
def make_installed(pair: Pair, stack: Stack) -> Iterator[Callable[..., Settings]]:
    """Makes installations on the pair, by its address: `make_installed(shards=1)`."""
    installations = Installations(Stack(stack.bootstrap_servers, pair.url(), "a pair"))
    with ExitStack() as made:
        yield lambda **settings: made.enter_context(installations.make(**settings))


@pytest.fixture
def installed(make_installed: Callable[..., Settings]) -> Settings:
    """An installation on the pair, by its address."""
    return make_installed(shards=4, partitions=2)


def database_of(settings: Settings) -> str:
    """The name of an installation's database."""
    return settings.database_url.rpartition("/")[2]


@pytest.fixture
def make_scene(tmp_path: Path) -> Iterator[Callable[..., Scene]]:
    """Starts one process of each kind: `make_scene(settings)`; at the end none has failed."""
    with ExitStack() as made:

        def make(settings: Settings, **environment: Any) -> Scene:
            log = tmp_path / "processes.log"
            output = made.enter_context(log.open("wb"))
            fleet = Fleet(settings, output, each=1, extra_env={"SAEC_GRACE_S": "3600"})
            fleet.extra_env |= environment
            scene = Scene(cast("Grounds", None), settings, fleet, log)

            def end() -> None:
                codes = fleet.stop()
                assert not any(codes), (codes, log.read_text()[-20_000:])

            made.callback(end)
            scene.start()
            return scene

        yield make
