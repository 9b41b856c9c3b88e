"""Who published a record hears the answer to it, and to no other, on the real Kafka."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
from confluent_kafka import Producer
from structlog.testing import capture_logs

from saec.clock import SystemClock
from saec.contracts.status import RequestStatus, Status, encode_status
from saec.http import answers
from saec.http.answers import Answers, Expected
from saec.kafka import follow
from saec.kafka.async_producer import Appended
from saec.kafka.follow import Follower
from saec.kafka.records import Incoming
from saec.settings import Settings
from tests.http.kit import run
from tests.stack import Installations

ID = "6d1f0c1e-2a55-4c3e-9a39-0f1f1d6d8f10"
OTHER = "0b7e9a52-9f6b-4a9e-8f61-6a6e0d1f2c3b"
NOT_YET_S = 0.3
_offsets = itertools.count()


@pytest.fixture(scope="module")
def settings(installations: Installations) -> Iterator[Settings]:
    """One installation: every test asks about records of its own."""
    with installations.make() as made:
        yield made


@pytest.fixture(scope="module")
def producer(settings: Settings) -> Iterator[Producer]:
    """What answers, in place of SAEC."""
    made = Producer({"bootstrap.servers": settings.bootstrap_servers, "linger.ms": 0})
    yield made
    made.close()


@pytest.fixture
def say(settings: Settings, producer: Producer) -> "Say":
    """Answers a record."""
    return Say(settings, producer)


class Say:
    """Publishes answers."""

    def __init__(self, settings: Settings, producer: Producer) -> None:
        self._topic = settings.topics.status
        self._producer = producer

    def __call__(self, about: object, status: Status = Status.ACCEPTED, id_: str = ID) -> None:
        """The answer to the record that stands there."""
        self.raw(id_, encode_status(RequestStatus(id_, status, 0)), str(about).encode())

    def raw(self, key: str | None, value: bytes | None, about: bytes | None) -> None:
        """Anything else. All of it stands in one partition, in order."""
        headers = [("ce_type", b"x"), ("ce_id", about)]
        self._producer.produce(self._topic, value, key, partition=0, headers=headers)
        assert self._producer.flush(60) == 0


@asynccontextmanager
async def reading(settings: Settings) -> AsyncIterator[Answers]:
    made = Answers(settings, SystemClock())
    await asyncio.to_thread(made.start, 60)
    try:
        yield made
    finally:
        await asyncio.to_thread(made.close)


def record() -> Appended:
    """The place of a record that nobody else asks about."""
    return Appended("requests", 0, next(_offsets))


async def answer(expected: Expected, to: Appended) -> Status | None:
    """What is answered, if it comes soon."""
    async with asyncio.timeout(60):
        found = await expected.to(to)
    return None if found is None else found.status


async def is_silent(expected: Expected, to: Appended) -> bool:
    try:
        async with asyncio.timeout(NOT_YET_S):
            await expected.to(to)
    except TimeoutError:
        return True
    return False


def test_an_answer_is_heard_also_before_the_place_of_its_record_is_known(
    settings: Settings, say: Say
) -> None:
    async def work() -> None:
        first, second = record(), record()
        async with reading(settings) as heard, asyncio.timeout(60):
            with heard.expecting(ID) as expected:
                say(first, Status.ACCEPTED)
                say(second, Status.DUPLICATE)
                assert await answer(expected, second) is Status.DUPLICATE
                assert await answer(expected, first) is Status.ACCEPTED

    run(work)


def test_the_answer_to_another_record_of_the_same_id_does_not_count(
    settings: Settings, say: Say
) -> None:
    async def work() -> None:
        asked, other = record(), record()
        async with reading(settings) as heard:
            with heard.expecting(ID) as expected:
                say(other, Status.REJECTED)
                assert await is_silent(expected, asked)
                say(other, Status.REJECTED)
                say(asked, Status.ACCEPTED)
                assert await answer(expected, asked) is Status.ACCEPTED

    run(work)


def test_everybody_hears_their_own(settings: Settings, say: Say) -> None:
    async def work() -> None:
        first, second, third = record(), record(), record()
        async with reading(settings) as heard:
            with (
                heard.expecting(ID) as one,
                heard.expecting(ID) as same,
                heard.expecting(OTHER) as other,
            ):
                waiting = [
                    asyncio.create_task(answer(expected, to))
                    for expected, to in ((one, first), (same, second), (other, third))
                ]
                say(third, Status.TOO_LATE, OTHER)
                say(second, Status.CANCELLED)
                say(first, Status.ACCEPTED)
                told = await asyncio.gather(*waiting)
                assert told == [Status.ACCEPTED, Status.CANCELLED, Status.TOO_LATE]
            assert heard._expected == {}

    run(work)


def test_what_was_answered_before_anybody_asked_is_not_kept(settings: Settings, say: Say) -> None:
    async def work() -> None:
        early = record()
        async with reading(settings) as heard:
            say(early)
            with heard.expecting(OTHER) as other:
                say(late := record(), id_=OTHER)
                await answer(other, late)
            with heard.expecting(ID) as expected:
                assert await is_silent(expected, early)

    run(work)


def test_nobody_waits_on_once_all_are_given_up(settings: Settings) -> None:
    """Neither who waits, nor who is about to, nor who comes then."""

    async def work() -> None:
        async with reading(settings) as heard:
            with heard.expecting(ID) as waits, heard.expecting(ID) as is_about_to:
                waiting = asyncio.create_task(answer(waits, record()))
                await asyncio.sleep(0)
                heard.give_up()
                assert await waiting is None
                assert await answer(is_about_to, record()) is None
            with heard.expecting(ID) as comes_then:
                assert await answer(comes_then, record()) is None

    run(work)


def test_an_answer_that_came_counts_also_for_who_is_given_up(settings: Settings, say: Say) -> None:
    async def work() -> None:
        asked = record()
        async with reading(settings) as heard:
            with heard.expecting(ID) as first, heard.expecting(ID) as second:
                say(asked, Status.DUPLICATE)
                assert await answer(first, asked) is Status.DUPLICATE
                heard.give_up()
                assert await answer(second, asked) is Status.DUPLICATE

    run(work)


def test_a_reader_that_breaks_off_starts_again(
    settings: Settings, say: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is answered from then on is heard; the log tells once that it broke off."""
    monkeypatch.setattr(answers, "_AGAIN_S", 0.05)
    failures = [ZeroDivisionError("ana@example.com")] * 2

    class Breaking(Follower):
        def poll(self, timeout_s: float) -> list[Incoming]:
            if failures:
                raise failures.pop()
            return super().poll(timeout_s)

    monkeypatch.setattr(answers, "Follower", Breaking)

    async def work() -> None:
        async with reading(settings) as heard:
            with heard.expecting(ID) as expected:
                say(asked := record())
                while await is_silent(expected, asked):
                    say(asked := record())
            assert failures == []

    with capture_logs() as logs:
        run(work)
    said = [line["event"] for line in logs]
    assert said == ["answers cannot be read", "working again"]
    assert "ana@example.com" not in str(logs)


