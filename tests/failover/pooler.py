"""A real PgBouncer in transaction mode, where it is installed."""

import shutil
import signal
import threading
from collections.abc import Mapping
from pathlib import Path

import psycopg2
import pytest

from faults.proxy import HOST
from saec.embedded.postgres import USER, _account, _let_through
from saec.embedded.process import Part
from saec.supervise.endpoint import free_port

WHERE = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin:/usr/local/sbin")
START_S = 60.0
needed = pytest.mark.skipif(WHERE is None, reason="PgBouncer is not installed")

# What people add when a client's startup options are refused.
USUAL = {"ignore_startup_parameters": "extra_float_digits,options"}


class Pooler:
    """PgBouncer before `server` (host:port), with `settings` beside what it needs to start."""

    def __init__(self, directory: Path, server: str, settings: Mapping[str, str]) -> None:
        assert WHERE is not None
        self.port = free_port(HOST, 0)
        host, _, port = server.rpartition(":")
        account = _account()
        directory.mkdir()
        users, configuration = directory / "users", directory / "pgbouncer.ini"
        users.write_text(f'"{USER}" ""\n')
        chosen = {
            "listen_addr": HOST,
            "listen_port": str(self.port),
            "unix_socket_dir": "",
            "auth_type": "trust",
            "auth_file": str(users),
            "admin_users": USER,
            "pool_mode": "transaction",
            **settings,
        }
        lines = [f"{name} = {value}" for name, value in chosen.items()]
        databases = f"[databases]\n* = host={host} port={port}\n[pgbouncer]\n"
        configuration.write_text(databases + "\n".join(lines) + "\n")
        if account is not None:
            _let_through(configuration)
            for path in (directory, users, configuration):
                shutil.chown(path, account.user, account.group)
        self._part = Part("pgbouncer", directory, mark=str(configuration))
        self._part.start([WHERE, configuration], account)
        self._part.wait_until(self._answers, threading.Event(), START_S, 0.05)

    def url(self, database: str) -> str:
        """A database through it."""
        return f"postgresql://{USER}@{HOST}:{self.port}/{database}"

    def close(self) -> None:
        """Stop it."""
        self._part.stop(signal.SIGTERM, 10.0)

    def _answers(self) -> bool:
        try:
            psycopg2.connect(self.url("pgbouncer"), connect_timeout=60).close()
        except psycopg2.OperationalError:
            return False
        return True
