"""`saec up`: Kafka, PostgreSQL and SAEC's processes on this machine, until Ctrl-C."""

import shlex
import threading
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Annotated

import typer

from saec import installation
from saec.cli import configuration, output
from saec.clock import SystemClock
from saec.embedded import Addresses, EmbeddedStack
from saec.embedded.errors import optional_module
from saec.settings import Settings
from saec.supervise.signals import interrupting
from saec.supervise.supervisor import Supervisor, checkout

_LOOK_EVERY_S = 0.2


def up_command(
    data_dir: Annotated[
        Path | None,
        typer.Option(
            "--data-dir", help="Where data is kept; by default the user's data directory."
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="The addresses as one line of JSON, when all runs.")
    ] = False,
) -> None:
    """Start Kafka, PostgreSQL and SAEC's processes on this machine; Ctrl-C stops them.

    Data is kept between starts. A process that ends is started again. Nothing is left running,
    however this command ends.

    Example: `saec up --data-dir ./data`
    """
    checkout()
    settings = configuration.load()
    where = (data_dir or _default_data_dir()).absolute()
    with suppress(KeyboardInterrupt), interrupting():
        _run(settings, where, as_json=as_json)
    output.note("Stopped.")


def _run(settings: Settings, where: Path, *, as_json: bool) -> None:
    """Until interrupted."""
    with ExitStack() as stack:
        output.note(f"Starting Kafka and PostgreSQL; their data is in {where}")
        addresses = stack.enter_context(EmbeddedStack(where))
        installation.init(settings.model_copy(update=_settings(addresses)))
        processes = Supervisor(environment(addresses), where / "logs", SystemClock(), output.note)
        stack.callback(processes.stop)
        processes.start()
        _tell(addresses, where, as_json=as_json)
        while True:
            processes.tend()
            threading.Event().wait(_LOOK_EVERY_S)


def environment(addresses: Addresses) -> dict[str, str]:
    """The settings that lead a process of SAEC to an embedded stack."""
    return {f"SAEC_{name.upper()}": value for name, value in _settings(addresses).items()}


def _settings(addresses: Addresses) -> dict[str, str]:
    return {
        "bootstrap_servers": addresses.bootstrap_servers,
        "database_url": addresses.database_url,
    }


def _default_data_dir() -> Path:
    return Path(optional_module("platformdirs").user_data_path("saec"))


def _tell(addresses: Addresses, where: Path, *, as_json: bool) -> None:
    if as_json:
        output.as_json({**_settings(addresses), "data_dir": str(where)})
        return
    output.note(f"Everything runs; logs are in {where / 'logs'}. In another terminal:")
    for name, value in environment(addresses).items():
        output.line(f"export {name}={shlex.quote(value)}")
    output.note("Ctrl-C stops everything; the data is kept.")
