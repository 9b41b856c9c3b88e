"""An audit while requests come in and messages go out finds nothing."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from saec.audit import extents
from saec.clock import SystemClock
from saec.ingest.loop import IngestLoop, opener
from saec.ingest.requests import RequestIntake
from saec.kafka import stretches
from saec.settings import Settings
from tests.audit.judge import Judge
from tests.audit.story import PEOPLE, Story
from tests.dispatch.test_worker import drive

MakeStory = Callable[..., Story]
AUDITS = 8


@contextmanager
def at_work(story: Story) -> Iterator[None]:
    """Somebody asks and cancels, ingest answers, and a worker dispatches, until the end."""
    over = threading.Event()
    topic = story.settings.topics.requests
    taker = RequestIntake(story.settings, story.engine, story.settings.shards)
    loop = IngestLoop(
        opener(story.settings, story.engine, "requests", topic), taker, SystemClock(), "requests"
    )
    worker = story.worker(dispatch_batch_messages=20)
    drive(worker, until=lambda: len(worker.owned) == story.settings.shards)

    def ask() -> None:
        number = 0
        while not over.wait(0.01):
            number += 1
            story.tell(f"n{number}", PEOPLE[: 1 + number % 5], ("EMAIL", "SMS"), due_in_ms=100)
            if number % 5 == 0:
                story.stop(f"n{number - 2}")

    def dispatch() -> None:
        while not over.is_set():
            over.wait(worker.run_once())

    threads = [threading.Thread(target=run) for run in (ask, loop.run, dispatch)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        loop.stop()
        for thread in threads:
            thread.join()
        loop.close()
        story.close(worker)


def test_nothing_is_found_while_work_goes_on(make_story: MakeStory, judge: Judge) -> None:
    story = make_story()
    story.people()
    dispatched = []
    with at_work(story):
        for _ in range(AUDITS):
            judged = judge(story.settings, later_ms=0)
            assert judged.findings == ()
            dispatched.append(judged.report.total.dispatched)
    assert dispatched == sorted(dispatched)
    assert dispatched[-1] > dispatched[0]


def test_ends_are_waited_for_until_every_transaction_has_ended(make_story: MakeStory) -> None:
    """What was in the topic when it was looked at is below the end that is taken."""
    story = make_story()
    story.people()
    producer = _open_transaction(story.settings)
    taken: list[list[extents.Extent]] = []
    thread = threading.Thread(target=lambda: taken.append(extents.take(story.settings, None)))
    thread.start()
    thread.join(2.0)
    assert taken == []
    producer.commit_transaction()
    thread.join(60)
    topic = story.settings.topics.ledger
    assert {one.last for one in taken[0] if (one.topic, one.partition) == (topic, 0)} == {2}
    assert {one.settled for one in taken[0] if (one.topic, one.partition) == (topic, 0)} == {0}


def test_a_transaction_that_does_not_end(
    make_story: MakeStory, monkeypatch: pytest.MonkeyPatch
) -> None:
    from saec.errors import BrokerUnavailableError  # noqa: PLC0415

    story = make_story()
    producer = _open_transaction(story.settings)
    monkeypatch.setattr(stretches, "_STABLE_EXTRA_S", -story.settings.transaction_timeout_s + 0.2)
    with pytest.raises(BrokerUnavailableError, match="hangs"):
        extents.take(story.settings, None)
    producer.abort_transaction()


def _open_transaction(settings: Settings):  # type: ignore[no-untyped-def]
    from confluent_kafka import Producer  # noqa: PLC0415

    producer = Producer(
        {
            "bootstrap.servers": settings.bootstrap_servers,
            "transactional.id": f"{settings.topic_prefix}other",
            "log_level": 0,
        }
    )
    producer.init_transactions(60)
    producer.begin_transaction()
    producer.produce(settings.topics.ledger, b"x", b"0", 0)
    producer.flush(60)
    return producer
