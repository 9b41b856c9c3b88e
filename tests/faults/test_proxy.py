"""The proxy holds back one direction, and lets out what it held."""

import socket
import threading
from collections.abc import Iterator

import pytest

from faults.proxy import HOST, Direction, Proxy

QUIET_S = 0.3


@pytest.fixture
def pair() -> Iterator[tuple[Proxy, socket.socket, socket.socket]]:
    """A proxy, and both ends of a connection through it."""
    with socket.create_server((HOST, 0)) as listener:
        port = listener.getsockname()[1]
        proxy = Proxy(lambda: socket.create_connection((HOST, port)))
        client = socket.create_connection((HOST, proxy.port))
        server, _ = listener.accept()
        client.settimeout(60)
        server.settimeout(60)
        yield proxy, client, server
        client.close()
        server.close()
        proxy.close()


def hears(end: socket.socket) -> bool:
    """Whether something arrives within a moment."""
    end.settimeout(QUIET_S)
    try:
        return bool(end.recv(100, socket.MSG_PEEK))
    except TimeoutError:
        return False
    finally:
        end.settimeout(60)


def test_one_direction_is_held_back_and_the_other_flows(
    pair: tuple[Proxy, socket.socket, socket.socket],
) -> None:
    proxy, client, server = pair
    proxy.freeze(Direction.TO_CLIENT)
    client.sendall(b"commit")
    assert server.recv(100) == b"commit"
    server.sendall(b"done")
    assert not hears(client)
    proxy.mend()
    assert client.recv(100) == b"done"


def test_what_is_held_back_is_lost_with_its_connection(
    pair: tuple[Proxy, socket.socket, socket.socket],
) -> None:
    proxy, client, server = pair
    proxy.freeze(Direction.TO_CLIENT)
    server.sendall(b"done")
    assert not hears(client)
    proxy.cut()
    proxy.mend()
    assert client.recv(100) == b""


def test_a_delay_delays_both_ways(pair: tuple[Proxy, socket.socket, socket.socket]) -> None:
    proxy, client, server = pair
    proxy.delay(2 * QUIET_S)
    for sender, receiver in ((client, server), (server, client)):
        threading.Thread(target=sender.sendall, args=(b"x",)).start()
        assert not hears(receiver)
        assert receiver.recv(100) == b"x"
