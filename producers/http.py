"""The endpoint that takes requests by HTTP: `python -m producers.http`.

Publishes what it is given to saec.requests, and reads PostgreSQL for what became of it. Run any
number of them: they share nothing.
"""

import sys

from saec import process
from saec.http.server import HttpServer
from saec.process import Parts

ROLE = "http"


def make(parts: Parts) -> HttpServer:
    """The loop of this process."""
    return HttpServer(parts.settings, parts.engine, parts.clock)


def main() -> int:
    """Run until SIGTERM; the exit code."""
    return process.run(ROLE, make)


if __name__ == "__main__":
    sys.exit(main())
