"""`saec up`, as its user runs it: everything starts, works, and is gone afterwards."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import urllib3

from faults.parts import wait_until
from saec.cli.submit import DEFAULT_REQUESTER
from tests.cli.conftest import Run

TIMEOUT_S = 60
ID = "6d1f0c1e-2a55-4c3e-9a39-0f1f1d6d8f10"


@pytest.fixture
def up(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """The running command, and what it printed when all was ready."""
    command = [sys.executable, "-c", "from saec.cli import main; main()"]
    arguments = ["up", "--data-dir", str(tmp_path / "data"), "--json"]
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        subprocess.Popen(
            [*command, *arguments],
            env=os.environ | {"SAEC_HTTP_PORT": str(taken.getsockname()[1])},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as running,
    ):
        assert running.stdout is not None
        line = running.stdout.readline()
        assert line, running.communicate(timeout=TIMEOUT_S)
        try:
            yield running, json.loads(line)
        finally:
            running.terminate()
            running.communicate(timeout=TIMEOUT_S)


def test_a_request_goes_all_the_way(
    saec: Run, up: tuple[subprocess.Popen[str], dict[str, Any]], tmp_path: Path
) -> None:
    running, addresses = up
    env = {
        "SAEC_BOOTSTRAP_SERVERS": addresses["bootstrap_servers"],
        "SAEC_DATABASE_URL": addresses["database_url"],
    }
    csv = tmp_path / "customers.csv"
    csv.write_text("id,name,email\n42,Ana,ana@example.com\n", "utf-8")
    assert saec("customers", "load", csv, **env).exit_code == 0

    flags = ["--to", "42", "--channel", "EMAIL", "--body", "Olá! 👋", "--id", ID]
    later = saec("submit", *flags, "--at", "+1h", "--wait", "30", **env)
    assert (later.exit_code, later.stdout.split()[:2]) == (0, [ID, "ACCEPTED"])
    taken = saec("submit", *flags, "--at", "+2h", "--wait", "30", **env)
    assert (taken.exit_code, taken.stdout.split()[1:3]) == (1, ["REJECTED", "id_taken"])
    assert json.loads(saec("status", ID, "--json", **env).stdout)["state"] == "SCHEDULED"
    other = saec("cancel", ID, "--requester", "someone", "--wait", "30", **env)
    assert (other.exit_code, "other_requester" in other.stdout) == (1, True)
    cancelled = saec("cancel", ID, "--wait", "30", "--json", **env)
    assert cancelled.exit_code == 0
    assert json.loads(cancelled.stdout)["answers"][0]["status"] == "CANCELLED"
    assert json.loads(saec("status", ID, "--json", **env).stdout)["state"] == "CANCELLED"

    flags = ["--to", "42", "--channel", "EMAIL", "--body", "Olá! 👋", "--at", "now"]
    assert saec("submit", *flags, "--wait", "30", **env).exit_code == 0
    arrived = saec("tail", "email", "--from-beginning", "--count", "1", "--json", **env)
    assert json.loads(arrived.stdout)["customer_id"] == "42"

    by_http(saec, addresses, env)

    running.send_signal(signal.SIGTERM)
    running.wait(TIMEOUT_S)
    assert running.returncode == 0
    for address in (addresses["bootstrap_servers"], urlsplit(addresses["http_url"]).netloc):
        host, _, port = address.partition(":")
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((host, int(port)), timeout=1)


def by_http(saec: Run, addresses: dict[str, Any], env: dict[str, str]) -> None:
    """The endpoint is there, though its port was taken."""
    url, docs_url = addresses["http_url"], addresses["http_docs_url"]
    assert docs_url == f"{url}/docs"
    assert urllib3.request("GET", docs_url).status == 200
    key = saec("keys", "add", "test", "--requester", DEFAULT_REQUESTER, **env).stdout.strip()
    headers = {"Authorization": f"Bearer {key}"}

    def told() -> urllib3.BaseHTTPResponse:
        return urllib3.request("GET", f"{url}/v1/requests/{ID}", headers=headers)

    wait_until(lambda: told().status == 200)
    assert told().json()["state"] == "CANCELLED"
