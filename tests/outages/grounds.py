"""Parts that a test may kill, cut, freeze and fill up: a stack of its own, behind proxies.

Invariant: the addresses stay the same whatever happens behind them, and `mend` leaves everything
in order, so that one test does not disturb the next.
"""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg2

from faults.parts import Parts, wait_until
from faults.proxy import HOST
from tests.stack import Stack

__all__ = ["Grounds", "wait_until"]


class Grounds(Parts):
    """One embedded stack with one proxy before each part."""

    def __init__(self, data_dir: Path) -> None:
        super().__init__(data_dir)
        self.cluster = data_dir / "postgres" / "cluster"
        self.kafka = self.kafka_proxy()
        self.postgres = self.postgres_proxy()
        self.stack = Stack(
            bootstrap_servers=f"{HOST}:{self.kafka.port}",
            admin_dsn=f"postgresql://postgres@{HOST}:{self.postgres.port}/saec",
            description="embedded, behind proxies",
            embedded=self.embedded,
        )

    def close(self) -> None:
        """Stop everything."""
        self.stop()
        self.kafka.close()
        self.postgres.close()

    @contextmanager
    def standby(self, *, takes_connections: bool) -> Iterator[None]:
        """PostgreSQL in recovery: a hot standby, or one that refuses connections with 57P03.

        At the end it is promoted.
        """
        hot = "on" if takes_connections else "off"
        self.stack.sql(f"ALTER SYSTEM SET hot_standby = {hot}")
        self.kill_postgres(signal.SIGINT)
        (self.cluster / "standby.signal").touch()
        # Where nobody gets in, starting it ends with the promotion only.
        starting = threading.Thread(target=self.start_postgres)
        starting.start()
        wait_until(lambda: self._in_recovery(takes_connections=takes_connections))
        try:
            yield
        finally:
            (self.cluster / "promote").touch()
            pid = int((self.cluster / "postmaster.pid").read_text().partition("\n")[0])
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
            connection = psycopg2.connect(self.stack.dsn("postgres"), connect_timeout=60)
        except psycopg2.OperationalError as error:
            return not takes_connections and "not accepting connections" in str(error)
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_is_in_recovery()")
            row = cursor.fetchone()
        connection.close()
        return bool(row and row[0])
