"""Parts that a test may kill, cut, freeze and fill up: a stack of its own, behind proxies.

Invariant: the addresses stay the same whatever happens behind them, and `mend` leaves everything
in order, so that one test does not disturb the next.
"""

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit, urlunsplit

import psycopg2

from saec.embedded import EmbeddedStack
from tests.outages.proxy import HOST, Proxy
from tests.stack import Stack

DEADLINE_S = 60.0


class Grounds:
    """One embedded stack and its proxies."""

    def __init__(self, data_dir: Path) -> None:
        self._embedded = EmbeddedStack(data_dir)
        addresses = self._embedded.start()
        broker_port = int(addresses.bootstrap_servers.rpartition(":")[2])
        sockets = parse_qs(urlsplit(addresses.database_url).query)["host"][0]
        self._cluster = data_dir / "postgres" / "cluster"
        self._socket = f"{sockets}/.s.PGSQL.5432"
        self._direct = addresses.database_url
        self.kafka = Proxy(
            lambda: socket.create_connection((HOST, broker_port)), advertised=broker_port
        )
        self.postgres = Proxy(self._reach_postgres)
        self.stack = Stack(
            bootstrap_servers=f"{HOST}:{self.kafka.port}",
            admin_dsn=f"postgresql://postgres@{HOST}:{self.postgres.port}/saec",
            description="embedded, behind proxies",
            embedded=self._embedded,
        )

    def direct_dsn(self, database_url: str) -> str:
        """The same database, not through the proxy."""
        return urlunsplit(urlsplit(self._direct)._replace(path=urlsplit(database_url).path))

    def close(self) -> None:
        """Stop everything."""
        self._embedded.stop()
        self.kafka.close()
        self.postgres.close()

    def kill_broker(self) -> None:
        """SIGKILL Kafka."""
        _kill(self._embedded.broker_pid, signal.SIGKILL)

    def start_broker(self) -> None:
        """Start Kafka again, with the data it has."""
        self._embedded.restart_broker()

    def kill_postgres(self, how: signal.Signals = signal.SIGKILL) -> None:
        """End PostgreSQL; by SIGINT in an orderly way."""
        _kill(self._embedded.postgres_pid, how)

    def start_postgres(self) -> None:
        """Start PostgreSQL again, with the data it has."""
        self._embedded.restart_postgres()

    @contextmanager
    def standby(self, *, takes_connections: bool) -> Iterator[None]:
        """PostgreSQL in recovery: a hot standby, or one that refuses connections with 57P03.

        At the end it is promoted.
        """
        hot = "on" if takes_connections else "off"
        self.stack.sql(f"ALTER SYSTEM SET hot_standby = {hot}")
        self.kill_postgres(signal.SIGINT)
        (self._cluster / "standby.signal").touch()
        # Where nobody gets in, starting it ends with the promotion only.
        starting = threading.Thread(target=self.start_postgres)
        starting.start()
        wait_until(lambda: self._in_recovery(takes_connections=takes_connections))
        try:
            yield
        finally:
            (self._cluster / "promote").touch()
            pid = int((self._cluster / "postmaster.pid").read_text().partition("\n")[0])
            os.kill(pid, signal.SIGUSR1)
            starting.join()
            wait_until(lambda: not self._in_recovery(takes_connections=True))
            self.stack.sql("ALTER SYSTEM RESET hot_standby")

    def cut_sessions(self, database: str) -> None:
        """End every session of a database, as an administrator does."""
        self.stack.sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            f" WHERE datname = '{database}' AND pid <> pg_backend_pid()"
        )

    def _in_recovery(self, *, takes_connections: bool) -> bool:
        try:
            connection = psycopg2.connect(self.stack.dsn("postgres"), connect_timeout=5)
        except psycopg2.OperationalError as error:
            return not takes_connections and "not accepting connections" in str(error)
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_is_in_recovery()")
            row = cursor.fetchone()
        connection.close()
        return bool(row and row[0])

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
        assert time.monotonic() < began_s + deadline_s, "the condition did not come true"
        never.wait(0.05)
    return time.monotonic() - began_s


def _kill(pid: int, how: signal.Signals) -> None:
    os.kill(pid, how)
    wait_until(lambda: not Path(f"/proc/{pid}").exists())
