"""Whether what goes to Kafka and PostgreSQL can be read, or answered, by somebody on the way.

Invariant: only settings are looked at, nothing is connected to; what is told names no host and no
secret. On the way to this machine itself there is nobody.
"""

import ipaddress
import os
from collections.abc import Iterable
from dataclasses import dataclass

from saec.settings import Settings
from saec.store import place

_NO = frozenset({"false", "0", "no", "f", "n", "off"})
_CLEAR = frozenset({"plaintext", "sasl_plaintext"})
_CHECKED = "verify-full"


@dataclass(frozen=True, slots=True)
class Exposed:
    """What can be read or answered by others, and what to do."""

    what: str
    advice: str


def kafka(settings: Settings) -> Exposed | None:
    """Of Kafka; None: nothing."""
    given = {"bootstrap.servers": settings.bootstrap_servers, **settings.kafka}
    servers = given.get("metadata.broker.list", "") + "," + given["bootstrap.servers"]
    if not _any_elsewhere(_host(one) for one in servers.split(",") if one.strip()):
        return None
    if given.get("security.protocol", "plaintext").lower() in _CLEAR:
        return Exposed(
            "messages, addresses and logins travel to Kafka in the clear",
            "set security.protocol to SSL or SASL_SSL in SAEC_KAFKA: see docs/security.md",
        )
    verifies = given.get("enable.ssl.certificate.verification", "true").lower() not in _NO
    names = given.get("ssl.endpoint.identification.algorithm", "https").lower() != "none"
    if not (verifies and names):
        return Exposed(
            "the certificate of the Kafka brokers is not checked, so others can answer for them",
            "take enable.ssl.certificate.verification and ssl.endpoint.identification.algorithm "
            "out of SAEC_KAFKA",
        )
    return None


def postgresql(settings: Settings) -> Exposed | None:
    """Of PostgreSQL; None: nothing."""
    url = place.parameters(settings.database_url)
    hosts = [*_listed(url.get("host")), *_listed(url.get("hostaddr"))]
    named = [host for host in hosts if host] or os.environ.get("PGHOST", "").split(",")
    # A path is a socket of this machine.
    if not _any_elsewhere(_host(one) for one in named if not one.startswith(("/", "@"))):
        return None
    mode = (_listed(url.get("sslmode")) or [os.environ.get("PGSSLMODE", "prefer")])[-1]
    if mode == _CHECKED:
        return None
    return Exposed(
        f"PostgreSQL is reached with sslmode={_known(mode)}, so others on the way can answer for "
        "it, and read what is stored",
        "put sslmode=verify-full behind the ? of SAEC_DATABASE_URL: see docs/security.md",
    )


def exposed(settings: Settings) -> list[Exposed]:
    """Of both."""
    return [one for one in (kafka(settings), postgresql(settings)) if one is not None]


def _listed(value: str | None) -> list[str]:
    return [one for one in (value or "").split(",") if one]


def _known(mode: str) -> str:
    return mode if mode in {"disable", "allow", "prefer", "require", "verify-ca"} else "…"


def _host(server: str) -> str:
    """The host of `protocol://host:port`, with whatever is left out."""
    host = server.strip().rpartition("://")[2]
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host if host.count(":") > 1 else host.partition(":")[0]


def _any_elsewhere(hosts: Iterable[str]) -> bool:
    return any(not _is_here(host) for host in hosts)


def _is_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower().rstrip(".") in {"", "localhost"}
