"""The outside reader on a real Kafka: what is committed while it reads, once, and nothing else."""

import json
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from confluent_kafka import Producer

from bench.ends import ends
from bench.raw import between, raw
from bench.reader import reading
from bench.seen import judge
from saec.contracts.events import Channel

if TYPE_CHECKING:
    from saec.settings import Settings
    from tests.stack import Installations

HEAD = b"\xc3\x01" + bytes(8) + b"\x48"


def value(id_: bytes) -> bytes:
    return HEAD + id_ + b"the rest"


@pytest.fixture
def settings(installations: "Installations") -> Iterator["Settings"]:
    with installations.make() as made:
        yield made


def test_reader_and_raw_producer(settings: "Settings", tmp_path: Path) -> None:
    servers = settings.bootstrap_servers
    topic = settings.topics.dispatch[Channel.EMAIL]
    before, kept, dropped, missing = (str(uuid.uuid4()).encode() for _ in range(4))
    producer = Producer({"bootstrap.servers": servers, "transactional.id": "t", "log_level": 0})
    producer.init_transactions()

    def publish(id_: bytes, *, commit: bool) -> None:
        producer.begin_transaction()
        producer.produce(topic, value(id_), b"key", headers=[("a", b"b")])
        producer.flush()
        (producer.commit_transaction if commit else producer.abort_transaction)()

    publish(before, commit=True)
    began = ends(servers, [topic])
    with reading(servers, [topic], tmp_path) as reader:
        publish(dropped, commit=False)
        publish(kept, commit=True)
        reader.wait_for(1, longest_pause_s=10)
        copied = between(began, ends(servers, [topic]))
        with raw(servers, copied, 100) as again:
            assert again.records == 1
            again.go()
        reader.wait_for(2, longest_pause_s=10)
        seen = judge(reader.finish(), {kept: time.time_ns() // 1_000_000 - 60_000, missing: 0})
    assert (seen.messages, seen.duplicate, seen.unexpected, seen.missing) == (1, 1, 0, 1)
    assert seen.early == 0
    assert json.dumps(seen.fields())
