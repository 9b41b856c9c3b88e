"""SAEC's endpoint and the bare one, as processes.

Owns an installation for each, so that their topics are alike and nobody reads what is published.
Invariant: what is started here is gone at the end of its block.
"""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import urllib3
from urllib3.exceptions import HTTPError

from bench.child import ROOT, module
from bench.http import bare
from bench.lab import Lab
from bench.processes import environment
from bench.site import Site
from bench.workload import REQUESTER

SAEC, BARE = "SAEC", "bare FastAPI"
_HOST = "127.0.0.1"
_SAEC = Path(sys.executable).with_name("saec")
_RATE = "1000000"  # it does not bind
_ANSWERS = urllib3.Retry(total=None, connect=100, backoff_factor=0.05, backoff_max=0.2)
_ANSWERS_S = 30.0
_STOP_S = 20.0
_LOG_LINES = 15


@dataclass(frozen=True)
class Running:
    """An endpoint that answers. `site` has the topic that it produces to."""

    name: str
    pid: int
    port: int
    site: Site
    key: str | None

    @property
    def process(self) -> str:
        """What its process is called in the results."""
        return "http 1" if self.name == SAEC else "bare"

    @property
    def host(self) -> str:
        """Its address."""
        return _HOST

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://{self.host}:{self.port}"

    @property
    def headers(self) -> dict[str, str]:
        """With which it lets in."""
        return {"Authorization": f"Bearer {self.key}"} if self.key else {}


class Endpoints:
    """Both, to be started as they are needed."""

    def __init__(self, lab: Lab) -> None:
        self._sites = {SAEC: lab.site("http"), BARE: lab.site("bare")}
        self._log = lab.processes_log
        self._key = _new_key(self._sites[SAEC], self._log)

    @contextmanager
    def running(self, name: str) -> Iterator[Running]:
        """One of them, from when it answers.

        Raises:
            RuntimeError: it did not start, or end, as it should.
        """
        site, port = self._sites[name], _free_port()
        command, settings = _saec(site, port) if name == SAEC else _bare(site, port)
        with self._log.open("ab") as log:
            process = subprocess.Popen(command, cwd=ROOT, env=settings, stdout=log, stderr=log)
        try:
            key = self._key if name == SAEC else None
            running = Running(name, process.pid, port, site, key)
            self._wait_for(running)
            yield running
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                code = process.wait(_STOP_S)
            finally:
                process.kill()
        if code not in {0, -signal.SIGTERM}:
            raise RuntimeError(f"{name} ended with {code}: {self._last_lines()}")

    def _wait_for(self, running: Running) -> None:
        try:
            urllib3.request("GET", running.url, retries=_ANSWERS, timeout=_ANSWERS_S)
        except HTTPError:
            raise RuntimeError(f"{running.name} does not answer: {self._last_lines()}") from None

    def _last_lines(self) -> str:
        return "\n".join(self._log.read_text().splitlines()[-_LOG_LINES:])


def _saec(site: Site, port: int) -> tuple[list[str], dict[str, str]]:
    return module("producers.http"), environment(site) | {"SAEC_HTTP_PORT": str(port)}


def _bare(site: Site, port: int) -> tuple[list[str], dict[str, str]]:
    options = ["--host", _HOST, "--port", str(port), "--loop", "uvloop", "--http", "httptools"]
    options += ["--no-access-log", "--log-level", "warning"]
    settings = {
        bare.SERVERS: site.settings.bootstrap_servers,
        bare.TOPIC: site.settings.topics.requests,
    }
    return module("uvicorn", "bench.http.bare:app", *options), os.environ | settings


def _new_key(site: Site, log: Path) -> str:
    with log.open("ab") as notes:
        asked = subprocess.run(
            [_SAEC, "keys", "add", "bench", "--requester", REQUESTER, "--rate", _RATE],
            env=environment(site),
            stdout=subprocess.PIPE,
            stderr=notes,
            text=True,
            check=True,
        )
    return asked.stdout.strip()


def _free_port() -> int:
    with socket.create_server((_HOST, 0)) as listening:
        port: int = listening.getsockname()[1]
        return port
