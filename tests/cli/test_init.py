"""`saec init`."""

import json
import secrets
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from confluent_kafka.admin import AdminClient

from saec.settings import Settings
from tests.cli.conftest import Run, environment

if TYPE_CHECKING:
    from tests.stack import Stack


@pytest.fixture
def untouched(stack: "Stack") -> Iterator[Settings]:
    """A database and a prefix that nobody has initialised."""
    name = f"new{secrets.token_hex(4)}"
    stack.sql(f'CREATE DATABASE "{name}"')
    settings = Settings(
        bootstrap_servers=stack.bootstrap_servers,
        database_url=stack.dsn(name),
        topic_prefix=f"{name}.",
        shards=3,
        partitions=2,
    )
    yield settings
    admin = AdminClient({"bootstrap.servers": stack.bootstrap_servers})
    for deletion in admin.delete_topics(settings.topics.all).values():
        deletion.result(60)
    stack.sql(f'DROP DATABASE "{name}" WITH (FORCE)')


def test_init_makes_everything_once(saec: Run, untouched: Settings) -> None:
    first = saec("init", "--json", **environment(untouched))
    assert first.exit_code == 0, first.output
    told = json.loads(first.stdout)
    assert (told["topic_prefix"], told["shards"]) == (untouched.topic_prefix, 3)
    assert sorted(told["topics_created"]) == sorted(untouched.topics.all)
    second = saec("init", **environment(untouched))
    assert second.exit_code == 0
    assert "all there already" in second.stdout


def test_a_command_before_init_says_so(saec: Run, stack: "Stack") -> None:
    result = saec("pending", SAEC_DATABASE_URL=stack.admin_dsn)
    assert result.exit_code == 3
    assert "saec init" in result.stderr


def test_a_database_of_another_prefix_is_refused_with_advice(
    saec: Run, installation: Settings
) -> None:
    result = saec("init", **environment(installation) | {"SAEC_TOPIC_PREFIX": "other."})
    assert result.exit_code == 3
    assert "SAEC_TOPIC_PREFIX" in result.stderr
    assert "Traceback" not in result.stderr
