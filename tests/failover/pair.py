"""Two PostgreSQL servers, a primary and its standby, behind one address.

Invariant: the address stays the same; which server new connections reach is the test's to say
(`turn`), and connections that stand are left alone.
"""

import shutil
import signal
import socket
import subprocess
import threading
from pathlib import Path
from typing import Any

import psycopg2

from faults.proxy import HOST, Proxy
from saec.embedded.postgres import USER, _account, _binaries, _let_through
from saec.embedded.process import Part, run_as
from saec.supervise.endpoint import free_port

START_S = 60.0
PAUSE_S = 0.05
STOP_S = 60.0
OPTIONS = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "max_connections": "100",
    "shared_buffers": "64MB",
    "wal_level": "replica",
    "max_wal_senders": "5",
    "hot_standby": "on",
    "wal_log_hints": "on",
    "log_min_messages": "fatal",
}


class Server:
    """One PostgreSQL server on a port of 127.0.0.1; its cluster below `directory`."""

    def __init__(self, directory: Path) -> None:
        self.port = free_port(HOST, 0)
        self._account = _account()
        self._cluster = directory / "cluster"
        directory.mkdir()
        if self._account is not None:
            _let_through(self._cluster)
            shutil.chown(directory, self._account.user, self._account.group)
        self._part = Part("postgres", directory, mark=str(self._cluster))

    def url(self, database: str = "postgres") -> str:
        """This server itself, without the address that both stand behind."""
        return f"postgresql://{USER}@{HOST}:{self.port}/{database}"

    def make(self) -> None:
        """A new cluster."""
        command = ("initdb", "-D", self._cluster, "-U", USER, "--auth=trust", "--no-sync")
        self._run(*command, "--encoding=UTF8", "--no-locale")

    def copy(self, primary: "Server") -> None:
        """A standby of `primary`."""
        command = ("pg_basebackup", "-h", HOST, "-p", str(primary.port), "-U", USER, "-R")
        self._run(*command, "-D", self._cluster, "-c", "fast", "--no-sync")

    def start(self) -> None:
        """Start, and wait until it takes connections."""
        settings = [f"--{name}={value}" for name, value in OPTIONS.items()]
        argv = [_binaries() / "postgres", "-D", self._cluster, f"--port={self.port}", *settings]
        self._part.start(argv, self._account)
        self._part.wait_until(self._answers, threading.Event(), START_S, PAUSE_S)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop in an orderly way; by SIGQUIT as in a crash."""
        self._part.stop(how, STOP_S)

    def follow(self, primary: "Server") -> None:
        """Be a standby of `primary` from the next start on."""
        (self._cluster / "standby.signal").touch()
        with (self._cluster / "postgresql.auto.conf").open("a") as configuration:
            place = f"host={HOST} port={primary.port} user={USER}"
            configuration.write(f"\nprimary_conninfo = '{place}'\n")

    def sql(self, statement: str, database: str = "postgres") -> list[Any]:
        """Run one statement, outside of a transaction; its rows, if it has any."""
        connection = psycopg2.connect(self.url(database), connect_timeout=60)
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(statement)
                return cursor.fetchall() if cursor.description else []
        finally:
            connection.close()

    def sessions(self) -> int:
        """How many sessions SAEC has here, through a pooler or not."""
        asked = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'saec%'"
        return int(self.sql(asked)[0][0])

    def _answers(self) -> bool:
        try:
            self.sql("SELECT 1")
        except psycopg2.OperationalError:
            return False
        return True

    def _run(self, program: str, *arguments: str | Path) -> None:
        done = subprocess.run(
            [_binaries() / program, *arguments],
            capture_output=True,
            text=True,
            cwd="/",
            check=False,
            **run_as(self._account),
        )
        assert done.returncode == 0, done.stderr


class Pair:
    """A primary and its standby. `address` is where both are reached, one at a time."""

    def __init__(self, directory: Path) -> None:
        self.primary, self.standby = Server(directory / "a"), Server(directory / "b")
        self.primary.make()
        self.primary.start()
        self.standby.copy(self.primary)
        self.standby.start()
        self._led_to = self.primary
        self.proxy = Proxy(self._reach)

    @property
    def address(self) -> str:
        """host:port that both stand behind."""
        return f"{HOST}:{self.proxy.port}"

    def url(self, database: str = "postgres") -> str:
        """A database by that address."""
        return f"postgresql://{USER}@{self.address}/{database}"

    def turn(self) -> None:
        """Lead new connections to what is the primary now."""
        self._led_to = self.primary

    def switch_over(self) -> None:
        """Swap them in an orderly way: nothing is lost, and the old primary is a standby now.

        The address still leads to it, until `turn`.
        """
        self.primary.stop()
        self._promote()
        self.standby.follow(self.primary)
        self.standby.start()

    def part(self) -> None:
        """From now on the standby hears no more: what is committed next is lost by `fail_over`.

        What was committed before, it has.
        """
        self.catch_up()
        self.standby.sql("ALTER SYSTEM SET primary_conninfo = ''")
        self.standby.sql("SELECT pg_reload_conf()")
        while self.standby.sql("SELECT count(*) FROM pg_stat_wal_receiver")[0][0]:
            threading.Event().wait(PAUSE_S)

    def fail_over(self) -> None:
        """The primary crashes and stays away; the standby takes its place, also for `address`."""
        self.primary.stop(signal.SIGQUIT)
        self._promote()
        self.turn()

    def catch_up(self) -> None:
        """Wait until the standby has replayed all that is committed."""
        (end,) = self.primary.sql("SELECT pg_current_wal_flush_lsn()")[0]
        while not self.standby.sql(f"SELECT pg_last_wal_replay_lsn() >= '{end}'")[0][0]:
            threading.Event().wait(PAUSE_S)

    def close(self) -> None:
        """Stop both."""
        self.proxy.close()
        for server in (self.standby, self.primary):
            server.stop(signal.SIGQUIT)

    def _promote(self) -> None:
        assert self.standby.sql("SELECT pg_promote(true, 60)") == [(True,)]
        self.standby.sql("ALTER SYSTEM RESET primary_conninfo")
        self.primary, self.standby = self.standby, self.primary

    def _reach(self) -> socket.socket:
        return socket.create_connection((HOST, self._led_to.port))
