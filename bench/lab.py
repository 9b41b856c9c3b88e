"""The parts of a run: one embedded Kafka and PostgreSQL, and installations on them.

Owns a directory below the temporary one, gone when the run ends. Invariant: sites share the parts
and nothing else, so what one is loaded with does not show in another but by the room it takes.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psutil
import psycopg2

from bench.say import say
from bench.site import Site
from saec import installation
from saec.embedded import EmbeddedStack
from saec.settings import Settings


class Lab:
    """Running parts. `directory` is for whatever a part of the benchmark writes."""

    def __init__(self, stack: EmbeddedStack, directory: Path) -> None:
        self.directory = directory
        self.processes_log = directory / "processes.log"
        self._stack = stack
        self._addresses = stack.start()
        self._sites: dict[str, Site] = {}
        self._names = 0

    @property
    def bootstrap_servers(self) -> str:
        """Kafka."""
        return self._addresses.bootstrap_servers

    @property
    def pids(self) -> dict[str, int]:
        """The parts that run beside SAEC's processes."""
        return {"kafka": self._stack.broker_pid, "postgres": self._stack.postgres_pid}

    def kill_broker(self) -> None:
        """SIGKILL Kafka, and wait until it is gone."""
        broker = psutil.Process(self._stack.broker_pid)
        broker.kill()
        broker.wait()

    def start_broker(self) -> None:
        """Start Kafka again, with the data it has; returns when it answers."""
        self._stack.restart_broker()

    def site(self, name: str) -> Site:
        """The installation of this name, made when it is asked for first."""
        if name not in self._sites:
            self._sites[name] = self._make(name)
        return self._sites[name]

    def fresh(self, what: str) -> Path:
        """A directory that nobody has written to."""
        self._names += 1
        return self.directory / f"{what}-{self._names}"

    def database(self, name: str) -> str:
        """A new database; its URL."""
        url = self._addresses.database_url
        _run(url, f'CREATE DATABASE "bench_{name}"')
        return urlunsplit(urlsplit(url)._replace(path=f"/bench_{name}"))

    def settle(self, url: str) -> None:
        """What PostgreSQL would do sooner or later in this database, now."""
        _run(url, "VACUUM (ANALYZE)", "CHECKPOINT")

    def _make(self, name: str) -> Site:
        settings = Settings(
            bootstrap_servers=self.bootstrap_servers,
            database_url=self.database(name),
            topic_prefix=f"{name}.",
        )
        installation.init(settings)
        return Site(name, settings)


def _run(url: str, *statements: str) -> None:
    connection = psycopg2.connect(url, connect_timeout=10)
    connection.autocommit = True
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
    connection.close()


@contextmanager
def lab() -> Iterator[Lab]:
    """Start the parts, stop them at the end."""
    # A short path: PostgreSQL's socket stands below it.
    with tempfile.TemporaryDirectory(prefix="saec-bench-") as name:
        directory = Path(name)
        stack = EmbeddedStack(directory / "stack")
        try:
            say("Kafka and PostgreSQL start")
            yield Lab(stack, directory)
        finally:
            stack.stop()
