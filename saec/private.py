"""Files that nobody else may read."""

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def for_us_alone() -> Iterator[None]:
    """What this process creates within the block is for its own user."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)
