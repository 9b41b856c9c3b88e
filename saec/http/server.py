"""The endpoint as a process runs it: socket, event loop, start and stop.

Invariant: it listens only when everything it needs was there, and a stop lets what is under way be
answered first, within a bound.
"""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext, suppress

import structlog
import uvicorn
from starlette.types import ASGIApp

from saec.clock import Clock
from saec.errors import ConfigurationError, SaecError, StoreUnavailableError
from saec.http.address import DOCS
from saec.http.answers import Answers
from saec.http.app import make_app
from saec.http.door import Door, Place, make_room_for_files
from saec.http.endpoint import Endpoint, Reader
from saec.http.keyring import FRESH_S, Keyring
from saec.http.protocol import Connection
from saec.kafka.async_producer import AsyncProducer
from saec.outage import Outage
from saec.settings import Settings
from saec.store import keys, shards
from saec.store.engine import Connection as StoreConnection
from saec.store.engine import Engine
from saec.store.keys import KeyRow

_BACKLOG = 512
_FINISH_S = 5
_FIRST_READ_S = 10.0
_LOCAL = frozenset({"127.0.0.1", "::1", "localhost"})
# Without one, an encrypted key would be asked about on the terminal, and the process would wait.
_NO_PASSWORD = "none"  # noqa: S105
_HEADERS = [
    ("cache-control", "no-store"),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
]

_log = structlog.get_logger("saec.http")


class HttpServer:
    """The loop of the process. `run` serves until `stop`."""

    def __init__(self, settings: Settings, engine: Engine, clock: Clock) -> None:
        self._settings = settings
        self._engine = engine
        self._clock = clock
        make_room_for_files(settings.http_connections)
        self._socket = _listening(settings)
        self._stopping = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._server: _Server | None = None
        self._answers: Answers | None = None

    def run(self) -> None:
        """Serve.

        Raises:
            ConfigurationError: a topic is missing, or the database is another release's.
        """
        # In the main thread the event loop would take over the signals, and the process hears of
        # those by itself.
        with ThreadPoolExecutor(1, "http") as thread:
            thread.submit(self._run).result()

    def stop(self) -> None:
        """Make `run` answer what is under way and return; from any thread."""
        self._stopping = True
        if self._loop is not None:
            with suppress(RuntimeError):  # it has ended already
                self._loop.call_soon_threadsafe(self._stop)

    def close(self) -> None:
        """Give the port back."""
        self._socket.close()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        async with self._opened() as endpoint:
            server = self._server = _Server(
                _config(self._settings, make_app(endpoint)), self._settings.http_connections
            )
            if self._stopping:
                return
            self._tell(is_tls=server.config.is_ssl)
            await server.serve([self._socket])

    def _stop(self) -> None:
        """In the event loop."""
        if self._server is not None:
            self._server.should_exit = True
        if self._answers is not None:
            self._answers.give_up()

    def _tell(self, *, is_tls: bool) -> None:
        host, port = self._socket.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        url = f"{'https' if is_tls else 'http'}://{shown}:{port}"
        _log.info("listening", url=url, docs=f"{url}{DOCS}")
        if not is_tls and host not in _LOCAL:
            _log.warning(
                "API keys travel in the clear",
                advice="set SAEC_HTTP_TLS_CERT, or let only a proxy with TLS reach this port",
            )

    @asynccontextmanager
    async def _opened(self) -> AsyncIterator[Endpoint]:
        """The parts, and what keeps the API keys fresh."""
        settings = self._settings
        reader, of_keys = Reader(self._engine), Reader(self._engine, threads=1)
        keyring = Keyring(
            lambda: of_keys.read(_usable_keys),
            self._clock,
            settings.http_rate,
            max(1, settings.http_connections // 2),
        )
        with suppress(StoreUnavailableError):  # it was there a moment ago; keys are looked up then
            await keyring.refresh()
        producer = AsyncProducer(settings)
        answers = self._answers = Answers(settings, self._clock)
        await asyncio.to_thread(answers.start, _FIRST_READ_S)
        refreshing = asyncio.create_task(self._keep_fresh(keyring))
        try:
            yield Endpoint(settings, producer, answers, keyring, reader)
        finally:
            refreshing.cancel()
            await producer.close()
            await asyncio.to_thread(answers.close)
            reader.close()
            of_keys.close()

    async def _keep_fresh(self, keyring: Keyring) -> None:
        outage = Outage(_log, self._clock, "API keys cannot be read; those known stay good")
        while True:
            await asyncio.sleep(FRESH_S)
            try:
                await keyring.refresh()
                outage.over()
            except SaecError as error:
                outage.failed(error)


class _Server(uvicorn.Server):
    """uvicorn's server, which leaves the signals to the process, and who comes in to the door."""

    def __init__(self, config: uvicorn.Config, connections: int) -> None:
        super().__init__(config)
        self._connections = connections

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Open the door."""
        doors = [
            Door(one, self._connection, self._connections, self.config.ssl) for one in sockets or ()
        ]
        for door in doors:
            door.open()
        self.servers = doors  # type: ignore[assignment]
        self.started = True

    def _connection(self, place: Place) -> Connection:
        return Connection(self.config, self.server_state, self.lifespan.state).take(place)

    def capture_signals(self) -> AbstractContextManager[None]:  # type: ignore[override]
        """Do not."""
        return nullcontext()


def _config(settings: Settings, app: ASGIApp) -> uvicorn.Config:
    if settings.http_tls_key is not None and settings.http_tls_cert is None:
        raise ConfigurationError("SAEC_HTTP_TLS_KEY is set without SAEC_HTTP_TLS_CERT")
    config = uvicorn.Config(
        app,
        http=Connection,
        ws="none",
        lifespan="off",
        loop="none",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        headers=_HEADERS,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=_FINISH_S,
        ssl_certfile=settings.http_tls_cert,
        ssl_keyfile=settings.http_tls_key,
        ssl_keyfile_password=_NO_PASSWORD,
    )
    try:
        config.load()
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(
            f"SAEC_HTTP_TLS_CERT and SAEC_HTTP_TLS_KEY: {type(error).__name__}: not a certificate "
            "chain and its key, in PEM and without a password, that this process may read"
        ) from None
    return config


def _listening(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.http_host else socket.AF_INET
    try:
        return socket.create_server(
            (settings.http_host, settings.http_port), family=family, backlog=_BACKLOG
        )
    except OSError as error:
        raise ConfigurationError(
            f"cannot listen on SAEC_HTTP_HOST and SAEC_HTTP_PORT ({settings.http_host}, "
            f"{settings.http_port}): {str(error.strerror).partition(' (')[0]}"
        ) from None


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's, where there is one: a third faster."""
    try:
        import uvloop  # noqa: PLC0415 - not on every system
    except ImportError:
        return None
    return uvloop.new_event_loop


def _usable_keys(connection: StoreConnection) -> tuple[int, list[KeyRow]]:
    now_ms = shards.now_ms(connection)
    return now_ms, keys.read_usable(connection, now_ms)
