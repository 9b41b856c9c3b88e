"""One installation and one endpoint for all tests of a module, which may have others."""

from collections.abc import Iterator

import pytest

from saec.settings import Settings
from tests.http.endpoint import Served, make_key, serve
from tests.stack import Installations


@pytest.fixture(scope="module")
def settings(installations: Installations) -> Iterator[Settings]:
    """The installation."""
    with installations.make() as made:
        yield made


@pytest.fixture(scope="module")
def key(settings: Settings) -> str:
    """A key with every scope, of the requester `tests`."""
    return make_key(settings)


@pytest.fixture(scope="module")
def served(
    settings: Settings, key: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    """The endpoint; `key` is what it is called with."""
    with serve(settings, tmp_path_factory.mktemp("http") / "endpoint.log", key) as running:
        yield running
