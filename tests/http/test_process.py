"""The endpoint as a process: how it starts, with and without TLS, and how it ends when told to."""

import http.client
import resource
import signal
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from faults.parts import wait_until
from faults.proxy import Proxy
from saec.http.liveness import is_alive
from saec.kafka.follow import Beginning, read_whole
from saec.settings import Settings
from saec.supervise.endpoint import free_port
from tests.http.endpoint import HOST, Served, Told, serve
from tests.outages.single import STOP_S, Process
from tests.stack import Stack

Starts = Callable[..., Process]
BY_ITSELF = "saec.process.LONGEST_STOP_S=600"  # and never left where it is
AT_ONCE = f"{BY_ITSELF} saec.http.server._FINISH_S=600 saec.http.preferences.LONGEST_WAIT_S=600"
FINISHES = f"{BY_ITSELF} saec.http.bodies.WHOLE_S=600"  # only the end of the process ends a body
BODY = (
    b'{"channels": ["PUSH"], "customers": [], "due_at": 1900000000000,'
    b' "message": {"body": "Bom dia", "content_type": "text/plain"}}'
)


@pytest.fixture
def running(
    settings: Settings, key: str, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Served]:
    """An endpoint of the test's own, to be stopped; its bounds may be chosen."""
    bounds = getattr(request, "param", BY_ITSELF)
    with serve(settings, tmp_path / "endpoint.log", key, BOUNDS=bounds) as started:
        yield started


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Starts]:
    """Starts a process, which is not waited for; if it still runs at the end, it is killed."""
    made: list[Process] = []

    def begin(settings: Settings, **environment: str) -> Process:
        made.append(Process("producers.http", settings, tmp_path / "endpoint.log", **environment))
        return made[-1]

    yield begin
    for process in made:
        process.child.kill()
        process.child.wait()


