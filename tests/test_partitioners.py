"""Other clients, set as docs/clients.md says, put a key where SAEC and Kafka's own client do.

Clients that have to be fetched (npm, Go modules, PyPI) are tried when SAEC_TEST_FOREIGN names a
directory to keep them in: `SAEC_TEST_FOREIGN=/var/tmp/foreign make test
ARGS=tests/test_partitioners.py`. The others are tried always.
"""

import os
import re
import shutil
import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition, murmur2
from confluent_kafka.admin import AdminClient, NewTopic

from saec.embedded.kafka import console_tool
from saec.kafka import topics
from saec.settings import Settings

HERE = Path(__file__).parent / "foreign"
KEPT = os.environ.get("SAEC_TEST_FOREIGN", "")
PARTITIONS = 6
KEYS = 300
TIMEOUT_S = 120.0
GO = ("sarama", "franz-go", "kafka-go")
PYTHON = {"kafka-python": "kafka-python==3.0.12", "aiokafka": "aiokafka==0.14.0"}
NEEDS = {
    "kcat": "kcat",
    "kafkajs": "npm",
    **dict.fromkeys(GO, "go"),
    **dict.fromkeys(PYTHON, sys.executable),
}
# Fetched before they can run.
FETCHED = {"kafkajs", *GO, *PYTHON}
CLIENTS = ("Java", "confluent-kafka-python", *NEEDS)


def java(servers: str, topic: str) -> list[str]:
    """Kafka's own console producer."""
    arguments = [
        *("--bootstrap-server", servers, "--topic", topic),
        *("--reader-property", "parse.key=true", "--reader-property", "key.separator=|"),
    ]
    return console_tool("org.apache.kafka.tools.ConsoleProducer", arguments)


def kcat(servers: str, topic: str) -> list[str]:
    """kcat with the setting of docs/clients.md."""
    return ["kcat", "-P", "-b", servers, "-t", topic, "-K", "|", "-X", "partitioner=murmur2_random"]


def kafkajs(servers: str, topic: str) -> list[str]:
    """kafkajs 2 as it is by default."""
    place = Path(KEPT) / "node"
    if not (place / "node_modules").exists():
        shutil.copytree(HERE / "node", place, dirs_exist_ok=True)
        _fetch(["npm", "ci", "--no-fund", "--no-audit"], place)
    return ["node", str(place / "publish.js"), servers, topic]


def go(client: str) -> Callable[[str, str], list[str]]:
    """A client in Go, set as docs/clients.md says."""

    def command(servers: str, topic: str) -> list[str]:
        binary = Path(KEPT) / "publish"
        if not binary.exists():
            _fetch(["go", "build", "-o", str(binary), "."], HERE / "go")
        return [str(binary), client, servers, topic]

    return command


def python(client: str) -> Callable[[str, str], list[str]]:
    """Another client in Python, as it is by default."""

    def command(servers: str, topic: str) -> list[str]:
        place = Path(KEPT) / client
        if not place.exists():
            pip = [sys.executable, "-m", "pip", "install", "-q", "--target", str(place)]
            _fetch([*pip, PYTHON[client]], HERE)
        program = [sys.executable, str(HERE / "publish.py"), client, servers, topic]
        return ["env", f"PYTHONPATH={place}", *program]

    return command


COMMANDS: dict[str, Callable[[str, str], list[str]]] = {
    "Java": java,
    "kcat": kcat,
    "kafkajs": kafkajs,
    **{client: go(client) for client in GO},
    **{client: python(client) for client in PYTHON},
}


@pytest.mark.parametrize("client", CLIENTS)
def test_a_key_lands_where_java_puts_it(installation: Settings, client: str) -> None:
    if client in FETCHED and not KEPT:
        pytest.skip("SAEC_TEST_FOREIGN names no directory to fetch it to")
    if client in NEEDS and shutil.which(NEEDS[client]) is None:
        pytest.skip(f"there is no {NEEDS[client]} on this machine")
    topic, servers = f"{installation.topic_prefix}keys", installation.bootstrap_servers
    admin = AdminClient({"bootstrap.servers": servers})
    admin.create_topics([NewTopic(topic, PARTITIONS, 1)])[topic].result(TIMEOUT_S)
    topics._wait_until_shown(lambda: topics.partition_counts(admin).get(topic) == PARTITIONS)
    # UUIDs, short ones, and ones that are no ASCII.
    keys = [str(uuid.uuid4()) for _ in range(KEYS)] + [str(number) for number in range(50)] + ["é"]
    if client in COMMANDS:
        _publish(COMMANDS[client](servers, topic), keys, twice=client in {"Java", "kcat"})
    else:
        producer = Producer({"bootstrap.servers": servers, "partitioner": "murmur2_random"})
        for key in keys:
            producer.produce(topic, key, key)
        assert producer.flush(TIMEOUT_S) == 0
    found = _read(servers, topic, len(keys))
    assert found == {key.encode(): murmur2(key.encode(), PARTITIONS) for key in keys}


def test_the_keys_that_the_docs_show_belong_where_they_say() -> None:
    page = (HERE.parents[1] / "docs/clients.md").read_text("utf-8")
    shown = re.findall(r"^\| `([^`]+)` \| (\d) \|$", page, re.MULTILINE)
    assert len(shown) == 5
    for key, partition in shown:
        assert murmur2(key.encode(), PARTITIONS) == int(partition), key


def _publish(command: list[str], keys: list[str], *, twice: bool) -> None:
    """`twice`: the program takes lines of key and value."""
    lines = "".join(f"{key}|{key}\n" if twice else f"{key}\n" for key in keys)
    done = subprocess.run(
        command, input=lines.encode(), capture_output=True, timeout=TIMEOUT_S, check=False
    )
    assert done.returncode == 0, done.stderr.decode()


def _fetch(command: list[str], directory: Path) -> None:
    subprocess.run(command, cwd=directory, check=True, timeout=600)


def _read(servers: str, topic: str, count: int) -> dict[bytes, int]:
    """Key -> partition, of so many records."""
    consumer = Consumer({"bootstrap.servers": servers, "group.id": topic})
    consumer.assign([TopicPartition(topic, partition, 0) for partition in range(PARTITIONS)])
    found: dict[bytes, int] = {}
    while len(found) < count:
        message = consumer.poll(TIMEOUT_S)
        assert message is not None, "records are missing"
        assert message.error() is None
        found[message.key()] = message.partition()
    consumer.close()
    return found
