"""The ways to SAEC that `submit` and `cancel` share: its topic, or its HTTP endpoint.

Invariant: an API key is never a flag, since lists of processes show flags.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from saec.cli import publishing
from saec.cli.compose import Rules
from saec.cli.errors import InputError
from saec.cli.publishing import Put
from saec.errors import ConfigurationError
from saec.settings import Settings

DEFAULT_REQUESTER = "saec-cli"

Http = Annotated[
    str | None,
    typer.Option(
        "--http",
        metavar="URL",
        help="Through the HTTP endpoint there, not Kafka; SAEC_API_KEY has the key.",
    ),
]
KeyFile = Annotated[
    Path | None, typer.Option("--key-file", help="With --http: a file with the API key.")
]
CaFile = Annotated[
    Path | None, typer.Option("--ca-file", help="With --http: the CA to trust, in PEM.")
]


@dataclass(frozen=True, slots=True)
class Way:
    """A way to SAEC."""

    put: Put
    rules: Rules
    default_requester: str | None
    """None: the one of the API key."""

    @classmethod
    def of(
        cls, settings: Settings, http: str | None, key_file: Path | None, ca_file: Path | None
    ) -> "Way":
        """The one that the flags choose. Raises InputError."""
        if http is not None:
            rules = Rules(settings.max_request_bytes, names_requester=False)
            return cls(_over_http(http, key_file, ca_file), rules, None)
        if key_file is not None or ca_file is not None:
            raise InputError("--key-file and --ca-file go with --http URL")
        rules = Rules(settings.max_request_bytes)
        return cls(publishing.over_kafka(settings), rules, DEFAULT_REQUESTER)

    def requester(self, given: str | None) -> str | None:
        """The requester to name; None: leave that to the endpoint."""
        return self.default_requester if given is None else given


def _over_http(url: str, key_file: Path | None, ca_file: Path | None) -> Put:
    try:
        from saec.cli.over_http import over_http  # noqa: PLC0415 - not everybody installs it
    except ImportError as error:
        raise ConfigurationError(
            f"--http needs a package that is not installed ({error.name}): run "
            '`pip install "saec[http]"`'
        ) from None
    return over_http(url, key_file, ca_file)
