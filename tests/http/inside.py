"""The HTTP endpoint in a thread of this process, where a test can make it less patient.

Invariant: what is started here has ended when its block is left.
"""

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from socket import create_server

from saec.clock import SystemClock
from saec.http.server import HttpServer
from saec.settings import Settings
from saec.store.engine import open_engine
from tests.http.wire import HOST, head, say
from tests.outages.grounds import wait_until


@contextmanager
def serving(settings: Settings) -> Iterator[int]:
    """Serve; the port. Make the keys before."""
    with closing(create_server((HOST, 0))) as probe:
        port = int(probe.getsockname()[1])
    engine = open_engine(settings.database_url)
    server = HttpServer(settings.model_copy(update={"http_port": port}), engine, SystemClock())
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_until(lambda: bool(say(port, head("GET", "/v1/health", "Connection: close")).raw))
        yield port
    finally:
        server.stop()
        thread.join()
        server.close()
        engine.dispose()
