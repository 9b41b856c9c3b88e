"""Fixtures of the trust tests: parts of their own, with everything closed that is not allowed."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg2
import pytest

from saec import installation
from saec.embedded import EmbeddedStack
from saec.settings import Settings
from saec.store import grants
from tests.trust.secured import Certificates, Secured, broker_properties, free_ports


def run_sql(url: str, statements: list[str]) -> None:
    """Run statements as whoever `url` names."""
    connection = psycopg2.connect(url)
    try:
        with connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
    finally:
        connection.close()


def url_of(settings: Settings, role: str) -> str:
    """The database's URL for a role. The embedded server asks for no password."""
    parts = urlsplit(settings.database_url)
    user = grants.role_name(settings, role)
    return urlunsplit(parts._replace(netloc=f"{user}:@"))


@contextmanager
def secured_installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """An installation that was made by its own role, as docs/security.md says."""
    certificates = Certificates(tmp_path_factory.mktemp("certificates"))
    sasl_port, tls_port = free_ports()
    properties = broker_properties(certificates, sasl_port, tls_port)
    directory: Path = tmp_path_factory.mktemp("secured")
    with EmbeddedStack(directory, kafka_properties=properties) as addresses:
        plain = Settings(
            bootstrap_servers=addresses.bootstrap_servers,
            database_url=addresses.database_url,
            shards=2,
            partitions=1,
        )
        made = Secured(plain, certificates, sasl_port, tls_port)
        made.allow()
        run_sql(plain.database_url, grants.before_init(plain))
        installation.init(made.settings("init", url_of(plain, "init")))
        run_sql(url_of(plain, "init"), grants.after_init(plain))
        yield made


@pytest.fixture(scope="package")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """The installation that the tests of this package share."""
    with secured_installation(tmp_path_factory) as made:
        yield made


@pytest.fixture
def as_role(secured: Secured) -> Callable[..., Settings]:
    """The settings of a process: `as_role("requests")`; with another role in the database."""

    def settings(role: str, database_role: str | None = None) -> Settings:
        return secured.settings(role, url_of(secured.plain, database_role or role))

    return settings