def test_what_is_no_answer_is_passed_over(settings: Settings, say: Say) -> None:
    async def work() -> None:
        asked = record()
        place, value = str(asked).encode(), encode_status(RequestStatus(ID, Status.ACCEPTED, 0))
        async with reading(settings) as heard:
            with heard.expecting(ID) as expected:
                say.raw(ID, None, place)
                say.raw(ID, b"", place)
                say.raw(ID, b"\xc3\x01 of a later release", place)
                say.raw(ID, value, None)
                say.raw(ID, value, b"\xff\xfe")
                say.raw(None, value, place)
                say(asked, Status.CANCELLED)
                assert await answer(expected, asked) is Status.CANCELLED

    with capture_logs() as logs:
        run(work)
    assert logs == []


def test_the_start_waits_for_the_reader_but_not_for_ever(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "_TIMEOUT_S", 0.5)
    nowhere = settings.model_copy(update={"bootstrap_servers": "127.0.0.1:1"})

    async def work() -> None:
        heard = Answers(nowhere, SystemClock())
        async with asyncio.timeout(60):
            await asyncio.to_thread(heard.start, 0.1)
            await asyncio.to_thread(heard.close)

    with capture_logs() as logs:
        run(work)
    assert {line["event"] for line in logs} <= {"answers cannot be read"}
