"""The HTTP endpoint as its client sees it: where it is, what opens it, one call at a time.

Invariant: the API key goes to the host that was named and to no other, so no redirect is followed;
and no message quotes it.
"""

import ipaddress
import os
import ssl
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

import urllib3
from pydantic import BaseModel, ValidationError
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    LocationParseError,
    MaxRetryError,
    NameResolutionError,
    NewConnectionError,
    ReadTimeoutError,
    SSLError,
)
from urllib3.util import Timeout, Url, parse_url

from saec import keys
from saec.cli import output
from saec.cli.compose import read_file
from saec.cli.errors import InputError
from saec.errors import SaecError

KEY_VARIABLE = "SAEC_API_KEY"
_CONNECT_S = 10.0
_LONGEST_PAUSE_S = 30
# Everything here may be repeated: the ids are chosen on this side, and what arrived twice is
# answered DUPLICATE.
_AGAIN = urllib3.Retry(
    total=None,
    connect=3,
    read=1,
    status=4,
    redirect=0,
    other=0,
    allowed_methods=None,
    status_forcelist=(429, 502, 503, 504),
    backoff_factor=0.5,
    raise_on_status=False,
    retry_after_max=_LONGEST_PAUSE_S,
)
_REFUSED_KEY = {
    "unauthenticated": "it is unknown, was revoked or has expired; see `saec keys list`, and make "
    "another with `saec keys add`",
    "scope_missing": "it may not schedule; make one that may with `saec keys add --scope schedule`",
}
_ELSEWHERE = {"unknown_path", "method_not_allowed"}
_HOW_URL = "--http: give the endpoint's address: https://saec.example.com, http://127.0.0.1:8090"
_TOLD = (
    (
        ssl.SSLCertVerificationError,
        "its certificate is not accepted; give --ca-file if it is of a CA of your own",
    ),
    (ssl.SSLError, "it does not speak TLS as it should; is its address one with http://?"),
    (NameResolutionError, "its name is not known here; check --http"),
    (NewConnectionError, "it takes no connections; check --http, and that it runs"),
    (ConnectTimeoutError, f"no connection within {_CONNECT_S:.0f} s; check --http"),
    (ReadTimeoutError, "it took too long"),
)


class EndpointError(SaecError):
    """The endpoint did not answer, or not with what was asked of it; unknown what it took."""


class NotTakenError(EndpointError):
    """The endpoint took nothing, and will not before something is put right."""


class Problem(BaseModel):
    """Why the endpoint did not do what was asked: what every error of it has (RFC 9457)."""

    code: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Reply:
    """What the endpoint answered: JSON, and where it is an error what that is."""

    status: int
    body: bytes
    problem: Problem | None


@dataclass(frozen=True, slots=True)
class Access:
    """Where the endpoint is, and what opens it."""

    url: Url
    key: str = field(repr=False)
    certificates: ssl.SSLContext

    @classmethod
    def of(cls, url: str, key_file: Path | None, ca_file: Path | None) -> "Access":
        """The access that flags and environment describe. Raises InputError."""
        access = cls(_url(url), _key(key_file), _certificates(ca_file))
        if access.url.scheme == "http" and not _is_local(access.url.host or ""):
            output.note(
                "warning: over http:// the API key and the messages can be read on their way; use "
                "https://"
            )
        return access


class Endpoint:
    """Connections to the endpoint; close it."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._pool = urllib3.PoolManager(ssl_context=access.certificates)

    def post(self, path: str, body: bytes, timeout_s: float, **headers: str) -> Reply:
        """Send a body and wait up to `timeout_s` seconds for the answer to it, a few times.

        `content_type="…"` is the header `content-type`.

        Raises:
            NotTakenError: the key is refused, or this is no endpoint of SAEC.
            EndpointError: no answer.
        """
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        sent |= {"authorization": f"Bearer {self._access.key}", "content-length": str(len(body))}
        try:
            response = self._pool.request(
                "POST",
                f"{str(self._access.url).rstrip('/')}{path}",
                # In pieces: sent at once, all of it would have to be taken within the time-out.
                body=BytesIO(body),
                headers=sent,
                timeout=Timeout(connect=_CONNECT_S, read=timeout_s),
                retries=_AGAIN,
                redirect=False,
            )
        except HTTPError as error:
            raise EndpointError(f"no answer from the endpoint: {_words(error)}") from None
        return _reply(response.status, response.data)

    def close(self) -> None:
        """Close the connections."""
        self._pool.clear()


def _reply(status: int, body: bytes) -> Reply:
    """Raises NotTakenError for what only a person can put right."""
    if status in range(300, 400):
        raise NotTakenError(
            "the endpoint redirects, which is not followed, as the API key would go along: give "
            "--http the address that it redirects to, if you trust it"
        )
    try:
        problem = None if status < 300 else Problem.model_validate_json(body)
    except ValidationError:
        problem = None
    if problem is not None and problem.code in _REFUSED_KEY:
        raise NotTakenError(f"the endpoint refuses the API key: {_REFUSED_KEY[problem.code]}")
    if status in range(300, 500) and (problem is None or problem.code in _ELSEWHERE):
        raise NotTakenError(f"what answered ({status}) is no endpoint of SAEC: check --http")
    if status >= 500 and problem is None:
        raise EndpointError(f"what stands before the endpoint answered {status}")
    return Reply(status, body, problem)


def _words(error: HTTPError) -> str:
    """What went wrong; the library's own words name objects of its own."""
    cause: BaseException | None = error.reason if isinstance(error, MaxRetryError) else error
    if isinstance(cause, SSLError) and isinstance(cause.args[0], ssl.SSLError):
        cause = cause.args[0]
    return next((told for kind, told in _TOLD if isinstance(cause, kind)), "the connection broke")


def _url(text: str) -> Url:
    """Raises InputError, which does not quote the text: somebody may have put a password in it."""
    try:
        url = parse_url(text)
    except LocationParseError:
        raise InputError(_HOW_URL) from None
    if url.scheme not in {"http", "https"} or not url.host:
        raise InputError(_HOW_URL)
    if url.query is not None or url.fragment is not None:
        raise InputError(_HOW_URL)
    if url.auth is not None:
        raise InputError(f"--http: no user and password in it; the API key goes in {KEY_VARIABLE}")
    return url


def _key(file: Path | None) -> str:
    """Raises InputError, which does not quote the key."""
    given = os.environ.get(KEY_VARIABLE) if file is None else _text(file)
    if not given:
        raise InputError(
            f"an API key is needed: set {KEY_VARIABLE}, or give --key-file. Whoever runs SAEC "
            "makes one with `saec keys add NAME --requester WHO`"
        )
    if keys.parse(given.strip()) is None:
        where = KEY_VARIABLE if file is None else "--key-file"
        raise InputError(
            f"{where}: not an API key; it begins with saec_, and `saec keys add` made it"
        )
    return given.strip()


def _text(file: Path) -> str:
    return read_file(file).decode("ascii", "replace")


def _certificates(ca_file: Path | None) -> ssl.SSLContext:
    """What certificates are checked against: those of this system, or a CA of the user's."""
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError:
        raise InputError("--ca-file: not certificates in PEM that can be read") from None


def _is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