@contextmanager
def sending(served: Served) -> Iterator[socket.socket]:
    """A connection on which a request was begun: its head, which was read, and half of its body."""
    head = (
        b"POST /v1/requests HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n"
        b"Expect: 100-continue\r\nAuthorization: Bearer %b\r\nContent-Length: %d\r\n\r\n"
        % (str(served.key).encode(), len(BODY))
    )
    with socket.create_connection((HOST, served.port), timeout=60) as connection:
        connection.sendall(head)
        assert connection.recv(65_536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(BODY[: len(BODY) // 2])
        yield connection


def published(settings: Settings) -> int:
    """How many records the requests topic has."""
    return sum(1 for _ in read_whole(settings, [settings.topics.requests], Beginning()))


# The end


@pytest.mark.parametrize("running", [AT_ONCE], indirect=True, ids=["patient"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_who_waits_for_an_answer_has_202_at_once(running: Served, number: signal.Signals) -> None:
    """Nobody answers here: no consumer runs."""
    before = published(running.settings)
    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(running.post, "/v1/requests", BODY, prefer="wait=600")
        wait_until(lambda: published(running.settings) == before + 1)
        running.process.child.send_signal(number)
        running.process.wait_stopped()
        told: Told = waiting.result(STOP_S)
    assert (told.status, told.json["answer"]) == (202, None)
    events = [line["event"] for line in running.process.lines()]
    assert events[-3:] == ["stopping", "change", "stopped"]


@pytest.mark.parametrize("running", [AT_ONCE], indirect=True, ids=["patient"])
def test_an_idle_one_stops_at_once_also_with_connections_open(running: Served) -> None:
    with closing(running.connect()) as used, socket.create_connection((HOST, running.port)):
        used.request("GET", "/v1/health")
        assert used.getresponse().read() == b'{"status":"ok"}\n'
        running.process.stop()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((HOST, running.port))


def test_a_body_under_way_may_end(running: Served) -> None:
    before = published(running.settings)
    with sending(running) as connection:
        running.process.child.terminate()
        running.process.wait_for("stopping")
        time.sleep(0.5)
        connection.sendall(BODY[len(BODY) // 2 :])
        assert connection.recv(65_536).startswith(b"HTTP/1.1 202 ")
    running.process.wait_stopped()
    assert published(running.settings) == before + 1


@pytest.mark.parametrize("running", [FINISHES], indirect=True, ids=["patient"])
def test_a_body_that_does_not_end_holds_nobody_up(running: Served) -> None:
    before = published(running.settings)
    with sending(running) as connection:
        running.process.stop()
        assert not connection.recv(65_536).startswith(b"HTTP/1.1 2")
    assert published(running.settings) == before
    assert "Traceback" not in running.log


@pytest.mark.parametrize("running", [AT_ONCE], indirect=True, ids=["patient"])
def test_a_second_signal_ends_it_at_once(running: Served) -> None:
    with sending(running):
        running.process.child.terminate()
        running.process.wait_for("stopping")
        running.process.child.terminate()
        assert running.process.child.wait(STOP_S) == 1


# The start


@contextmanager
def without_postgresql(stack: Stack, settings: Settings) -> Iterator[Settings]:
    """It lets nobody in until the end of the block."""
    named = f'ALTER DATABASE "{urlsplit(settings.database_url).path[1:]}" ALLOW_CONNECTIONS'
    stack.sql(f"{named} false")
    try:
        yield settings
    finally:
        stack.sql(f"{named} true")


@contextmanager
def without_kafka(proxy: Proxy, settings: Settings) -> Iterator[Settings]:
    """Not reached until the end of the block; its clients then go on to where it says it is."""
    proxy.refuse()
    yield settings.model_copy(update={"bootstrap_servers": f"{HOST}:{proxy.port}"})
    proxy.mend()


@pytest.mark.parametrize("away", ["postgresql", "kafka"])
def test_it_waits_for_the_parts_and_listens_only_then(
    away: str, stack: Stack, settings: Settings, key: str, start: Starts
) -> None:
    host, _, kafka_port = settings.bootstrap_servers.rpartition(":")
    port = free_port(HOST, 0)
    with closing(Proxy(lambda: socket.create_connection((host, int(kafka_port))))) as proxy:
        leaving = {
            "postgresql": without_postgresql(stack, settings),
            "kafka": without_kafka(proxy, settings),
        }
        with leaving[away] as told:
            process = start(told, SAEC_HTTP_PORT=str(port))
            process.wait_for("waiting for PostgreSQL and Kafka")
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection((HOST, port))
        process.wait_for("listening")
        served = Served(settings, process, port, key)
        assert served.post("/v1/requests", BODY).status == 202
        assert served.get("/v1/requests").status == 200
        process.stop()


def test_a_port_that_is_taken_is_named(settings: Settings, start: Starts) -> None:
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        said = start(settings, SAEC_HTTP_PORT=str(port)).ends_by_itself()
    assert said == (
        "cannot listen on SAEC_HTTP_HOST and SAEC_HTTP_PORT (127.0.0.1, "
        f"{port}): Address already in use"
    )


@pytest.mark.parametrize("host", ["192.0.2.1", "nowhere.invalid"])
def test_an_address_that_is_not_ours_is_named(host: str, settings: Settings, start: Starts) -> None:
    said = start(settings, SAEC_HTTP_HOST=host).ends_by_itself()
    assert said.startswith(f"cannot listen on SAEC_HTTP_HOST and SAEC_HTTP_PORT ({host}, ")


# TLS


class Pems:
    """Files of one authority: a certificate chain, its key, both in one, and what does not fit."""

    def __init__(self, folder: Path) -> None:
        self.authority, other = trustme.CA(), trustme.CA()
        issued = self.authority.issue_cert(HOST)
        self.cert, self.key = folder / "cert.pem", folder / "key.pem"
        self.both, self.others_key = folder / "both.pem", folder / "others-key.pem"
        self.locked_key, self.garbage = folder / "locked.pem", folder / "garbage.pem"
        self.nothing = folder / "not-there.pem"
        self.cert.write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
        issued.private_key_pem.write_to_path(self.key)
        issued.private_key_and_cert_chain_pem.write_to_path(self.both)
        other.issue_cert(HOST).private_key_pem.write_to_path(self.others_key)
        self.locked_key.write_bytes(
            load_pem_private_key(issued.private_key_pem.bytes(), None).private_bytes(
                Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")
            )
        )
        self.garbage.write_bytes(b"no certificate")


@pytest.fixture(scope="module")
def pems(tmp_path_factory: pytest.TempPathFactory) -> Pems:
    """The files."""
    return Pems(tmp_path_factory.mktemp("pems"))


@pytest.mark.parametrize("files", [("cert", "key"), ("both", None)])
def test_with_a_certificate_it_speaks_tls_alone(
    files: tuple[str, str | None], settings: Settings, key: str, pems: Pems, tmp_path: Path
) -> None:
    trusting = ssl.create_default_context()
    pems.authority.configure_trust(trusting)
    given = tls(pems, *files)
    with serve(settings, tmp_path / "log", key, trusting, SAEC_HTTP_HOST="0.0.0.0", **given) as on:  # noqa: S104
        assert on.post("/v1/requests", BODY).status == 202
        listening = on.process.wait_for("listening")
        assert listening["url"] == f"https://0.0.0.0:{on.port}"
        assert "in the clear" not in on.log
        assert is_alive(Settings(http_port=on.port, http_tls_cert=pems.cert))
        assert not is_alive(Settings(http_port=on.port))
        with pytest.raises(ssl.SSLCertVerificationError):
            Served(settings, on.process, on.port, key, ssl.create_default_context()).get("/docs")
        with pytest.raises((http.client.BadStatusLine, ConnectionError)):
            Served(settings, on.process, on.port, key).get("/v1/requests")
        on.process.stop()


@pytest.mark.parametrize(
    "files",
    [
        ("nothing", "key"),
        ("cert", "nothing"),
        ("cert", None),
        ("garbage", "key"),
        ("cert", "garbage"),
        ("cert", "others_key"),
        ("cert", "locked_key"),
        (None, "key"),
    ],
    ids=str,
)
def test_a_certificate_or_a_key_that_does_not_fit_is_told(
    files: tuple[str | None, str | None], settings: Settings, pems: Pems, start: Starts
) -> None:
    process = start(settings, SAEC_HTTP_PORT=str(free_port(HOST, 0)), **tls(pems, *files))
    said = process.ends_by_itself()
    assert "SAEC_HTTP_TLS_CERT" in said
    assert "SAEC_HTTP_TLS_KEY" in said
    assert "pass phrase" not in process.log.read_text()


def test_who_does_not_get_on_with_tls_keeps_nobody_out(
    settings: Settings, key: str, pems: Pems, tmp_path: Path
) -> None:
    """Also where few files may be open: a connection counts from its first moment."""
    trusting = ssl.create_default_context()
    pems.authority.configure_trust(trusting)
    few = {"SAEC_HTTP_CONNECTIONS": "20", **tls(pems, "both", None)}
    with serve(settings, tmp_path / "log", key, trusting, **few) as on, ExitStack() as silent:
        resource.prlimit(on.process.child.pid, resource.RLIMIT_NOFILE, (200, 200))
        for _ in range(400):
            silent.enter_context(socket.create_connection((HOST, on.port)))
        assert on.post("/v1/requests", BODY).status == 202
        assert is_alive(Settings(http_port=on.port, http_tls_cert=pems.cert))
        assert "cannot be taken" not in on.log


def test_more_connections_than_files_are_told(settings: Settings, start: Starts) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard >= 100_000:
        pytest.skip("this machine allows as many files as the setting does")
    said = start(settings, SAEC_HTTP_CONNECTIONS="100000").ends_by_itself()
    assert f"SAEC_HTTP_CONNECTIONS is 100000, but this process may have {hard} files" in said


def test_keys_in_the_clear_are_told(settings: Settings, tmp_path: Path) -> None:
    with serve(settings, tmp_path / "log", SAEC_HTTP_HOST="0.0.0.0") as served:  # noqa: S104
        warned = [line for line in served.process.lines() if line["level"] == "warning"]
        assert [line["event"] for line in warned] == ["API keys travel in the clear"]


def tls(pems: Pems, cert: str | None, key: str | None) -> dict[str, str]:
    """The settings that name these files."""
    named = {"SAEC_HTTP_TLS_CERT": cert, "SAEC_HTTP_TLS_KEY": key}
    return {name: str(getattr(pems, file)) for name, file in named.items() if file is not None}
