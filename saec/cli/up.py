"""`saec up`: Kafka, PostgreSQL and SAEC's processes on this machine, until Ctrl-C."""

import os
import shlex
import threading
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from saec.cli import output
from saec.embedded.errors import optional_module
from saec.settings import Settings, load_settings
from saec.supervise.machine import running
from saec.supervise.signals import interrupting
from saec.supervise.supervisor import checkout

_LOOK_EVERY_S = 0.2


def up_command(
    data_dir: Annotated[
        Path | None,
        typer.Option("--data-dir", help="Where data is kept; by default your data directory."),
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
    settings = load_settings()
    where = (data_dir or Path(optional_module("platformdirs").user_data_path("saec"))).absolute()
    with suppress(KeyboardInterrupt), interrupting():
        _run(settings, where, as_json=as_json)
    output.note("Stopped.")


def _run(settings: Settings, where: Path, *, as_json: bool) -> None:
    """Until interrupted."""
    output.note(f"Starting Kafka, PostgreSQL and SAEC; data and logs are in {where}")
    with running(settings, os.environ, where, output.note) as machine:
        _tell(machine.settings, where, as_json=as_json)
        while True:
            machine.processes.tend()
            threading.Event().wait(_LOOK_EVERY_S)


def _tell(settings: Settings, where: Path, *, as_json: bool) -> None:
    addresses = {
        "bootstrap_servers": settings.bootstrap_servers,
        "database_url": settings.database_url,
    }
    if as_json:
        output.as_json({**addresses, "data_dir": str(where)})
        return
    output.note("Everything runs. In another terminal:\n")
    for name, value in addresses.items():
        output.line(f"export SAEC_{name.upper()}={shlex.quote(value)}")
    output.note("\nCtrl-C stops everything; the data is kept.")
