"""`saec up`: Kafka, PostgreSQL and SAEC's processes on this machine, until Ctrl-C."""

import os
import shlex
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from saec.cli import output
from saec.embedded.errors import optional_module
from saec.http.address import DOCS
from saec.http.liveness import is_alive
from saec.settings import Settings, load_settings, variable
from saec.supervise.machine import Machine, running
from saec.supervise.signals import interrupting
from saec.supervise.supervisor import checkout

_LOOK_EVERY_S = 0.2
_ENDPOINT_TIMEOUT_S = 20.0


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
        _wait_for_endpoint(machine)
        _tell(machine, where, as_json=as_json)
        while True:
            _tend(machine)


def _wait_for_endpoint(machine: Machine) -> None:
    """Until it answers; but not for long, since the others work without it."""
    deadline_s = time.monotonic() + _ENDPOINT_TIMEOUT_S
    while machine.http_url and not is_alive(machine.settings) and time.monotonic() < deadline_s:
        _tend(machine)


def _tend(machine: Machine) -> None:
    machine.processes.tend()
    threading.Event().wait(_LOOK_EVERY_S)


def _tell(machine: Machine, where: Path, *, as_json: bool) -> None:
    addresses = {
        "bootstrap_servers": machine.settings.bootstrap_servers,
        "database_url": machine.settings.database_url,
        "http_url": machine.http_url,
    }
    docs_url = machine.http_url and machine.http_url + DOCS
    if as_json:
        output.as_json({**addresses, "http_docs_url": docs_url, "data_dir": str(where)})
        return
    output.note("Everything runs. In another terminal:\n")
    for name, value in addresses.items():
        if value is not None:
            output.line(f"export {variable(name)}={shlex.quote(value)}")
    if docs_url is not None:
        output.note(f"\nRequests by HTTP: {docs_url} shows every call.")
    output.note("\nCtrl-C stops everything; the data is kept.")
