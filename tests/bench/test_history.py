"""A generated history is truthful: by the model of `faults`, by ingest, and by its counts."""

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest

from bench.audit.history import Wanted, write
from bench.audit.mix import Fate, Kind, Mix, Shares
from bench.audit.people import People
from bench.audit.plain import audited
from bench.audit.stories import Part, Stories
from bench.audit.weighed import weighed
from bench.child import module
from faults import asked, readers, registry, verdict, wire
from faults.workload import SLICE_RECIPIENTS
from saec.contracts import avro
from saec.contracts.ledger import BatchCommitted, BatchOpened, ShardTaken, decode_ledger
from saec.ingest.requests import RequestIntake
from saec.kafka.records import Incoming
from saec.store.engine import open_engine
from saec.store.shards import shard_of

if TYPE_CHECKING:
    from saec.settings import Settings
    from tests.stack import Installations

EVENTS = {
    "schedule_requested": "saec.v1.ScheduleRequested",
    "cancel_requested": "saec.v1.CancelRequested",
    "customer_registered": "saec.v1.CustomerRegistered",
}
NOW_MS = 1_800_000_000_000
CAMPAIGNS = (
    Fate.SENT,
    Fate.STOPPED,
    Fate.PENDING,
    Fate.CANCELLED,
    Fate.EXPIRED,
    Fate.TOO_LATE,
    Fate.TAKEN,
)
MIX = Mix(
    kinds={Kind.CAMPAIGN: 0.85, Kind.SINGLE: 0.145, Kind.PUSH: 0.005},
    fates={**Mix().fates, Kind.CAMPAIGN: dict.fromkeys(CAMPAIGNS, 1 / len(CAMPAIGNS))},
    recipients=(100, 500),
    crash_every=3,
)
WANTED = Wanted(12_000, processes=2, seed=7, customers=3_000, wave=3_000, mix=MIX)


@dataclass(frozen=True)
class Written:
    """A history, as its generator counts it and as readers see it."""

    settings: "Settings"
    tally: Counter[str]
    records: dict[str, list[wire.Record]]

    @property
    def answers(self) -> list[wire.Record]:
        """What ingest said, and not dispatch."""
        status = self.records[self.settings.topics.status]
        return [one for one in status if one.header("ce_source") != "/saec/dispatch"]


@pytest.fixture(scope="module")
def history(installations: "Installations") -> Iterator[Written]:
    with installations.make(slice_recipients=SLICE_RECIPIENTS) as settings:
        tally = write(settings, WANTED)
        records = defaultdict(list)
        for one in readers.read_all(settings.bootstrap_servers, settings.topics.all):
            records[one.topic].append(one)
        yield Written(settings, tally, records)


def as_json(record: wire.Record) -> wire.Record:
    """The same event in JSON, which the model reads; what is no Avro stays as it is."""
    value = record.value or b""
    name = next((one for one in EVENTS if value.startswith(avro.prefix(one))), None)
    if name is None:
        return record
    fields = {**wire._decoded(name, value), "type": EVENTS[name]}
    if "message" in fields:
        fields["message"] = {**fields["message"], "body": fields["message"]["body"].decode()}
    return replace(record, value=json.dumps(fields).encode())


def judged(history: Written, change: Callable[[list[wire.Record]], None]) -> Any:
    """What the model finds, once `change` was made to what came out."""
    topics = history.settings.topics
    requests = [as_json(one) for one in history.records[topics.requests]]
    people = [as_json(one) for one in history.records[topics.customers]]
    came = [
        as_json(one) if topic == topics.rejected else one
        for topic in (topics.status, topics.rejected, *topics.dispatch.values())
        for one in history.records[topic]
    ]
    change(came)
    ends: Counter[int] = Counter(one.partition for one in people)
    known = registry.learn(people, [(max(one.timestamp_ms for one in people), dict(ends))])
    now_ms = max(one.timestamp_ms for one in came) + 1
    prefix = history.settings.topic_prefix
    return verdict.judge(asked.understand(requests), known, came, prefix, now_ms)


def test_the_model_finds_nothing(history: Written) -> None:
    output = judged(history, lambda _: None)
    assert output.findings.first == []
    assert output.messages == history.tally["messages"] >= WANTED.messages


def _lost(came: list[wire.Record]) -> None:
    del came[-1]


def _doubled(came: list[wire.Record]) -> None:
    came.append(came[-1])


@pytest.mark.parametrize(("change", "kind"), [(_lost, "missing"), (_doubled, "duplicate")])
def test_the_model_would_find_it(
    history: Written, change: Callable[[list[wire.Record]], None], kind: str
) -> None:
    assert judged(history, change).findings.counts[kind] > 0


def test_every_fate_is_there(history: Written) -> None:
    told = {name.removeprefix("requests ") for name in history.tally if name.startswith("requests")}
    assert told == set(Fate)
    by_status = Counter(wire.answered(one)["status"] for one in history.answers)
    assert {f"answers {name}": count for name, count in by_status.items()} == {
        name: count for name, count in history.tally.items() if name.startswith("answers")
    }
    assert len(by_status) == 7
    reasons = {
        wire.answered(one)["reason"] for one in history.records[history.settings.topics.status]
    }
    assert {"expired", "no_address", "unknown_customer", "opted_out"} <= reasons


def test_what_was_accepted_went_out_or_is_told_why_not(history: Written) -> None:
    tally = history.tally
    ways = ("messages", "messages skipped", "messages stopped", "messages pending")
    assert tally["messages accepted"] == sum(tally[way] for way in ways)
    assert all(tally[way] for way in ways)


