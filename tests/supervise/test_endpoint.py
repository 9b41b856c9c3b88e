"""The endpoint among the children: a port for it, and the others without it."""

import socket
import subprocess
import sys

import pytest

from saec.settings import Settings
from saec.supervise import endpoint, machine
from saec.supervise.endpoint import IS_MISSING, free_port
from saec.supervise.supervisor import MODULES

HOST = "127.0.0.1"
EXTRA = ("aiolimiter", "fastapi", "fastapi_offline", "httptools", "starlette", "urllib3", "uvicorn")


def test_a_port_that_is_free_is_kept_and_one_that_is_taken_replaced() -> None:
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        other = free_port(HOST, port)
        assert other not in {0, port}
    assert free_port(HOST, port) == port
    assert free_port(HOST, 0) > 0
    assert free_port("::1", other) == other


def test_where_nobody_can_listen_the_endpoint_is_to_say_so() -> None:
    assert free_port("192.0.2.1", 8090) == 8090


def test_without_its_packages_the_others_run_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    settings = Settings()
    assert machine._modules(settings, told.append) == [*MODULES]
    assert told == []
    monkeypatch.setattr(endpoint, "_NEEDS", ("fastapi", "not_there"))
    assert machine._modules(settings, told.append) == [m for m in MODULES if m != "producers.http"]
    assert told == [IS_MISSING]


def test_the_forwarder_runs_where_requesters_have_topics_of_their_own() -> None:
    settings = Settings(requesters="billing,crm")
    assert machine._modules(settings, print) == [*MODULES, "consumers.requesters"]


def test_the_commands_work_without_its_packages() -> None:
    without = "; ".join(f"sys.modules[{name!r}] = None" for name in EXTRA)
    script = f"import sys; {without}; import saec.cli.app, saec.http.liveness"
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
