"""Real parts that may be killed, cut and frozen: an embedded stack, each part behind proxies.

Invariant: the addresses stay the same whatever happens behind them.
"""

import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit, urlunsplit

import psycopg2

from faults.proxy import HOST, Proxy
from saec.embedded import EmbeddedStack

DEADLINE_S = 60.0


class Parts:
    """One embedded stack, and proxies in front of it."""

    def __init__(self, data_dir: Path, kafka_properties: dict[str, str] | None = None) -> None:
        self.embedded = EmbeddedStack(data_dir, kafka_properties=kafka_properties)
        addresses = self.embedded.start()
        self.bootstrap_servers = addresses.bootstrap_servers
        self.database_url = addresses.database_url
        self._broker_port = int(addresses.bootstrap_servers.rpartition(":")[2])
        sockets = parse_qs(urlsplit(addresses.database_url).query)["host"][0]
        self._socket = f"{sockets}/.s.PGSQL.5432"

    def kafka_proxy(self) -> Proxy:
        """A new proxy before the broker; whoever comes through it stays on it."""
        return Proxy(self._reach_kafka, advertised=self._broker_port)

    def postgres_proxy(self) -> Proxy:
        """A new proxy before PostgreSQL."""
        return Proxy(self._reach_postgres)

    def direct_dsn(self, database_url: str) -> str:
        """The same database, not through a proxy."""
        return urlunsplit(urlsplit(self.database_url)._replace(path=urlsplit(database_url).path))

    def sql(self, statement: str, database: str = "saec") -> list[Any]:
        """Run one statement, outside of a transaction; its rows, if it has any."""
        url = self.direct_dsn(f"postgresql:///{database}")
        connection = psycopg2.connect(url, connect_timeout=5)
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(statement)
                return cursor.fetchall() if cursor.description else []
        finally:
            connection.close()

    def stop(self) -> None:
        """Stop both parts."""
        self.embedded.stop()

    def kill_broker(self) -> None:
        """SIGKILL Kafka."""
        _kill(self.embedded.broker_pid, signal.SIGKILL)

    def start_broker(self) -> None:
        """Start Kafka again, with the data it has."""
        self.embedded.restart_broker()

    def kill_postgres(self, how: signal.Signals = signal.SIGKILL) -> None:
        """End PostgreSQL; by SIGINT in an orderly way, by SIGQUIT immediately."""
        _kill(self.embedded.postgres_pid, how)

    def start_postgres(self) -> None:
        """Start PostgreSQL again, with the data it has."""
        self.embedded.restart_postgres()

    def _reach_kafka(self) -> socket.socket:
        return socket.create_connection((HOST, self._broker_port))

    def _reach_postgres(self) -> socket.socket:
        reached = socket.socket(socket.AF_UNIX)
        try:
            reached.connect(self._socket)
        except OSError:
            reached.close()
            raise
        return reached


def wait_until(condition: Callable[[], bool], deadline_s: float = DEADLINE_S) -> float:
    """Wait until a condition holds; returns for how many seconds it did not."""
    began_s, never = time.monotonic(), threading.Event()
    while not condition():
        if time.monotonic() >= began_s + deadline_s:
            raise AssertionError("the condition did not come true")
        never.wait(0.05)
    return time.monotonic() - began_s


def _kill(pid: int, how: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, how)
    wait_until(lambda: not Path(f"/proc/{pid}").exists())
