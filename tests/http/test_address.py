"""The URL of the endpoint leads to it from the same machine, whatever it listens on."""

from pathlib import Path

import pytest

from saec.http.address import url_here
from saec.settings import Settings


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8090"),
        ("0.0.0.0", "http://127.0.0.1:8090"),  # noqa: S104 - no socket
        ("", "http://127.0.0.1:8090"),
        ("::", "http://[::1]:8090"),
        ("2001:db8::1", "http://[2001:db8::1]:8090"),
        ("saec.example.com", "http://saec.example.com:8090"),
    ],
)
def test_the_url_of_a_host(host: str, url: str) -> None:
    assert url_here(Settings(http_host=host)) == url


def test_with_a_certificate_it_is_https() -> None:
    settings = Settings(http_tls_cert=Path("cert.pem"), http_port=8443)
    assert url_here(settings) == "https://127.0.0.1:8443"
