"""Records as large as a source topic takes them: their copies still fit into saec.rejected."""

from bisect import bisect_right
from collections.abc import Iterator

import pytest

from saec.contracts.status import Status
from saec.settings import Settings
from saec.store.engine import Engine, open_engine
from tests.altered import take_compressed
from tests.hostile.case import TOPIC_BYTES, good
from tests.hostile.topic import Copy, Record, publish, said, take


@pytest.fixture
def engine(installation: Settings) -> Iterator[Engine]:
    made = open_engine(installation.database_url)
    yield made
    made.dispose()


def varint_bytes(number: int) -> int:
    """Of a zigzag varint of a number that is not negative."""
    return max(1, -(-(number << 1).bit_length() // 7))


def batch_bytes(record: Record) -> int:
    """Of a batch of this one record, uncompressed, as Kafka writes it."""
    size = 3 + varint_bytes(len(record.headers))  # attributes, time, offset
    for part in (record.key or b"", record.value or b""):
        size += varint_bytes(len(part)) + len(part)
    for name, value in record.headers:
        for part in (name.encode(), value or b""):
            size += varint_bytes(len(part)) + len(part)
    return 61 + varint_bytes(size) + size


SMALL = good("size limits")
AT_THE_LIMIT = {
    "its value": lambda n: Record(b"v" * n, b"k"),
    "its key": lambda n: Record(b"{", b"k" * n),
    "a header": lambda n: Record(b"{", b"k", (("h", b"v" * n),)),
    "the name of a header": lambda n: Record(b"{", b"k", (("h" * 30_000, b""), ("h", b"v" * n))),
    "many headers": lambda n: Record(b"{" * (n % 20), b"k", (("h" * 17, b"v"),) * (n // 20)),
    "value and headers": lambda n: Record(b"v" * 900_000, b"k", (("h", b"v" * n),)),
    "a valid value and headers": lambda n: Record(SMALL + b"{", b"k", (("h", b"v" * n),)),
}


def largest(name: str) -> Record:
    """The largest record of this kind that the topic takes."""
    high = TOPIC_BYTES + 1
    most = bisect_right(range(high), TOPIC_BYTES, key=lambda n: batch_bytes(AT_THE_LIMIT[name](n)))
    return AT_THE_LIMIT[name](most - 1)


def test_of_records_at_the_limit_there_are_copies(installation: Settings, engine: Engine) -> None:
    topic, records = installation.topics.requests, [largest(name) for name in AT_THE_LIMIT]
    above = [Record((one.value or b"") + b"+" * 10, one.key, one.headers) for one in records]
    refusals = publish(installation, topic, above, "none")
    assert refusals == ["MSG_SIZE_TOO_LARGE"] * len(above)
    assert publish(installation, topic, [*records, Record(SMALL)], "none") == []
    take(installation, engine, "requests", len(records) + 1)
    answers = said(installation, topic)
    for at, record in enumerate(records):
        assert [status.status for status in answers.statuses[at]] == [Status.REJECTED]
        assert as_it_came(answers.copies[at]) == [record]
    assert [status.status for status in answers.statuses[len(records)]] == [Status.ACCEPTED]


def test_compression_brings_more_than_a_copy_can_hold(
    installation: Settings, engine: Engine
) -> None:
    take_compressed(installation)
    most, topic = installation.most_copied_bytes, installation.topics.requests
    fitting = [
        Record(b"v" * (most - 1), b"k"),
        Record(b"{", b"k" * (most - 1)),
        Record(b"{", b"k", (("h", b"v" * (most - 13)),)),
        Record(b"v" * (most - 990_001), b"k", (("", None),) * 99_000),
    ]
    larger = [
        Record(b"v" * most, b"k"),
        Record(b"{", b"k" * most),
        Record(b"{", b"k", (("h", b"v" * most),)),
        Record(b"v" * (most - 1), b"k", (("", None),) * 100_000),  # three bytes each, for Kafka
    ]
    # The client shows no headers of a record that has more than 100,000.
    headed = [Record(b"{", b"k", (("", None),) * count) for count in (100_000, 1_500_000)]
    records = [*fitting, *larger, *headed, Record(SMALL)]
    assert publish(installation, topic, records) == []
    take(installation, engine, "requests", len(records))
    answers = said(installation, topic)
    copied = [*fitting, *(Record(None, None) for _ in larger), *[Record(b"{", b"k")] * 2]
    for at, record in enumerate(copied):
        assert as_it_came(answers.copies[at]) == [record]
    (status,) = answers.statuses[len(copied)]
    assert status.status is Status.ACCEPTED


def as_it_came(copies: list[Copy]) -> list[Record]:
    return [Record(copy.value, copy.key, tuple(copy.headers)) for copy in copies]
