"""What a copy is: the record byte for byte, and where it came from."""

import json

import pytest

from saec.kafka import clients, stretches
from saec.replay import Options, Selection, replay
from saec.settings import Settings
from tests.replay.kit import assert_in_order, make_topic, numbered, put, seen

ODD = [
    {"key": b"tombstone", "value": None},
    {"key": b"empty value", "value": b""},
    {"key": b"", "value": b"empty key", "partition": 1},
    {"key": None, "value": b"no key", "partition": 0},
    {"key": None, "value": b"no key", "partition": 1},
    {"key": b"\xff\x00", "value": bytes(range(256))},
    {
        "key": b"headers",
        "value": b"x",
        "headers": [("a", b"1"), ("a", b"1"), ("b", None), ("a", b"2"), ("c", b""), ("", b"\xff")],
    },
    {"key": b"ours", "value": b"x", "headers": [("saec-replay-id", b"another's"), ("z", b"")]},
]


def test_a_copy_is_its_source_byte_for_byte(installation: Settings) -> None:
    source, target = make_topic(installation, 2), make_topic(installation, 2)
    put(installation, source, ODD)
    report = replay(installation, Selection(source), target)
    originals, copies = seen(installation, source), seen(installation, target)
    assert report.copied == len(ODD) == len(copies)
    by_place = {(source, one.partition, one.offset): one for one in originals}
    for copy in copies:
        original = by_place.pop(copy.source)
        assert copy.before == original.content
        assert dict(copy.headers)["saec-replay-id"] == (report.id or "").encode()
        assert dict(copy.headers)["saec-source-timestamp"] == b"%d" % original.at_ms
        if original.key != b"":  # which this test put elsewhere
            assert copy.partition == original.partition
    assert by_place == {}


def test_what_was_aborted_is_not_copied(installation: Settings) -> None:
    from saec.kafka.transaction import TransactionalProducer  # noqa: PLC0415

    source, target = make_topic(installation, 1), make_topic(installation, 1)
    producer = TransactionalProducer(installation, "tests")
    for value, commit in ((b"1", True), (b"aborted", False), (b"2", True)):
        producer.begin()
        producer.produce(source, value, b"k", [])
        producer.commit() if commit else producer._producer.abort_transaction()
    producer.discard()
    assert replay(installation, Selection(source), target).copied == 2
    assert [copy.value for copy in seen(installation, target)] == [b"1", b"2"]
    assert replay(installation, Selection(source), target).copied == 0


def test_the_open_end_of_the_source_belongs_to_nobody_yet(installation: Settings) -> None:
    from saec.kafka.transaction import TransactionalProducer  # noqa: PLC0415

    source, target = make_topic(installation, 1), make_topic(installation, 1)
    put(installation, source, numbered(3))
    producer = TransactionalProducer(installation, "tests")
    producer.begin()
    producer.produce(source, b"not yet", b"k", [])
    producer._producer.flush(60)
    assert replay(installation, Selection(source), target).copied == 3
    producer.commit()
    producer.discard()
    assert replay(installation, Selection(source), target).copied == 0
    assert len(seen(installation, target)) == 3


@pytest.mark.parametrize("partitions", [1, 3, 5])
def test_keys_go_where_producers_put_them_and_the_order_stays(
    installation: Settings, partitions: int
) -> None:
    source, target = make_topic(installation, 3), make_topic(installation, partitions)
    put(installation, source, numbered(500))
    put(installation, source, ({"value": b"%d" % n, "partition": n % 3} for n in range(300)))
    replay(installation, Selection(source), target)
    copies = seen(installation, target)
    assert len(copies) == 800
    assert_in_order(copies)
    control = make_topic(installation, partitions)
    put(installation, control, numbered(7))
    where = {one.key: one.partition for one in seen(installation, control)}
    for copy in copies:
        number = copy.source[1] % partitions if copy.key is None else where[copy.key]
        assert copy.partition == number


def test_headers_that_the_client_cannot_show_are_missed_and_counted(
    installation: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = make_topic(installation, 1), make_topic(installation, 1)
    put(installation, source, numbered(2))
    real = clients.headers_of
    monkeypatch.setattr(
        clients, "headers_of", lambda m: clients.UNREADABLE if m.value() == b"1" else real(m)
    )
    report = replay(installation, Selection(source), target)
    assert [count.headers_lost for count in report.partitions.values()] == [1]
    assert [copy.before for copy in seen(installation, target)] == [
        (b"k0", b"0", []),
        (b"k1", b"1", []),
    ]


def test_a_replay_of_a_replay_keeps_what_the_first_one_wrote(installation: Settings) -> None:
    first, second, third = (make_topic(installation, 1) for _ in range(3))
    put(installation, first, [{"key": b"k", "value": b"v", "headers": [("h", b"1")]}])
    replay(installation, Selection(first), second)
    replay(installation, Selection(second), third)
    (middle,), (last,) = seen(installation, second), seen(installation, third)
    assert last.before == middle.content
    assert last.source == (second, 0, middle.offset)
    names = [name for name, _ in last.headers]
    assert names.count("saec-replay-id") == 2


def test_it_reads_the_journal_that_it_wrote(installation: Settings) -> None:
    source, target = make_topic(installation, 2), make_topic(installation, 2)
    put(installation, source, numbered(20))
    replay(installation, Selection(source), target, Options(id="mine"))
    told = seen(installation, installation.topics.replays)
    standing = json.loads(told[-1].value or b"")
    assert told[-1].key == b"mine"
    assert standing["copied"] == 20
    whole = stretches.bounds(installation, source)
    assert standing["reached"] == {str(p): one.end for p, one in whole.items()}
