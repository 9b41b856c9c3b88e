"""SAEC's processes as they run in production, started and ended by the benchmark.

Invariant: whoever is started here is gone at the end of its block.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.child import ROOT
from bench.instants import pause
from bench.meter import Meter
from bench.site import Site

ROLES = {
    "requests": "consumers.requests",
    "customers": "consumers.customers",
    "dispatch": "producers.dispatch",
}
_STOP_S = 20.0
_OWNED_S = 60.0
_LOOK_S = 0.05
_LOG_LINES = 15


def environment(site: Site) -> dict[str, str]:
    """What a process of this installation is started with: none of the user's own settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SAEC_")}
    return kept | {
        "SAEC_BOOTSTRAP_SERVERS": site.settings.bootstrap_servers,
        "SAEC_DATABASE_URL": site.settings.database_url,
        "SAEC_TOPIC_PREFIX": site.settings.topic_prefix,
    }


class Member:
    """One process."""

    def __init__(self, site: Site, role: str, log: Path, instance: str | None = None) -> None:
        named = {} if instance is None else {"SAEC_INSTANCE": instance}
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", ROLES[role]],
                cwd=ROOT,
                env=environment(site) | named,
                stderr=output,
            )

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    @property
    def ended(self) -> bool:
        """Whether it is gone."""
        return self._process.poll() is not None

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """SIGTERM, and wait until it is gone.

        Raises:
            RuntimeError: it did not end as it should.
        """
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            code = self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self.kill()
            raise RuntimeError("a process did not stop when told to") from None
        if code not in {0, -signal.SIGTERM}:
            raise RuntimeError(f"a process ended with {code}")


class Fleet:
    """Processes that run together."""

    def __init__(self, site: Site, log: Path) -> None:
        self.members: list[Member] = []
        self._site = site
        self._log = log

    def wait_until_owned(self, workers: int) -> None:
        """Wait until so many workers have all shards among them.

        Raises:
            RuntimeError: a process ended; with the end of the log.
            TimeoutError: they do not.
        """
        deadline_s = time.monotonic() + _OWNED_S
        while time.monotonic() < deadline_s:
            owners = self._site.owners()
            if None not in owners and len(owners) == workers:
                return
            if any(member.ended for member in self.members):
                lines = self._log.read_text().splitlines()[-_LOG_LINES:]
                raise RuntimeError("\n".join(["a process ended:", *lines]))
            pause(_LOOK_S)
        raise TimeoutError(f"{workers} workers did not take all shards within {_OWNED_S:.0f} s")


@contextmanager
def running(site: Site, log: Path, meter: Meter, **counts: int) -> Iterator[Fleet]:
    """So many processes of each role, weighed while they run: `dispatch=2`."""
    fleet = Fleet(site, log)
    try:
        for role, count in counts.items():
            for number in range(1, count + 1):
                member = Member(site, role, log)
                fleet.members.append(member)
                meter.watch(f"{role} {number}", member.pid)
        yield fleet
    finally:
        for member in fleet.members:
            member.stop()
