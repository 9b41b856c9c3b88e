"""Where the endpoint of this machine is reached, from this machine.

Invariant: known from the settings alone; nothing of what the endpoint needs is imported.
"""

from saec.settings import Settings

_EVERYWHERE = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - no socket
DOCS = "/docs"
"""The page that shows every call, and tries them."""


def url_here(settings: Settings) -> str:
    """The URL of the endpoint, without a slash at its end."""
    scheme = "http" if settings.http_tls_cert is None else "https"
    host = _EVERYWHERE.get(settings.http_host, settings.http_host)
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{settings.http_port}"
