"""Fixtures of the recovery tests."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from saec.settings import Settings
from tests.recover.backup import Backup
from tests.stack import Stack


@pytest.fixture
def backup_of(stack: Stack) -> Iterator[Callable[[Settings], Backup]]:
    """Makes backups; their copies are dropped at the end."""
    with ExitStack() as copies:

        def make(settings: Settings) -> Backup:
            backup = Backup(stack, settings)
            copies.callback(backup.drop)
            return backup

        yield make
