"""A record that Kafka refuses for good: its slice is set apart, and nothing else waits for it."""

import uuid
from collections.abc import Callable, Sequence

import pytest
from confluent_kafka import KafkaError
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)
from structlog.testing import capture_logs

from saec.contracts.events import Channel
from saec.dispatch.refusals import Refusals
from saec.dispatch.round import Worker
from saec.errors import BrokerUnavailableError
from saec.kafka.transaction import InDoubtError
from saec.settings import Settings
from saec.store.pending import EVERYTHING, Apart, Choice, PendingSlice
from tests.dispatch.kit import Installed
from tests.dispatch.test_suspended import MovedClock
from tests.dispatch.test_worker import drive, take_all

MakeWorker = Callable[..., Worker]
LARGE = {"body": "x" * 30_000, "content_type": "text/plain"}
EMAIL = Channel.EMAIL.bit


def refusal(code: int) -> InDoubtError:
    """What the producer says of such a record."""
    return InDoubtError("refused", KafkaError(code))


TOO_LARGE = refusal(KafkaError.MSG_SIZE_TOO_LARGE)
INVALID = refusal(KafkaError.INVALID_RECORD)
DENIED = refusal(KafkaError.TOPIC_AUTHORIZATION_FAILED)


def slice_(number: int, size: int = 10) -> PendingSlice:
    """A slice for EMAIL."""
    id_ = uuid.UUID(int=number)
    return PendingSlice(0, number, id_, 0, 0, None, EMAIL, "t", None, None, ("ana",), b"x" * size)


class Kafka:
    """A broker that refuses some of these slices, and a worker without anything else."""

    def __init__(self, slices: Sequence[PendingSlice], bad: set[int], error: InDoubtError) -> None:
        self.clock = MovedClock()
        self.pending, self.bad, self.error = list(slices), bad, error
        self.refusals = Refusals(Settings(), self.clock, denied=lambda _: [])
        self.failed = 0
        self.refusals._learned_s = float("inf")  # nobody to learn from

    def round(self) -> list[int]:
        """One round; returns what went out."""
        choice = self.refusals.choice()
        most = choice.slices or 100
        chosen = [one for one in self.pending if self._fits(one, choice)][:most]
        if any(one.seq in self.bad for one in chosen):
            self.failed += 1
            self.refusals.refused(choice, chosen, self.error)
            return []
        self.refusals.took(choice, len(chosen))
        self.pending = [one for one in self.pending if one not in chosen]
        return [one.seq for one in chosen]

    def _fits(self, one: PendingSlice, choice: Choice) -> bool:
        return (choice.only is None or self._is_of(one, choice.only)) and not (
            choice.apart is not None and self._is_of(one, choice.apart)
        )

    def _is_of(self, one: PendingSlice, named: Apart) -> bool:
        return one.request_id in named.requests or any(
            one.channels & bits == bits and len(one.message) >= size for bits, size in named.kinds
        )


@pytest.mark.parametrize("error", [TOO_LARGE, INVALID])
@pytest.mark.parametrize("bad", [{0}, {7}, {31}, {0, 31}, {3, 4, 5}])
def test_what_is_refused_is_found_and_everything_else_goes_out(
    bad: set[int], error: InDoubtError
) -> None:
    kafka = Kafka([slice_(n, 900 if n in bad else 10) for n in range(32)], bad, error)
    with capture_logs() as said:
        for _ in range(100):
            kafka.round()
    assert {one.seq for one in kafka.pending} == bad
    found = 1 if error is TOO_LARGE else len(bad)  # those of a size are found together
    assert kafka.failed <= 8 * found
    told = {line["request_id"] for line in said if line["log_level"] == "error"}
    assert len(told) == found
    assert told <= {str(uuid.UUID(int=n)) for n in bad}
    assert kafka.refusals.apart is not None
    assert not kafka.refusals.searching


def test_an_error_that_does_not_come_again_sets_nothing_apart() -> None:
    kafka = Kafka([slice_(n) for n in range(8)], {3}, INVALID)
    kafka.round()
    kafka.bad = set()
    for _ in range(8):
        kafka.round()
    assert kafka.pending == []
    assert kafka.refusals.choice() == EVERYTHING


def test_it_is_tried_again_alone_and_told_every_ten_minutes() -> None:
    kafka = Kafka([slice_(3, 900)], {3}, TOO_LARGE)
    for _ in range(3):
        kafka.round()
    failed, tries = kafka.failed, 0
    with capture_logs() as said:
        for _ in range(3_600):  # an hour, round after round
            kafka.clock.now_s += 1
            kafka.refusals.tell()
            kafka.round()
    tries = kafka.failed - failed
    assert 9 <= tries <= 12
    assert [line["event"] for line in said] == ["Kafka refuses what is due"] * 6
    kafka.bad = set()
    with capture_logs() as said:
        for _ in range(601):
            kafka.clock.now_s += 1
            kafka.round()
    assert kafka.pending == []
    assert [line["event"] for line in said] == ["Kafka takes it again"]
    assert kafka.refusals.choice() == EVERYTHING


def test_what_is_apart_and_was_cancelled_is_forgotten() -> None:
    kafka = Kafka([slice_(3)], {3}, INVALID)
    for _ in range(3):
        kafka.round()
    kafka.pending = []
    kafka.clock.now_s += 10
    kafka.round()
    assert kafka.refusals.choice() == EVERYTHING


