"""Where PostgreSQL is: SAEC_DATABASE_URL as PostgreSQL's own client reads it.

Invariant: what the URL says is kept, before anything that SAEC would choose, or it is refused in
words; it is never dropped, and never quoted, since there is a password in it.
"""

import re
from urllib.parse import parse_qsl

import psycopg2
from psycopg2.extensions import parse_dsn

from saec.errors import ConfigurationError
from saec.store import bounds

_CHOSEN = {
    "connect_timeout": "5",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "30000",
}
_SCHEME = re.compile(r"^postgres(ql)?(\+psycopg2)?://")
_SET_BY_OPTIONS = re.compile(r"(?:-c\s*|--)([A-Za-z_.-]+)\s*=")


def parameters(url: str, application: str = "saec") -> dict[str, str]:
    """What PostgreSQL's client connects with.

    Raises:
        ConfigurationError: it is no such URL, or says what SAEC cannot keep.
    """
    given = _parsed(url)
    several = "," in given.get("host", given.get("hostaddr", ""))
    return {
        **_CHOSEN,
        "application_name": application,
        # Of several servers only one takes writes, and the first that answers may be another.
        **({"target_session_attrs": "read-write"} if several else {}),
        **given,
    }


def database(url: str) -> str:
    """The name of the database, as PostgreSQL's client takes it.

    Raises:
        ConfigurationError: see `parameters`.
    """
    given = _parsed(url)
    return given.get("dbname") or given.get("user") or ""


def _parsed(url: str) -> dict[str, str]:
    _check_options(url)
    try:
        given = parse_dsn(_SCHEME.sub("postgresql://", url)) if _SCHEME.match(url) else None
    except psycopg2.Error:  # its own text quotes the URL, and with it the password
        given = None
    if given is None or _is_misread(given):
        raise ConfigurationError(
            "SAEC_DATABASE_URL is not like postgresql://user:password@host:5432/database; in a "
            "password @ is written as %40, : as %3A, / as %2F; several servers are host1:5432,"
            "host2:5432"
        )
    _check_kept(given)
    return {name: str(value) for name, value in given.items()}


def _check_options(url: str) -> None:
    """Refuse options that PostgreSQL's client does not know, and those given twice."""
    named = [name for name, _ in parse_qsl(url.partition("?")[2], keep_blank_values=True)]
    try:
        psycopg2.extensions.make_dsn(**dict.fromkeys(named, "1"))
    except (psycopg2.Error, TypeError):
        raise ConfigurationError(
            "SAEC_DATABASE_URL has an option behind the ? that PostgreSQL's client does not know"
        ) from None
    if len(named) != len(set(named)):
        raise ConfigurationError(
            "SAEC_DATABASE_URL has an option behind the ? twice, and only one would count; "
            "several servers are host1:5432,host2:5432"
        )


def _is_misread(given: dict[str, str]) -> bool:
    """Whether a piece of a password was taken for a host or a port, and would be quoted."""
    hosts, ports = given.get("host", "").split(","), given.get("port", "5432").split(",")
    return any("@" in host[1:] or host.count(":") == 1 for host in hosts) or not all(
        port.isascii() and port.isdigit() and 0 < int(port) < 65_536 for port in ports if port
    )


def _check_kept(given: dict[str, str]) -> None:
    """Refuse settings of a session that each transaction of SAEC sets anew."""
    ours = {name.lower() for name in bounds.NAMES}
    named = {name.replace("-", "_").lower() for name in _SET_BY_OPTIONS.findall(_options(given))}
    if both := sorted(ours & named):
        raise ConfigurationError(
            f"SAEC_DATABASE_URL sets {', '.join(both)} in its options, which SAEC sets itself in "
            "each transaction; leave it out"
        )


def _options(given: dict[str, str]) -> str:
    return str(given.get("options", ""))
