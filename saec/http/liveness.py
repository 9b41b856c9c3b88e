"""Whether the endpoint of this machine answers: `python -m saec.http.liveness`.

Meant as the health check of a container. Invariant: healthy means that the event loop answers; what
it needs of Kafka and PostgreSQL it does without for a while, so a restart would not help it.
"""

import ssl
import sys
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from urllib.parse import urlsplit

from saec.http.address import url_here
from saec.settings import Settings

TIMEOUT_S = 5.0


def is_alive(settings: Settings) -> bool:
    """True when the endpoint says that it is well."""
    connection = _connection(url_here(settings))
    try:
        connection.request("GET", "/v1/health")
        return connection.getresponse().status == HTTPStatus.OK
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


def _connection(url: str) -> HTTPConnection:
    parts = urlsplit(url)
    if parts.scheme == "http":
        return HTTPConnection(parts.netloc, timeout=TIMEOUT_S)
    # The certificate names how others reach it, and nothing that is secret is sent.
    trusting = ssl.create_default_context()
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    return HTTPSConnection(parts.netloc, timeout=TIMEOUT_S, context=trusting)


def main() -> None:
    """Exit code 0 when alive, 1 when not."""
    sys.exit(0 if is_alive(Settings()) else 1)


if __name__ == "__main__":
    main()
