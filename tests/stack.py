"""The parts the tests run on: real Kafka and real PostgreSQL, once a run.

Owns the choice: SAEC_TEST_BOOTSTRAP and SAEC_TEST_DSN when set; Docker when an engine answers; else
the embedded stack. Invariant: a test gets topics and a database of its own, gone when it ends.
"""

import gc
import os
import re
import secrets
import socket
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg2
import pytest
from confluent_kafka.admin import AdminClient

from saec.embedded import EmbeddedStack
from saec.settings import Settings
from saec.store import migrate
from saec.store.engine import open_engine, transaction

KAFKA_IMAGE = "apache/kafka:4.2.2"
POSTGRES_IMAGE = "postgres:18"
CALL_TIMEOUT_S = 60.0
DOCKER_PING_TIMEOUT_S = 3


@dataclass(frozen=True)
class Stack:
    """The running parts. `admin_dsn` names a database whose user may create others."""

    bootstrap_servers: str
    admin_dsn: str
    description: str
    embedded: EmbeddedStack | None = None

    def dsn(self, database: str) -> str:
        """The URL of another database of the same server."""
        return urlunsplit(urlsplit(self.admin_dsn)._replace(path=f"/{database}"))

    def sql(self, statement: str) -> None:
        """Run one statement that cannot be in a transaction, as CREATE DATABASE."""
        connection = psycopg2.connect(self.admin_dsn, connect_timeout=int(CALL_TIMEOUT_S))
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(statement)
        finally:
            connection.close()