def test_the_ledger_is_what_workers_write(history: Written) -> None:
    topics = history.settings.topics
    shards: dict[int, list[Any]] = defaultdict(list)
    for one in sorted(history.records[topics.ledger], key=lambda one: one.place):
        shards[one.partition].append(decode_ledger(one.value or b""))
    slices: Counter[tuple[str, int]] = Counter()
    messages: Counter[str] = Counter()
    for shard, found in shards.items():
        _follow(shard, found)
        for record in found:
            if isinstance(record, BatchCommitted):
                for part in record.slices:
                    assert shard_of(part.request_id, history.settings.shards) == shard
                    slices[str(part.request_id), part.slice_no] += 1
                    messages[str(part.request_id)] += part.messages
    assert set(slices.values()) == {1}
    sent = Counter(
        wire.dispatched(one)["request_id"]
        for topic in topics.dispatch.values()
        for one in history.records[topic]
    )
    assert +messages == sent
    assert history.tally["batches aborted"] > 0
    assert max(found[-1].epoch for found in shards.values()) > 1


def _follow(shard: int, found: list[Any]) -> None:
    """A takeover first; then batches opened and committed in turn, without a gap."""
    owner, epoch, batch_no, opened = "", 0, 0, None
    for record in found:
        assert record.shard == shard
        match record:
            case ShardTaken():
                assert (record.epoch, record.batch_no, opened) == (epoch + 1, batch_no, None)
                owner, epoch = record.owner, record.epoch
            case BatchOpened():
                opened = record.batch_no
                assert (opened, record.owner, record.epoch) == (batch_no + 1, owner, epoch)
            case BatchCommitted():
                assert (record.batch_no, record.owner, record.epoch) == (opened, owner, epoch)
                batch_no, opened = record.batch_no, None
    assert opened is None


def test_ingest_itself_answers_the_same(history: Written) -> None:
    """But for cancels: what they stop depends on when dispatch takes what."""
    settings = history.settings
    cancel = avro.prefix("cancel_requested")
    sources = [
        Incoming(one.topic, one.partition, one.offset, one.timestamp_ms, one.key, one.value, None)
        for one in sorted(history.records[settings.topics.requests], key=lambda one: one.place)
        if not (one.value or b"").startswith(cancel)
    ]
    places = {"/".join(map(str, (one.topic, one.partition, one.offset))) for one in sources}
    engine = open_engine(settings.database_url)
    ours = RequestIntake(settings, engine, settings.shards).take(sources, {})
    engine.dispose()
    theirs = [
        (one.topic, one.key, one.value, one.headers)
        for one in (*history.answers, *history.records[settings.topics.rejected])
        if (one.header("ce_id") or verdict._source(one)) in places
    ]
    assert len(theirs) > len(places) > 500
    assert sorted(theirs, key=repr) == sorted(
        [(one.topic, one.key, one.value, tuple(one.headers)) for one in ours], key=repr
    )


def test_ingest_stands_behind_all_of_it(history: Written) -> None:
    settings = history.settings
    for role, topic in (
        ("requests", settings.topics.requests),
        ("customers", settings.topics.customers),
    ):
        stands = readers.answered(settings.bootstrap_servers, settings.group_id(role), topic)
        counts = Counter(one.partition for one in history.records[topic])
        assert stands == dict(counts)


def test_a_plain_consumer_reads_it_to_the_end(history: Written) -> None:
    topics = audited(history.settings)
    command = module("bench.audit.plain", history.settings.bootstrap_servers, *topics, "--tuned")
    done = weighed(command, {})
    told = json.loads(done.said)
    assert done.code == 0
    assert {topic: told.get(topic, 0) for topic in topics} == {
        topic: len(history.records[topic]) for topic in topics
    }
    kinds = ("messages", "records of requests", "records of status", "records of ledger")
    assert told["records"] == sum(history.tally[kind] for kind in kinds)


def test_shares_hold() -> None:
    shares: Shares[Kind] = Shares({Kind.CAMPAIGN: 0.9, Kind.SINGLE: 0.09, Kind.PUSH: 0.01})
    taken: Counter[Kind] = Counter()
    for _ in range(1_000):
        one = shares.next()
        shares.take(one)
        taken[one] += 1
    assert taken == {Kind.CAMPAIGN: 900, Kind.SINGLE: 90, Kind.PUSH: 10}


def test_every_fate_has_its_share() -> None:
    assert sum(Mix().kinds.values()) == pytest.approx(1)
    for fates in Mix().fates.values():
        assert sum(fates.values()) == pytest.approx(1)
    assert {fate for fates in Mix().fates.values() for fate in fates} == set(Fate)


def test_the_same_seed_tells_the_same_stories() -> None:
    def told(seed: int, number: int = 0) -> list[Any]:
        stories = Stories(MIX, People(1_000), Part(number, 2, 4), seed)
        return [stories.next(NOW_MS) for _ in range(200)]

    assert told(1) == told(1)
    assert told(1) != told(2)
    ids = [story.id for number in (0, 1) for story in told(1, number)]
    assert len(set(ids)) == len(ids)
    assert {shard_of(story.id, 4) for story in told(1, 1)} == {1, 3}


def test_one_in_a_hundred_customers_cannot_be_written_to() -> None:
    people = People(400)
    assert len(people.contacts) == len(list(people.events())) == 399
    assert people.some(399, 3) == ("c399", "c0", "c1")
    assert len(set(people.some(250, 400))) == 400
