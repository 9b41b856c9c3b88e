"""The HTTP endpoint among the children: whether it can run, and on which port.

Invariant: without the extra `http` the others run alone, and a port that is taken holds nobody up.
"""

import socket
from contextlib import suppress
from importlib.util import find_spec

MODULE = "producers.http"
IS_MISSING = (
    "Without the HTTP endpoint, whose packages are not installed: "
    '`pip install "saec[http]"` brings them.'
)
_NEEDS = ("fastapi", "uvicorn")


def is_installed() -> bool:
    """Whether what the endpoint needs is there."""
    return all(find_spec(name) is not None for name in _NEEDS)


def free_port(host: str, wanted: int) -> int:
    """`wanted`, if nobody listens there, else another port of `host`; of 0 any.

    Where there is none, `wanted`: the endpoint then says why.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for port in (wanted, 0):
        with suppress(OSError), socket.create_server((host, port), family=family) as probe:
            return int(probe.getsockname()[1])
    return wanted