class Installations:
    """Makes installations on one stack: a database cloned from a migrated one, and topics."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._admin = AdminClient({"bootstrap.servers": stack.bootstrap_servers, "log_level": 0})
        self._template = f"saec_template_{secrets.token_hex(4)}"
        stack.sql(f'CREATE DATABASE "{self._template}"')
        _migrate(stack.dsn(self._template))

    @contextmanager
    def make(self, **settings: Any) -> Iterator[Settings]:
        """One installation, initialised; `settings` override what the tests run with."""
        name = f"t{secrets.token_hex(5)}"
        self._stack.sql(f'CREATE DATABASE "{name}" TEMPLATE "{self._template}"')
        chosen = {"shards": 4, "partitions": 2} | settings
        made = Settings(
            bootstrap_servers=self._stack.bootstrap_servers,
            database_url=self._stack.dsn(name),
            topic_prefix=f"{name}.",
            **chosen,
        )
        try:
            prepare(made)
            yield made
        finally:
            self._delete_topics(made.topic_prefix)
            self._stack.sql(f'DROP DATABASE "{name}" WITH (FORCE)')

    def close(self) -> None:
        """Drop the migrated database."""
        self._stack.sql(f'DROP DATABASE "{self._template}" WITH (FORCE)')

    def _delete_topics(self, prefix: str) -> None:
        topics = self._admin.list_topics(timeout=CALL_TIMEOUT_S).topics
        ours = [topic for topic in topics if topic.startswith(prefix)]
        if ours:
            deletions = self._admin.delete_topics(ours, request_timeout=CALL_TIMEOUT_S)
            for deletion in deletions.values():
                deletion.result(CALL_TIMEOUT_S)


def prepare(settings: Settings) -> None:
    """Do what `saec init` does."""
    from saec import installation  # noqa: PLC0415 - tests of the stack alone do without

    installation.init(settings)


def _migrate(database_url: str) -> None:
    engine = open_engine(database_url)
    try:
        with transaction(engine) as connection:
            migrate.upgrade(connection)
    finally:
        engine.dispose()


@dataclass(frozen=True)
class Choice:
    """Which parts a run uses, known before they are started."""

    description: str
    open: Callable[[str], AbstractContextManager[Stack]]


def choose() -> Choice:
    """Look which parts there are. Starts nothing."""
    given = {"SAEC_TEST_BOOTSTRAP", "SAEC_TEST_DSN"} & set(os.environ)
    if len(given) == 1:
        raise pytest.UsageError("Set both SAEC_TEST_BOOTSTRAP and SAEC_TEST_DSN, or neither.")
    if given:
        return Choice("SAEC_TEST_BOOTSTRAP and SAEC_TEST_DSN", _given)
    if _docker_answers():
        return Choice(f"Docker: {KAFKA_IMAGE}, {POSTGRES_IMAGE}", _docker)
    return Choice("embedded: Apache Kafka 4.2.2, PostgreSQL 18", _embedded)


@contextmanager
def _given(description: str) -> Iterator[Stack]:
    yield Stack(
        bootstrap_servers=os.environ["SAEC_TEST_BOOTSTRAP"],
        admin_dsn=os.environ["SAEC_TEST_DSN"],
        description=description,
    )


@contextmanager
def _embedded(description: str) -> Iterator[Stack]:
    with tempfile.TemporaryDirectory(prefix="saec-tests-") as directory:
        embedded = EmbeddedStack(Path(directory))
        with embedded as addresses:
            yield Stack(addresses.bootstrap_servers, addresses.database_url, description, embedded)


def _docker_answers() -> bool:
    import docker  # noqa: PLC0415 - only to look

    with warnings.catch_warnings():
        # A refused connection is left to the garbage collector by the library.
        warnings.simplefilter("ignore", ResourceWarning)
        try:
            client = docker.from_env(timeout=DOCKER_PING_TIMEOUT_S)
            client.close()
        except docker.errors.DockerException:
            return False
        finally:
            gc.collect()
    return True


@contextmanager
def _docker(description: str) -> Iterator[Stack]:
    from testcontainers.core.container import DockerContainer  # noqa: PLC0415
    from testcontainers.core.wait_strategies import LogMessageWaitStrategy  # noqa: PLC0415

    # Kafka advertises the port it is reached by, so that port is chosen before it starts.
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    kafka = DockerContainer(KAFKA_IMAGE).with_bind_ports(port, port)
    for name, value in _kafka_environment(port).items():
        kafka = kafka.with_env(name, value)
    kafka = kafka.waiting_for(LogMessageWaitStrategy("Kafka Server started"))
    postgres = DockerContainer(POSTGRES_IMAGE).with_exposed_ports(5432)
    postgres = postgres.with_env("POSTGRES_PASSWORD", "saec").with_env("POSTGRES_DB", "saec")
    # The server that only prepares the first start says it is ready too, but listens on no address.
    ready = re.compile(r'IPv4 address "0\.0\.0\.0".*ready to accept connections', re.DOTALL)
    postgres = postgres.waiting_for(LogMessageWaitStrategy(ready))
    with ExitStack() as containers:
        containers.enter_context(kafka)
        containers.enter_context(postgres)
        host = postgres.get_container_host_ip()
        dsn = f"postgresql://postgres:saec@{host}:{postgres.get_exposed_port(5432)}/saec"
        yield Stack(f"{kafka.get_container_host_ip()}:{port}", dsn, description)


def _kafka_environment(port: int) -> dict[str, str]:
    return {
        "KAFKA_NODE_ID": "1",
        "KAFKA_PROCESS_ROLES": "broker,controller",
        "KAFKA_LISTENERS": f"PLAINTEXT://:{port},CONTROLLER://:29093",
        "KAFKA_ADVERTISED_LISTENERS": f"PLAINTEXT://localhost:{port}",
        "KAFKA_CONTROLLER_LISTENER_NAMES": "CONTROLLER",
        "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
        "KAFKA_CONTROLLER_QUORUM_VOTERS": "1@localhost:29093",
        "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
        "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
        "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR": "1",
        "KAFKA_SHARE_COORDINATOR_STATE_TOPIC_REPLICATION_FACTOR": "1",
        "KAFKA_SHARE_COORDINATOR_STATE_TOPIC_MIN_ISR": "1",
        "KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
        "KAFKA_AUTO_CREATE_TOPICS_ENABLE": "false",
    }
