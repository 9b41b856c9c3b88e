"""PostgreSQL behind TLS. The embedded server is built without, so something in front of it ends it.

Invariant: who does not speak TLS gets no further than the request for it.
"""

import asyncio
import ssl
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

_SSL_REQUEST = bytes.fromhex("0000000804d2162f")
_CHUNK_BYTES = 65_536


@contextmanager
def tls_front(socket: Path, certificate: Path) -> Iterator[int]:
    """Within the block the server at `socket` is reached by TLS at the port that is given."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    loop = asyncio.new_event_loop()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, EOFError, asyncio.CancelledError), closing(writer):
            if await reader.readexactly(len(_SSL_REQUEST)) != _SSL_REQUEST:
                return
            writer.write(b"S")
            await writer.start_tls(context)
            behind = await asyncio.open_unix_connection(socket)
            with closing(behind[1]):
                await asyncio.gather(_pass_on(reader, behind[1]), _pass_on(behind[0], writer))

    server = loop.run_until_complete(asyncio.start_server(serve, "127.0.0.1", 0))
    thread = threading.Thread(target=loop.run_forever, name="tls front")
    thread.start()
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.run_until_complete(_end(server))
        loop.close()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Until one side has closed; then the other is closed too."""
    with suppress(OSError):
        while data := await reader.read(_CHUNK_BYTES):
            writer.write(data)
            await writer.drain()
    writer.close()


async def _end(server: asyncio.Server) -> None:
    server.close()
    ours = asyncio.all_tasks() - {asyncio.current_task()}
    for task in ours:
        task.cancel()
    await asyncio.gather(*ours, return_exceptions=True)
