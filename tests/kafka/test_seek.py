"""Finding records by place, key and instant, on the real broker."""

from collections.abc import Iterator

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from saec.errors import BrokerUnavailableError
from saec.kafka.seek import Partition, Reach, Seeker
from saec.settings import Settings
from tests.outages.grounds import wait_until

NOW_MS = 1_700_000_000_000
TIMEOUT_S = 60.0
# Of Kafka's own tests (UtilsTest.testMurmur2).
JAVA = {
    "21": -973932308,
    "foobar": -790332482,
    "a-little-bit-long-string": -985981536,
    "a-little-bit-longer-string": -1486304829,
    "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    "abc": 479470107,
}


@pytest.fixture
def seeker(installation: Settings) -> Iterator[Seeker]:
    with Seeker(installation) as made:
        yield made


def put(settings: Settings, *stamps_ms: int, key: str = "k", **config: str) -> Partition:
    """Records of these instants in saec.status; returns where their key leads."""
    producer = Producer(
        {
            "bootstrap.servers": settings.bootstrap_servers,
            "log_level": 0,
            "partitioner": "murmur2_random",
            **config,
        }
    )
    placed = []
    if config:
        producer.init_transactions(TIMEOUT_S)
        producer.begin_transaction()
    for at_ms in stamps_ms:
        producer.produce(
            settings.topics.status,
            str(at_ms).encode(),
            key.encode(),
            timestamp=at_ms,
            on_delivery=lambda _, message: placed.append(message.partition()),
        )
    if config:
        producer.commit_transaction(TIMEOUT_S)
    assert producer.flush(TIMEOUT_S) == 0
    return Partition(settings.topics.status, placed[0])


@pytest.mark.parametrize("key", JAVA)
def test_keys_lead_where_java_clients_put_them(seeker: Seeker, key: str) -> None:
    seeker._partitions["t"] = [Partition("t", number) for number in range(97)]
    assert seeker.partition_of("t", key).number == (JAVA[key] & 0x7FFFFFFF) % 97


def test_keys_lead_where_the_producer_puts_them(installation: Settings, seeker: Seeker) -> None:
    for key in ("a", "ção", "0" * 200):
        place = put(installation, NOW_MS - 1, key=key)
        assert seeker.partition_of(place.topic, key) == place


def test_only_what_was_stamped_in_between_is_read(installation: Settings, seeker: Seeker) -> None:
    stamps = [NOW_MS - 1_000 * back for back in range(9, -1, -1)]
    place = put(installation, *stamps)
    reaches = seeker.between([place], stamps[3], stamps[6])
    assert reaches[place] == Reach(3, 6, 0)
    assert [record.appended_at_ms for record in seeker.read(reaches)] == stamps[3:6]
    assert seeker.records_read == 3
    assert seeker.between([place], stamps[-1] + 1)[place] == Reach(10, 10, 0)


def test_an_end_behind_the_end_mark_of_a_transaction_is_reached(
    installation: Settings, seeker: Seeker
) -> None:
    place = put(installation, NOW_MS, **{"transactional.id": f"{installation.topic_prefix}x"})
    # The end mark comes a little after the producer was told; the record is waited for.
    assert len(list(seeker.read(seeker.kept([place])))) == 1
    wait_until(lambda: seeker.kept([place])[place] == Reach(0, 2, 0))
    assert len(list(seeker.read(seeker.kept([place])))) == 1


def test_the_same_partition_can_be_read_again_and_left_early(
    installation: Settings, seeker: Seeker
) -> None:
    place = put(installation, *range(NOW_MS - 5, NOW_MS))
    for offset in (4, 0, 4, 2):
        record = seeker.record(place, offset)
        assert record is not None
        assert record.offset == offset
    first = next(seeker.read(seeker.kept([place])))
    assert first.offset == 0
    assert [r.offset for r in seeker.read(seeker.kept([place]))] == [0, 1, 2, 3, 4]


def test_what_is_not_there_is_none(installation: Settings, seeker: Seeker) -> None:
    place = put(installation, NOW_MS)
    assert seeker.record(place, 1) is None
    assert seeker.record(Partition(place.topic, 99), 0) is None


def test_a_stretch_is_cut_where_nothing_older_is_kept(
    installation: Settings, seeker: Seeker
) -> None:
    place = put(installation, *range(NOW_MS - 5, NOW_MS))
    assert not seeker.between([place], NOW_MS - 9)[place].cut
    admin = AdminClient({"bootstrap.servers": installation.bootstrap_servers, "log_level": 0})
    gone = TopicPartition(*place, 2)
    admin.delete_records([gone])[gone].result(TIMEOUT_S)
    assert seeker.between([place], NOW_MS - 9)[place].cut
    assert seeker.between([place], NOW_MS - 3)[place].cut  # the very first that is kept
    assert not seeker.between([place], NOW_MS - 2)[place].cut
    assert seeker.record(place, 1) is None


def test_a_topic_that_is_not_there_is_an_error(seeker: Seeker) -> None:
    with pytest.raises(BrokerUnavailableError):
        seeker.partitions("nobody-made-this")
