"""What `publish` says became of each record."""

import os

import pytest

from saec.errors import BrokerUnavailableError, ConfigurationError
from saec.kafka.follow import Beginning, read_whole
from saec.kafka.publish import publish
from saec.kafka.records import Outgoing
from saec.settings import Settings

KEYS = [str(number).encode() for number in range(40)]


def record(settings: Settings, key: bytes = b"42", value: bytes = b"{}") -> Outgoing:
    return Outgoing(settings.topics.requests, value, key, [("a", b"b")])


def test_every_record_is_counted_and_told(installation: Settings) -> None:
    heard: list[int] = []
    records = [record(installation, str(n).encode()) for n in range(25_000)]
    delivery = publish(installation, records, heard.append)
    assert (delivery.delivered, delivery.failures) == (25_000, [])
    assert heard == list(range(1, 25_001))


def test_a_record_that_is_too_large_is_reported_with_its_place(installation: Settings) -> None:
    large = record(installation, value=os.urandom(1_200_000))  # what the broker refuses
    larger = record(installation, value=os.urandom(5_000_000))  # what the client refuses
    delivery = publish(installation, [record(installation), large, larger, record(installation)])
    assert delivery.delivered == 2
    assert sorted(failure.index for failure in delivery.failures) == [1, 2]
    assert all("large" in failure.why.lower() for failure in delivery.failures)


def test_a_topic_that_is_missing_is_not_created(installation: Settings) -> None:
    with pytest.raises(ConfigurationError, match="saec init"):
        publish(installation, [Outgoing("none", b"", b"", [])])


def test_a_broker_that_does_not_answer(
    installation: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("saec.kafka.publish._METADATA_TIMEOUT_S", 0.2)
    nowhere = installation.model_copy(update={"bootstrap_servers": "127.0.0.1:1"})
    with pytest.raises(BrokerUnavailableError, match="SAEC_BOOTSTRAP_SERVERS"):
        publish(nowhere, [record(installation)])


def test_keys_go_where_java_clients_put_them(installation: Settings) -> None:
    publish(installation, [record(installation, key) for key in KEYS])
    found = read_whole(installation, [installation.topics.requests], Beginning())
    assert {r.key: r.partition for r in found} == {key: java_partition(key, 2) for key in KEYS}


def java_partition(key: bytes, partitions: int) -> int:
    """Where Kafka's Java client puts a key: murmur2 with its seed, made positive."""
    mask, mix = 0xFFFFFFFF, 0x5BD1E995
    code = (0x9747B28C ^ len(key)) & mask
    whole = len(key) // 4 * 4
    for place in range(0, whole, 4):
        word = int.from_bytes(key[place : place + 4], "little") * mix & mask
        word = (word ^ word >> 24) * mix & mask
        code = (code * mix & mask) ^ word
    if rest := key[whole:]:
        code = (code ^ int.from_bytes(rest, "little")) * mix & mask
    code = (code ^ code >> 13) * mix & mask
    return ((code ^ code >> 15) & 0x7FFFFFFF) % partitions
