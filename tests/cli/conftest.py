"""Fixtures of the commands' tests: the command line, run in this process."""

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition
from sqlalchemy import Engine
from typer.testing import CliRunner, Result

from saec.cli.app import app
from saec.settings import Settings
from saec.store.engine import open_engine

Run = Callable[..., Result]
READ_TIMEOUT_S = 60.0


@pytest.fixture
def saec() -> Run:
    """Runs `saec ARGS`; `env` is what it is run with."""
    runner = CliRunner(env={"COLUMNS": "160", "NO_COLOR": "1"})

    def run(*args: str | Path, stdin: bytes | None = None, **env: str) -> Result:
        return runner.invoke(app, [str(arg) for arg in args], input=stdin, env=env)

    return run


@pytest.fixture
def here(saec: Run, installation: Settings) -> Run:
    """Runs `saec ARGS` against the test's own installation."""

    def run(*args: str | Path, stdin: bytes | None = None, **env: str) -> Result:
        return saec(*args, stdin=stdin, **environment(installation), **env)

    return run


@pytest.fixture
def engine(installation: Settings) -> Iterator[Engine]:
    """The test's own database."""
    made = open_engine(installation.database_url)
    yield made
    made.dispose()


def environment(settings: Settings) -> dict[str, str]:
    """The variables that lead to an installation."""
    return {
        "SAEC_BOOTSTRAP_SERVERS": settings.bootstrap_servers,
        "SAEC_DATABASE_URL": settings.database_url,
        "SAEC_TOPIC_PREFIX": settings.topic_prefix,
        "SAEC_SHARDS": str(settings.shards),
        "SAEC_PARTITIONS": str(settings.partitions),
    }


def whole_topic(settings: Settings, topic: str) -> list[tuple[bytes | None, bytes | None]]:
    """Key and value of every record, read without the code under test."""
    config = {
        "bootstrap.servers": settings.bootstrap_servers,
        "group.id": "test",
        "enable.partition.eof": True,
    }
    found: list[tuple[bytes | None, bytes | None]] = []
    left = settings.partitions
    with closing(Consumer(config)) as consumer:
        partitions = range(settings.partitions)
        consumer.assign([TopicPartition(topic, p, OFFSET_BEGINNING) for p in partitions])
        while left:
            message = consumer.poll(READ_TIMEOUT_S)
            assert message is not None
            error = message.error()
            if error is None:
                found.append((message.key(), message.value()))
                continue
            assert error.code() == KafkaError._PARTITION_EOF
            left -= 1
    return found