def test_a_channel_that_may_not_be_written_is_set_apart_at_once() -> None:
    kafka = Kafka([slice_(n) for n in range(8)], set(range(8)), DENIED)
    kafka.refusals.denied = lambda _: [Channel.EMAIL]
    with capture_logs() as said:
        kafka.round()
        kafka.round()
    assert kafka.failed == 1
    assert kafka.refusals.apart == Apart(((EMAIL, 0),))
    assert [line["channel"] for line in said] == ["EMAIL"]


def test_where_nobody_says_which_channel_the_slices_are_set_apart() -> None:
    def unknown(_settings: Settings) -> Sequence[Channel]:
        raise BrokerUnavailableError("no answer")

    kafka = Kafka([slice_(n) for n in range(8)], {3}, DENIED)
    kafka.refusals.denied = unknown
    for _ in range(30):
        kafka.round()
    assert [one.seq for one in kafka.pending] == [3]


def alter(settings: Settings, topic: str, largest_bytes: int) -> None:
    """Set how large a batch of records a topic takes."""
    admin = AdminClient({"bootstrap.servers": settings.bootstrap_servers})
    entry = ConfigEntry(
        "max.message.bytes", str(largest_bytes), incremental_operation=AlterConfigOpType.SET
    )
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
    admin.incremental_alter_configs([resource])[resource].result(60)


def test_a_topic_that_takes_less_keeps_back_what_it_refuses_and_nothing_else(
    installed: Installed, make_worker: MakeWorker
) -> None:
    topic = installed.settings.topics.dispatch[Channel.EMAIL]
    alter(installed.settings, topic, 20_000)
    worker = make_worker()
    take_all(worker, installed)
    large = [installed.ask(due_in_ms=-2_000, shard=shard, message=LARGE) for shard in (1, 2)]
    small = [installed.ask(shard=shard) for shard in installed.shards * 5]
    # Of other channels the size is no matter; nor in the shard of what is refused.
    other = installed.ask(channels=("SMS",), shard=1, message=LARGE)
    with capture_logs() as said:
        drive(worker, until=lambda: installed.pending() == 2)
    assert installed.sent() == {
        **{(request, "EMAIL", "ana"): 1 for request in small},
        (other, "SMS", "ana"): 1,
    }
    told = [line for line in said if line["log_level"] == "error"]
    assert {line["event"] for line in told} == {"Kafka refuses what is due"}
    assert {line["request_id"] for line in told} <= {str(one) for one in large}
    assert {line["why"] for line in told} == {"MSG_SIZE_TOO_LARGE"}
    assert installed.claims() == 0
    assert worker.halted == {}
    more = [installed.ask(shard=shard) for shard in installed.shards * 2]
    drive(worker, until=lambda: installed.pending() == 2)
    alter(installed.settings, topic, 2_000_000)
    for one in worker._refusals._apart:
        one.again_s = 0.0
    drive(worker, until=lambda: installed.pending() == 0)
    sent = installed.sent()
    assert {sent[request, "EMAIL", "ana"] for request in (*large, *more)} == {1}
    assert set(sent.values()) == {1}


def test_a_message_larger_than_what_the_client_sends_is_set_apart(
    installed: Installed, make_worker: MakeWorker
) -> None:
    """Here it is the client itself that refuses it, before anything travels."""
    worker = make_worker(kafka={"message.max.bytes": "20000", "batch.size": "20000"})
    take_all(worker, installed)
    large = installed.ask(due_in_ms=-2_000, message=LARGE)
    small = [installed.ask(shard=shard) for shard in installed.shards]
    drive(worker, until=lambda: installed.pending() == 1)
    assert installed.sent() == {(request, "EMAIL", "ana"): 1 for request in small}
    assert installed.sql("SELECT request_id FROM pending") == [(large,)]


def test_a_cancel_stops_what_is_set_apart(installed: Installed, make_worker: MakeWorker) -> None:
    alter(installed.settings, installed.settings.topics.dispatch[Channel.EMAIL], 20_000)
    large = installed.ask(message=LARGE)
    worker = make_worker()
    drive(worker, until=lambda: worker._refusals.apart is not None)
    drive(worker, until=lambda: bool(worker.owned))
    assert installed.cancel(large).status.value == "CANCELLED"
    assert installed.pending() == 0


def test_many_small_records_are_not_refused_for_their_company(
    installed: Installed, make_worker: MakeWorker
) -> None:
    """The client puts records of one partition together: 40 of these come to more than it takes."""
    topic = installed.settings.topics.dispatch[Channel.EMAIL]
    alter(installed.settings, topic, 20_000)
    asked = [
        installed.ask(message={"body": "x" * 3_000, "content_type": "text/plain"})
        for _ in range(40)
    ]
    worker = make_worker()
    with capture_logs() as said:
        drive(worker, until=lambda: installed.pending() == 0)
    assert installed.sent() == {(request, "EMAIL", "ana"): 1 for request in asked}
    assert [line for line in said if line["log_level"] == "error"] == []
    refused = [line for line in said if line["event"] == "Kafka refused a batch"]
    assert 1 <= len(refused) <= 2  # then its batches are as small as the topic wants them
