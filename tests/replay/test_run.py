"""One copy, whatever happens: runs that are repeated, stopped, doubled; and what is refused."""

import threading
from typing import Any

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from saec.kafka.transaction import InDoubtError, TransactionalProducer
from saec.replay import (
    Offsets,
    Options,
    ReplayRefusedError,
    ReplayStoppedError,
    Selection,
    Stage,
    replay,
)
from saec.replay import (
    run as running,
)
from saec.replay.pace import Pace
from saec.settings import Settings
from tests.replay.kit import Seen, assert_in_order, make_topic, numbered, put, seen


def numbers(copies: list[Seen]) -> list[int]:
    return sorted(int(copy.value or b"") for copy in copies)


def assert_one_copy(settings: Settings, target: str, count: int) -> None:
    copies = seen(settings, target)
    assert numbers(copies) == list(range(count))
    assert_in_order(copies)


@pytest.fixture
def source(installation: Settings) -> str:
    return make_topic(installation, 2)


@pytest.fixture
def target(installation: Settings) -> str:
    return make_topic(installation, 2)


# The same again


def test_run_twice_makes_one_copy_while_the_source_grows(
    installation: Settings, source: str, target: str
) -> None:
    put(installation, source, numbered(50))
    first = replay(installation, Selection(source), target)
    put(installation, source, numbered(50))
    second = replay(installation, Selection(source), target)
    assert (first.id, first.copied, first.copied_before) == (second.id, 50, 0)
    assert (second.copied, second.copied_before, second.partitions) == (0, 50, {})
    assert_one_copy(installation, target, 50)


