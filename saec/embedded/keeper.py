"""The process that keeps both parts: `python -m saec.embedded.keeper DATA_DIR`.

Prints one JSON line with the addresses (or the error), then obeys its stdin: a part's name starts
that part again when it has ended; the end of stdin, which also a killed parent causes, stops all.
Invariant: one keeper a data directory, by a lock that dies with it.
"""

import fcntl
import json
import os
import signal
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue

from saec.embedded.errors import EmbeddedStackError
from saec.embedded.kafka import Broker
from saec.embedded.postgres import Database

STDIN = 0


class Keeper:
    """Both parts below one data directory, for as long as somebody holds our stdin."""

    def __init__(self, data_dir: Path) -> None:
        self._database = Database(data_dir / "postgres")
        self._broker = Broker(data_dir / "kafka")
        self._parts: dict[str, Database | Broker] = {
            "postgres": self._database,
            "kafka": self._broker,
        }
        self._commands: SimpleQueue[str | None] = SimpleQueue()
        self._stop = threading.Event()

    def run(self) -> None:
        """Start, tell, obey, stop."""
        signal.signal(signal.SIGTERM, lambda *_: self._end())
        signal.signal(signal.SIGINT, lambda *_: self._end())
        threading.Thread(target=self._read_commands, daemon=True).start()
        try:
            self._start("postgres", "kafka")
            self._tell()
            for name in iter(self._commands.get, None):
                if not self._parts[name].part.is_running:
                    self._start(name)
                self._tell()
        finally:
            self._stop_all()

    def _start(self, *names: str) -> None:
        for name in names:
            self._parts[name].end_leftover()
        with ThreadPoolExecutor() as pool:
            starts = [pool.submit(self._parts[name].start, self._stop) for name in names]
        for start in starts:
            start.result()

    def _stop_all(self) -> None:
        with ThreadPoolExecutor() as pool:
            stops = [pool.submit(part.stop) for part in self._parts.values()]
        for stop in stops:
            stop.result()

    def _tell(self) -> None:
        _tell(
            {
                "bootstrap_servers": self._broker.bootstrap_servers,
                "database_url": self._database.url,
                "broker_pid": self._broker.part.pid,
                "postgres_pid": self._database.part.pid,
            }
        )

    def _read_commands(self) -> None:
        """Runs in a thread. Reads the descriptor itself: nothing to flush at exit."""
        pending = b""
        while chunk := os.read(STDIN, 4096):
            *lines, pending = (pending + chunk).split(b"\n")
            for line in lines:
                self._commands.put(line.decode())
        self._end()

    def _end(self) -> None:
        self._stop.set()
        self._commands.put(None)


@contextmanager
def _locked(data_dir: Path) -> Iterator[None]:
    path = data_dir / "lock"
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise EmbeddedStackError(
                f"Another embedded stack uses {data_dir}: stop it, or choose another directory."
            ) from None
        yield


def _tell(message: dict[str, str | int]) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Keep the parts until stdin ends; exit code 1 when they could not be started."""
    data_dir = Path(sys.argv[1])
    try:
        with _locked(data_dir):
            Keeper(data_dir).run()
    except Exception as error:
        _tell({"error": str(error) or type(error).__name__})
        sys.exit(1)


if __name__ == "__main__":
    main()
