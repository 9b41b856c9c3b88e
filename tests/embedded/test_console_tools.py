"""Kafka's own console tools run against the stack."""

import subprocess
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from saec.embedded.kafka import console_tool

if TYPE_CHECKING:
    from tests.stack import Stack

TIMEOUT_S = 60
PRODUCER = "org.apache.kafka.tools.ConsoleProducer"
CONSUMER = "org.apache.kafka.tools.consumer.ConsoleConsumer"


@pytest.fixture
def topic(stack: "Stack") -> Iterator[str]:
    """An empty topic."""
    admin = AdminClient({"bootstrap.servers": stack.bootstrap_servers})
    name = "console-tools"
    admin.create_topics([NewTopic(name, 1, 1)])[name].result(TIMEOUT_S)
    yield name
    admin.delete_topics([name])[name].result(TIMEOUT_S)


def run(cls: str, *args: str, stdin: str = "") -> str:
    result = subprocess.run(
        console_tool(cls, args),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=True,
    )
    return result.stdout


def test_what_the_console_producer_sends_the_console_consumer_reads(
    stack: "Stack", topic: str
) -> None:
    where = ("--bootstrap-server", stack.bootstrap_servers, "--topic", topic)
    run(PRODUCER, *where, stdin="Olá\n")
    read = run(
        CONSUMER,
        *where,
        "--from-beginning",
        "--max-messages",
        "1",
        "--isolation-level",
        "read_committed",
    )
    assert read == "Olá\n"