def test_the_stretch_is_that_of_the_first_run_even_if_it_copied_nothing(
    installation: Settings, source: str, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(installation, source, numbered(10))

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(running, "survey", die)
        with pytest.raises(KeyboardInterrupt):
            replay(installation, Selection(source), target)
    put(installation, source, ({"key": b"k", "value": b"later"} for _ in range(10)))
    assert replay(installation, Selection(source), target).copied == 10
    assert_one_copy(installation, target, 10)


def test_another_selection_target_or_id_is_another_replay(
    installation: Settings, source: str, target: str
) -> None:
    put(installation, source, numbered(10))
    ids = {
        replay(installation, Selection(source), target).id,
        replay(installation, Selection(source, since_ms=0), target).id,
        replay(installation, Selection(source), target, Options(id="again")).id,
        replay(installation, Selection(source), make_topic(installation)).id,
    }
    assert len(ids) == 4
    assert len(seen(installation, target)) == 30


def test_an_id_belongs_to_one_replay(installation: Settings, source: str, target: str) -> None:
    put(installation, source, numbered(10))
    options = Options(id="mine")
    replay(installation, Selection(source), target, options)
    with pytest.raises(ReplayRefusedError, match="belongs to a replay of something else"):
        replay(installation, Selection(source, until_ms=1), target, options)
    assert_one_copy(installation, target, 10)
    with pytest.raises(ReplayRefusedError, match="letters, digits"):
        replay(installation, Selection(source), target, Options(id="a b"))


def test_a_topic_that_was_made_anew_is_another_one(installation: Settings, source: str) -> None:
    put(installation, source, numbered(10))
    name = f"{installation.topic_prefix}anew"
    ids = set()
    for _ in range(2):
        report = replay(installation, Selection(source), name, Options(create=True))
        assert report.copied == 10
        ids.add(report.id)
        admin = AdminClient({"bootstrap.servers": installation.bootstrap_servers, "log_level": 0})
        admin.delete_topics([name])[name].result(60)
        wait_until_gone(admin, name)
    assert len(ids) == 2


def wait_until_gone(admin: Any, name: str) -> None:
    for _ in range(1_200):
        if name not in admin.list_topics(timeout=60).topics:
            return
        threading.Event().wait(0.05)
    raise AssertionError("the topic is still shown")


# Stopped


@pytest.mark.parametrize("fails_at", [0, 1, 2, 3])
@pytest.mark.parametrize("committed", [False, True])
def test_a_run_that_ends_in_doubt_is_gone_on_with(
    installation: Settings,
    source: str,
    target: str,
    monkeypatch: pytest.MonkeyPatch,
    fails_at: int,
    *,
    committed: bool,
) -> None:
    """The commit was done or not, and the run does not know."""
    put(installation, source, numbered(25))
    commits = iter(range(100))
    real = TransactionalProducer.commit

    def commit(self: TransactionalProducer) -> None:
        number = next(commits)
        if number == fails_at and not committed:
            raise InDoubtError("lost")
        real(self)
        if number == fails_at:
            raise InDoubtError("lost")

    monkeypatch.setattr(TransactionalProducer, "commit", commit)
    monkeypatch.setattr("saec.replay.pace._MOST_RECORDS", 10)
    with pytest.raises(ReplayStoppedError, match="run again"):
        replay(installation, Selection(source), target)
    replay(installation, Selection(source), target)
    assert_one_copy(installation, target, 25)


def test_a_second_run_ends_the_first_and_goes_on_from_it(
    installation: Settings, source: str, target: str
) -> None:
    put(installation, source, numbered(200))
    options = Options(rate=50.0)
    failed: list[Exception] = []
    half = threading.Event()

    def watch(stage: Stage, _done: int, _of: int) -> None:
        if stage is Stage.COPYING:
            half.set()

    def first() -> None:
        try:
            replay(installation, Selection(source), target, options, watch)
        except ReplayStoppedError as error:
            failed.append(error)

    thread = threading.Thread(target=first)
    thread.start()
    assert half.wait(60)
    second = replay(installation, Selection(source), target)
    thread.join(60)
    assert second.copied_before > 0
    assert second.copied + second.copied_before == 200
    assert "another run" in str(failed[0])
    assert_one_copy(installation, target, 200)


def test_two_replays_into_one_topic_do_not_mind_each_other(
    installation: Settings, source: str, target: str
) -> None:
    put(installation, source, numbered(100))
    other = TransactionalProducer(installation, "tests")
    other.begin()
    other.produce(installation.topics.status, b"elsewhere", None, [])
    ids = ("a", "b", "c")
    threads = [
        threading.Thread(
            target=replay,
            args=(installation, Selection(source), target, Options(id=id_, rate=200.0)),
        )
        for id_ in ids
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    other.discard()
    assert len(seen(installation, target)) == 300
    for id_ in ids:
        again = replay(installation, Selection(source), target, Options(id=id_))
        assert (again.copied, again.copied_before) == (0, 100)


def test_what_retention_deleted_meanwhile_is_not_passed_over(
    installation: Settings, target: str
) -> None:
    source = make_topic(installation, 1)
    put(installation, source, numbered(50))

    def stop(stage: Stage, _done: int, _of: int) -> None:
        if stage is Stage.COPYING:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        replay(installation, Selection(source), target, Options(rate=100.0), stop)
    admin = AdminClient({"bootstrap.servers": installation.bootstrap_servers, "log_level": 0})
    (deleted,) = admin.delete_records([TopicPartition(source, 0, 30)]).values()
    deleted.result(60)
    with pytest.raises(ReplayRefusedError, match="offset 10 was deleted before it was copied"):
        replay(installation, Selection(source), target)
    assert replay(installation, Selection(source), target, Options(id="rest")).copied == 20


# What is selected


def test_offsets(installation: Settings, source: str, target: str) -> None:
    put(installation, source, ({"value": b"%d" % n, "partition": 0} for n in range(10)))
    put(installation, source, ({"value": b"%d" % n, "partition": 1} for n in range(10, 20)))
    wanted = (Offsets(0, 3, 5), Offsets(1, 8))
    report = replay(installation, Selection(source, offsets=wanted), target)
    assert numbers(seen(installation, target)) == [3, 4, 5, 18, 19]
    assert {p: (c.start, c.end) for p, c in report.partitions.items()} == {0: (3, 6), 1: (8, 10)}


@pytest.mark.parametrize(
    ("offsets", "why"),
    [
        ([Offsets(0, 3, 10)], "has offsets 0 to 9"),
        ([Offsets(0, 11)], "has offsets 0 to 9"),
        ([Offsets(0, 5, 3)], "has offsets 0 to 9"),
        ([Offsets(1, 0, 0)], "has no records"),
        ([Offsets(2, 0)], "no partition 2"),
        ([Offsets(0, 0, 1), Offsets(0, 3, 4)], "given twice"),
    ],
)
def test_offsets_that_are_not_there(
    installation: Settings, source: str, target: str, offsets: list[Offsets], why: str
) -> None:
    put(installation, source, ({"value": b"%d" % n, "partition": 0} for n in range(10)))
    selection = Selection(source, offsets=offsets)
    for options in (Options(dry_run=True), Options()):
        with pytest.raises(ReplayRefusedError, match=why):
            replay(installation, selection, target, options)
    assert seen(installation, target) == []


def test_an_interval_holds_for_every_record_also_where_stamps_are_out_of_order(
    installation: Settings, target: str
) -> None:
    source = make_topic(installation, 1)
    base = 1_700_000_000_000
    stamps = [5, 1, 3, 9, 2, 4, 8, 3, 0]
    records = ({"value": b"%d" % n, "timestamp": base + at} for n, at in enumerate(stamps))
    put(installation, source, records)
    replay(installation, Selection(source, since_ms=base + 2, until_ms=base + 5), target)
    wanted = [n for n, at in enumerate(stamps) if 2 <= at < 5]
    assert numbers(seen(installation, target)) == wanted


# What is refused, and what is only counted


def test_counting_changes_nothing(installation: Settings, source: str, target: str) -> None:
    put(installation, source, numbered(40, headers=[("h", b"x")]))
    counted = replay(installation, Selection(source), target, Options(dry_run=True))
    assert (counted.chosen, counted.copied) == (40, 0)
    assert seen(installation, target) == []
    assert installation.topics.replays not in topics(installation)
    done = replay(installation, Selection(source), target)
    assert done.partitions == counted.partitions
    assert done.id == counted.id
    sizes = [
        len(one.key or b"")
        + len(one.value or b"")
        + sum(len(name) + len(value or b"") for name, value in one.headers)
        for one in seen(installation, target)
    ]
    assert sum(c.chosen_bytes for c in counted.partitions.values()) == sum(sizes)
    again = replay(installation, Selection(source), target, Options(dry_run=True))
    assert (again.chosen, again.copied_before) == (0, 40)


def topics(settings: Settings) -> set[str]:
    admin = AdminClient({"bootstrap.servers": settings.bootstrap_servers, "log_level": 0})
    return set(admin.list_topics(timeout=60).topics)


def test_a_target_that_is_missing(installation: Settings) -> None:
    source, name = make_topic(installation, 3), f"{installation.topic_prefix}new"
    put(installation, source, [{"value": b"x" * 1_048_000, "partition": 2}])
    with pytest.raises(ReplayRefusedError, match="--create"):
        replay(installation, Selection(source), name)
    counted = replay(installation, Selection(source), name, Options(create=True, dry_run=True))
    assert (counted.id, counted.chosen) == (None, 1)
    assert name not in topics(installation)
    report = replay(installation, Selection(source), name, Options(create=True))
    assert report.copied == 1
    assert [copy.partition for copy in seen(installation, name)] == [2]
    assert replay(installation, Selection(source), name, Options(create=True)).copied == 0


def test_a_record_that_the_target_would_refuse_is_found_before_the_first_copy(
    installation: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("saec.replay.pace._MOST_RECORDS", 10)
    source = make_topic(installation, 1)
    target = make_topic(installation, 1, max_message_bytes="20000")
    put(installation, source, [*numbered(100), {"key": b"k", "value": b"x" * 19_900}])
    with pytest.raises(ReplayRefusedError, match=r"partition 0, offset 100: .*max\.message\.bytes"):
        replay(installation, Selection(source), target)
    assert seen(installation, target) == []
    wanted = (Offsets(0, 0, 99),)
    assert replay(installation, Selection(source, offsets=wanted), target).copied == 100


def test_many_small_records_fit_where_a_large_batch_would_not(installation: Settings) -> None:
    source = make_topic(installation, 1)
    target = make_topic(installation, 1, max_message_bytes="5000")
    put(installation, source, numbered(3_000))
    assert replay(installation, Selection(source), target).copied == 3_000
    assert_one_copy(installation, target, 3_000)


def test_records_larger_than_the_settings_foresee_are_copied(installation: Settings) -> None:
    small = installation.model_copy(update={"max_request_bytes": 1_000})
    source, target = make_topic(installation, 1), make_topic(installation, 1)
    put(installation, source, [{"value": b"x" * 900_000}] * 30)
    assert replay(small, Selection(source), target).copied == 30


# Rate


class _Clock:
    """A clock that moves only by waiting, and by the time that each batch takes."""

    def __init__(self, batch_s: float = 0.0) -> None:
        self.now_s, self.batch_s = 100.0, batch_s

    def monotonic_s(self) -> float:
        return self.now_s

    def wait(self, _stop: threading.Event, timeout_s: float) -> bool:
        self.now_s += timeout_s
        return False


@pytest.mark.parametrize(("rate", "records"), [(0.5, 3), (10.0, 100), (2_000.0, 20_000)])
@pytest.mark.parametrize("batch_s", [0.0, 0.05])
def test_no_more_than_so_many_a_second(rate: float, records: int, batch_s: float) -> None:
    clock = _Clock()
    pace, done = Pace(rate, clock), 0
    while done < records:
        batch = min(pace.most_records, records - done)
        clock.now_s += batch_s
        pace.wait(batch)
        done += batch
        assert done / (clock.now_s - 100.0) <= rate * 1.0001
    assert clock.now_s - 100.0 == pytest.approx(records / rate, rel=0.01)


def test_without_a_rate_nothing_waits() -> None:
    clock = _Clock()
    Pace(None, clock).wait(1_000_000)
    assert clock.now_s == 100.0


def test_the_rate_is_that_of_the_copies(installation: Settings, source: str, target: str) -> None:
    put(installation, source, numbered(60))
    clock, told = _Clock(), []
    options = Options(rate=20.0)
    replay(installation, Selection(source), target, options, lambda *x: told.append(x), clock)
    assert clock.now_s - 100.0 == pytest.approx(3.0)
    copying = [(done, of) for stage, done, of in told if stage is Stage.COPYING]
    assert copying == [*((done, 60) for done in range(2, 61, 2)), (60, 60)]
    assert (Stage.COUNTING, 60, 60) in told
