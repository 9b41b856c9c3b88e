"""The health check of the container: 0 for an endpoint that answers, 1 for anything else."""

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest

from saec.http import liveness
from saec.http.liveness import is_alive
from saec.settings import Settings
from tests.http.endpoint import HOST, Served


def test_an_endpoint_that_answers_is_alive(served: Served) -> None:
    assert is_alive(Settings(http_port=served.port))
    assert check(served.port).returncode == 0


def test_nobody_is_not(served: Served) -> None:
    with socket.create_server((HOST, 0)) as probe:
        port = probe.getsockname()[1]
    assert not is_alive(Settings(http_port=port))
    ended = check(port)
    assert (ended.returncode, ended.stdout + ended.stderr) == (1, b"")


@pytest.fixture
def answered() -> list[bytes]:
    """What whoever listens at `port` says before they hang up."""
    return []


@pytest.fixture
def port(answered: list[bytes]) -> Iterator[int]:
    """Where somebody listens who is not the endpoint, and says what is in `answered`."""
    with socket.create_server((HOST, 0)) as listening:

        def answer() -> None:
            with suppress(OSError):
                connection, _ = listening.accept()
                with connection:
                    connection.recv(1024)
                    connection.sendall(answered.pop())

        thread = threading.Thread(target=answer)
        thread.start()
        yield int(listening.getsockname()[1])
        thread.join()


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"SSH-2.0-OpenSSH_9.9\r\n",
        b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n",
    ],
)
def test_somebody_else_is_not(answered: list[bytes], port: int, said: bytes) -> None:
    answered.append(said)
    assert not is_alive(Settings(http_port=port))


def test_who_never_answers_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(liveness, "TIMEOUT_S", 0.2)
    with socket.create_server((HOST, 0)) as silent:
        assert not is_alive(Settings(http_port=silent.getsockname()[1]))


def check(port: int) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "saec.http.liveness"],
        env=os.environ | {"SAEC_HTTP_PORT": str(port)},
        capture_output=True,
        timeout=60,
        check=False,
    )
