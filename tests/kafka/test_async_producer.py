"""What the producer of many callers says became of each record, whatever Kafka does."""

import asyncio
import ctypes
import os
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import confluent_kafka
import pytest
from confluent_kafka import KafkaError

from faults.proxy import HOST, Direction, Proxy
from saec.errors import BrokerUnavailableError
from saec.kafka import async_producer
from saec.kafka.async_producer import Appended, AsyncProducer
from saec.kafka.follow import Beginning, read_whole
from saec.kafka.records import Outgoing
from saec.settings import Settings
from tests.stack import Installations, Stack

TIMEOUT_S = 3
HANGS_S = 60
MANY = 300


@pytest.fixture(scope="module")
def settings(installations: Installations) -> Iterator[Settings]:
    """One installation for all of them: every test has records of its own."""
    with installations.make() as made:
        yield made


@pytest.fixture
def proxy(stack: Stack) -> Iterator[Proxy]:
    """A proxy before the broker."""
    if stack.embedded is None:
        pytest.skip("only the embedded broker is known to advertise 127.0.0.1, which is rewritten")
    port = int(stack.bootstrap_servers.rpartition(":")[2])
    made = Proxy(lambda: socket.create_connection((HOST, port)), advertised=port)
    yield made
    made.close()


@pytest.fixture
def behind(settings: Settings, proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The installation through the proxy, with little patience."""
    monkeypatch.setattr(async_producer, "DELIVERY_TIMEOUT_S", TIMEOUT_S)
    return settings.model_copy(update={"bootstrap_servers": f"{HOST}:{proxy.port}"})


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[AsyncProducer]:
    """A producer; no error may be left to the event loop."""
    unexpected: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unexpected.append(context))
    made = AsyncProducer(settings)
    try:
        yield made
    finally:
        await made.close()
        await asyncio.sleep(0)
    assert unexpected == []


def record(settings: Settings, value: bytes) -> Outgoing:
    return Outgoing(settings.topics.requests, value, value[:8], [("a", value[:8])])


def values(count: int = MANY) -> list[bytes]:
    return [os.urandom(12) for _ in range(count)]


async def all_of(producer: AsyncProducer, records: list[Outgoing]) -> list[Appended | Exception]:
    """What each of many callers at the same time is told."""
    asked = [producer.publish(one) for one in records]
    told = await asyncio.gather(*asked, return_exceptions=True)
    assert all(isinstance(one, Appended | BrokerUnavailableError) for one in told), told
    return told  # type: ignore[return-value]


def delivered(told: list[Appended | Exception]) -> list[bool]:
    return [isinstance(one, Appended) for one in told]


def handed_over(producer: AsyncProducer, patch: pytest.MonkeyPatch) -> list[bytes | None]:
    """What the client gets to send, from now on."""
    served, handed = producer._producer, list[bytes | None]()
    assert served is not None
    produce = served.produce

    def counted(record: Outgoing, told: Callable[[KafkaError | None, Any], None]) -> None:
        handed.append(record.value)
        produce(record, told)

    patch.setattr(served, "produce", counted)
    return handed


def standing(settings: Settings) -> dict[str, tuple[bytes | None, bytes | None, Any]]:
    """What stands where in the topic, read without the code under test."""
    found = read_whole(settings, [settings.topics.requests], Beginning())
    return {f"{r.topic}/{r.partition}/{r.offset}": (r.key, r.value, r.headers) for r in found}


def in_time(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run it; fails where it hangs."""
    asyncio.run(asyncio.wait_for(work(), HANGS_S))


def test_each_of_many_is_told_where_its_own_record_stands(settings: Settings) -> None:
    async def work() -> None:
        sent = values()
        async with opened(settings) as producer:
            told = await all_of(producer, [record(settings, value) for value in sent])
        there = standing(settings)
        for value, place in zip(sent, told, strict=True):
            key, stands, headers = there[str(place)]
            assert (key, stands, list(headers)) == (value[:8], value, [("a", value[:8])])
        assert len({str(place) for place in told}) == MANY

    in_time(work)


def test_a_record_that_is_too_large_is_its_callers_trouble_alone(settings: Settings) -> None:
    """Refused by the broker, then by the client; the others never hear that Kafka is away."""
    patient = settings.model_copy(update={"max_request_bytes": 2_000_000})

    async def work() -> None:
        async with opened(patient) as producer:
            for size in (5_000_000, 9_000_000):
                told = await all_of(producer, [record(settings, os.urandom(size))])
                assert delivered(told) == [False]
                assert "too large" in str(told[0])
                assert all(delivered(await all_of(producer, [record(settings, b"small")] * 5)))

    in_time(work)


@pytest.mark.parametrize("how", ["cut", "silent"])
def test_a_broker_that_is_away(
    behind: Settings, proxy: Proxy, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Errors within the bound; then one asks whether it is back, and the others fail at once."""

    async def work() -> None:
        async with opened(behind) as producer:
            while not all(delivered(await all_of(producer, [record(behind, b"before")]))):
                await asyncio.sleep(0.05)
            proxy.refuse() if how == "cut" else proxy.freeze()
            told = await all_of(producer, [record(behind, value) for value in values()])
            assert not any(delivered(told))

            handed = handed_over(producer, monkeypatch)
            probe = asyncio.create_task(producer.publish(record(behind, b"probe")))
            await asyncio.sleep(0)
            told = await all_of(producer, [record(behind, value) for value in values()])
            assert not any(delivered(told))
            assert handed == [b"probe"]  # the others were not even tried
            with pytest.raises(BrokerUnavailableError):
                await probe

            proxy.mend()
            while not all(delivered(await all_of(producer, [record(behind, b"again")]))):
                await asyncio.sleep(0.05)
            told = await all_of(producer, [record(behind, value) for value in values()])
            assert all(delivered(told))

    in_time(work)


def test_a_probe_that_is_given_up_lets_the_next_one_ask(behind: Settings, proxy: Proxy) -> None:
    async def work() -> None:
        async with opened(behind) as producer:
            proxy.refuse()
            with pytest.raises(BrokerUnavailableError):
                await producer.publish(record(behind, b"first"))
            probe = asyncio.create_task(producer.publish(record(behind, b"probe")))
            await asyncio.sleep(0)
            probe.cancel()
            await asyncio.wait([probe])
            proxy.mend()
            while not all(delivered(await all_of(producer, [record(behind, b"next")]))):
                await asyncio.sleep(0.05)

    in_time(work)


def test_who_does_not_wait_any_longer_disturbs_nobody(settings: Settings) -> None:
    """As a caller that hangs up: the record may be there, and the others are told as ever."""

    async def work() -> None:
        async with opened(settings) as producer:
            gone = [asyncio.create_task(producer.publish(record(settings, b"x"))) for _ in "ab"]
            await asyncio.sleep(0)
            for task in gone:
                task.cancel()
            assert all(delivered(await all_of(producer, [record(settings, b"y")] * 10)))

    in_time(work)


def test_more_than_may_wait_fails_at_once(
    behind: Settings, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others go out afterwards, however long they waited."""
    monkeypatch.setattr(async_producer, "_QUEUE_MESSAGES", 10)
    monkeypatch.setattr(async_producer, "DELIVERY_TIMEOUT_S", 2 * HANGS_S)

    async def work() -> None:
        async with opened(behind) as producer:
            proxy.freeze()
            waiting = [
                asyncio.create_task(producer.publish(record(behind, b"x"))) for _ in "x" * 10
            ]
            await asyncio.sleep(0)
            with pytest.raises(BrokerUnavailableError, match="too much"):
                await producer.publish(record(behind, b"one more"))
            proxy.mend()
            assert all(delivered(await asyncio.gather(*waiting)))

    in_time(work)


@pytest.mark.parametrize("waiting", [0, 50])
def test_a_producer_that_can_no_more_is_replaced(
    waiting: int, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once, however many records were on their way; each of them is told that it failed."""
    made: list[async_producer._Served] = []

    class Counted(async_producer._Served):
        def __init__(self, settings: Settings) -> None:
            made.append(self)
            super().__init__(settings)
            monkeypatch.setattr(async_producer, "_LINGER_MS", 2)  # of the next one

    monkeypatch.setattr(async_producer, "_Served", Counted)
    monkeypatch.setattr(async_producer, "_LINGER_MS", 9_000)

    async def work() -> None:
        async with opened(settings) as producer:
            lost = asyncio.create_task(all_of(producer, [record(settings, b"lost")] * waiting))
            await asyncio.sleep(0.05)
            end_for_ever(producer)
            assert not any(delivered(await all_of(producer, [record(settings, b"late")])))
            assert delivered(await all_of(producer, [record(settings, b"after")])) == [True]
            assert not any(delivered(await lost))
            for code in (KafkaError._FATAL, KafkaError._MSG_TIMED_OUT):
                # What the spent one still tells, of a record on its way, is nothing of the new one.
                producer._failed(KafkaError(code), made[0])
            assert all(delivered(await all_of(producer, [record(settings, b"after")] * 10)))
        assert len(made) == 2

    in_time(work)


def test_what_is_queued_is_delivered_before_the_end(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(async_producer, "_LINGER_MS", 2_000)

    async def work() -> None:
        async with opened(settings) as producer:
            sent = values()
            asked = asyncio.create_task(
                all_of(producer, [record(settings, value) for value in sent])
            )
            await asyncio.sleep(0.01)
            await producer.close()
            told = await asked
        there = standing(settings)
        assert [there[str(place)][1] for place in told] == sent
        with pytest.raises(BrokerUnavailableError, match="closed"):
            await producer.publish(record(settings, b"after the end"))

    in_time(work)


def test_at_the_end_everybody_is_told_also_while_the_broker_is_away(
    behind: Settings, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(async_producer, "DELIVERY_TIMEOUT_S", 2 * HANGS_S)
    monkeypatch.setattr(async_producer, "_CLOSE_S", 0.2)

    async def work() -> None:
        async with opened(behind) as producer:
            assert delivered(await all_of(producer, [record(behind, b"before")])) == [True]
            proxy.freeze(Direction.TO_CLIENT)
            asked = asyncio.create_task(all_of(producer, [record(behind, b"x")] * 3))
            await asyncio.sleep(0.1)
            await producer.close()
            assert not any(delivered(await asked))

    in_time(work)


def end_for_ever(producer: AsyncProducer) -> None:
    """Have the client's library report a fatal error; its own tests have no other way either."""
    libraries = Path(confluent_kafka.__file__).parents[1].glob("confluent_kafka.libs/librdkafka-*")
    library = next(libraries, None)
    if library is None:
        pytest.skip("the client's library is not where its Linux wheel has it")
    fail = ctypes.CDLL(str(library)).rd_kafka_test_fatal_error
    fail.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p]
    assert producer._producer is not None
    handle = id(producer._producer._producer) + object.__basicsize__
    out_of_order = 45
    assert fail(ctypes.c_void_p.from_address(handle).value, out_of_order, b"a test") == 0
