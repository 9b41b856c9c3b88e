"""Many lines in one call: each is published or refused by itself, and the answer tells of all."""

import asyncio
import itertools
import json
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, cast

import pytest
from starlette.requests import ClientDisconnect
from structlog.testing import capture_logs

from saec.clock import SystemClock
from saec.contracts.status import RequestStatus, Status
from saec.errors import BrokerUnavailableError, Reason
from saec.http import bodies, bulk, preferences
from saec.http.answers import Answers, Expected
from saec.http.bulk import schedule_many
from saec.http.endpoint import Endpoint, Reader
from saec.http.keyring import Keyring
from saec.http.problems import Code, Problem
from saec.http.questions import CANCEL
from saec.kafka.async_producer import Appended, AsyncProducer
from saec.kafka.records import Outgoing
from saec.keys import Scope, new_key
from saec.settings import Settings
from saec.store.keys import KeyRow
from tests.http.kit import HANGS_S, NEVER_S, Body, asked, refused, run

SETTINGS = Settings()


def line(**changes: Any) -> bytes:
    fields = {
        "id": str(uuid.uuid4()),
        "channels": ["PUSH"],
        "due_at": "2126-12-01T09:00:00Z",
        "message": {"body": "Olá", "content_type": "text/plain"},
        **changes,
    }
    return json.dumps({name: value for name, value in fields.items() if value != ""}).encode()


def id_of(made: bytes) -> str:
    return str(json.loads(made)["id"])


@dataclass
class Kafka:
    """A producer, and the answers: what is published is answered as `says` has it, if at all."""

    fails: set[int] = field(default_factory=set)
    says: list[Status | None] = field(default_factory=list)
    takes_s: float = 0.0
    published: list[Outgoing] = field(default_factory=list)
    waiting: list[Expected] = field(default_factory=list)
    under_way: int = 0
    most_under_way: int = 0

    async def publish(self, record: Outgoing) -> Appended:
        number = len(self.published)
        self.published.append(record)
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        await asyncio.sleep(self.takes_s)
        self.under_way -= 1
        if number in self.fails:
            raise BrokerUnavailableError("timed out")
        where = Appended("requests", 0, number)
        status = self.says[number] if number < len(self.says) else None
        if status is not None:
            reason = Reason.DUE_IN_THE_PAST if status is Status.REJECTED else None
            given = RequestStatus(str((record.key or b"").decode()), status, 0, reason, {}, "why")
            self.waiting[number].add(str(where), given)
        return where

    @contextmanager
    def expecting(self, _: str) -> Iterator[Expected]:
        self.waiting.append(one := Expected())
        yield one


async def endpoint_of(kafka: Kafka, rate: int = 1_000_000) -> tuple[Endpoint, str]:
    """An endpoint with one key, and the header that its holder sends."""
    text, key_id, secret_hash = new_key()
    row = KeyRow(key_id, secret_hash, "a job", "billing", (Scope.SCHEDULE,), rate, 0, None, None)

    async def load() -> tuple[int, list[KeyRow]]:
        return 0, [row]

    keyring = Keyring(load, SystemClock(), rate, 100)
    await keyring.refresh()
    producer, answers = cast("AsyncProducer", kafka), cast("Answers", kafka)
    return Endpoint(SETTINGS, producer, answers, keyring, cast("Reader", None)), f"Bearer {text}"


@dataclass
class Call:
    """A call, what it comes to, and what the trail tells of it."""

    kafka: Kafka = field(default_factory=Kafka)
    rate: int = 1_000_000
    logs: list[dict[str, Any]] = field(default_factory=list)

    def told(self, body: Body | Iterable[bytes], prefer: str = "") -> tuple[int, Any]:
        """The status, and the JSON of the answer or of the problem."""
        return run(lambda: self._post(body, prefer))

    async def _post(self, body: Body | Iterable[bytes], prefer: str) -> tuple[int, Any]:
        endpoint, authorization = await endpoint_of(self.kafka, self.rate)
        request = asked(body, {"authorization": authorization, "prefer": prefer})
        with capture_logs() as logs:
            try:
                response = await schedule_many(endpoint, request)
            except Problem as problem:
                response = problem.response
            finally:
                self.logs += [dict(line) for line in logs]
        return response.status_code, json.loads(response.body)

    @property
    def outcomes(self) -> list[tuple[str, str | None]]:
        """What the trail says of each line: its outcome, and its request."""
        assert {line["event"] for line in self.logs} <= {"change"}
        return [(str(line["outcome"]), line["request_id"]) for line in self.logs]


def test_each_line_by_itself() -> None:
    good, other = line(), line(requester="crm")
    cancel = json.dumps({"type": CANCEL, "id": id_of(good)}).encode()
    whole = line(type="saec.v1.ScheduleRequested", requester="billing")
    bad = line(channels=["FAX"])
    lines = [good, b"{", b"", other, cancel, whole, bad, line(id="")]
    call = Call()
    status, told = call.told([b"\r\n".join(lines)])
    assert status == 202
    assert (told["lines"], told["published"], told["refused"]) == (7, 3, 4)
    assert told["refusals"] == [
        {"line": 2, "request_id": None, "code": "invalid_json", "detail": "the value is not JSON"},
        {
            "line": 4,
            "request_id": id_of(other),
            "code": "other_requester",
            "detail": "requester: not the one of the API key",
        },
        {
            "line": 7,
            "request_id": id_of(bad),
            "code": "unknown_channel",
            "detail": told["refusals"][2]["detail"],
        },
        {
            "line": 8,
            "request_id": None,
            "code": "invalid_id",
            "detail": "id: missing; choose one, to send it again safely",
        },
    ]
    assert "FAX" not in json.dumps(told)
    assert "answers" not in told
    published = call.kafka.published
    assert [record.key for record in published] == [
        id_of(x).encode() for x in (good, cancel, whole)
    ]
    assert published[2].value == whole + b"\r"
    assert {json.loads(record.value)["requester"] for record in published} == {"billing"}
    assert {record.topic for record in published} == {SETTINGS.topics.requests}
    assert set(call.outcomes) == {
        *(("published", id_of(made)) for made in (good, cancel, whole)),
        ("invalid_json", None),
        ("other_requester", id_of(other)),
        ("unknown_channel", id_of(bad)),
        ("invalid_id", None),
    }
    assert len(call.outcomes) == 7


@pytest.mark.parametrize("body", [[], [b""], [b"\n \r\n\n"]])
def test_no_line_at_all(body: list[bytes]) -> None:
    status, told = Call().told(body)
    assert (status, told["code"]) == (400, Reason.EMPTY_VALUE)


def test_what_kafka_does_not_acknowledge() -> None:
    """From which line to send it again; what did arrive is answered DUPLICATE then."""
    call = Call(Kafka(fails={2, 4}, takes_s=0.05))
    status, told = call.told([b"{}\n", *[line() + b"\n" for _ in range(6)]])
    assert (status, told["code"]) == (503, Code.KAFKA_UNAVAILABLE)
    assert told["resend_from_line"] == 4
    assert (told["lines"], told["published"], told["refused"]) == (7, 4, 1)
    outcomes = [outcome for outcome, _ in call.outcomes]
    assert outcomes.count("published") == 4
    assert outcomes.count("kafka_unavailable") == 2


def test_while_kafka_is_away_no_more_is_read() -> None:
    body = Body(line() + b"\n" for _ in itertools.count())
    status, told = Call(Kafka(fails=set(range(10_000)))).told(body)
    assert (status, told["resend_from_line"]) == (503, 1)
    assert body.taken < 1_500
    assert told["lines"] <= body.taken


@pytest.mark.parametrize("fails", [set(), {1}])
def test_more_lines_than_one_call_takes(fails: set[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Those before were published; the answer says so, and what was not."""
    monkeypatch.setattr(bulk, "MOST_LINES", 3)
    body = Body(line() + b"\n" for _ in itertools.count())
    status, told = Call(Kafka(fails=fails, takes_s=0.05)).told(body)
    assert (status, told["code"]) == (413, Code.TOO_MANY_LINES)
    assert (told["lines"], told["published"]) == (3, 3 - len(fails))
    assert told.get("resend_from_line") == (2 if fails else None)
    assert body.taken == 4


def test_a_line_that_is_too_large_ends_the_call() -> None:
    call = Call()
    large = b"x" * SETTINGS.max_request_bytes
    status, told = call.told([line() + b"\n", large, b"x\n", line()])
    assert (status, told["code"]) == (413, Reason.VALUE_TOO_LARGE)
    assert (told["lines"], told["published"]) == (1, 1)
    assert [outcome for outcome, _ in call.outcomes] == ["published"]


def test_a_sender_who_is_gone_has_published_what_came_whole() -> None:
    call = Call(Kafka(takes_s=0.02))
    with pytest.raises(ClientDisconnect):
        call.told(Body([line() + b"\n", line() + b"\n", line()], ends=False))
    assert [outcome for outcome, _ in call.outcomes] == ["published"] * 2


def test_a_body_is_not_read_ahead_of_kafka(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else it would be in memory, however large it is."""
    monkeypatch.setattr(bulk, "_ON_THEIR_WAY", 5)
    call = Call(Kafka(takes_s=0.01))
    ahead: list[int] = []

    class Watched(Body):
        async def receive(self) -> Any:
            ahead.append(self.taken - len(call.kafka.published) + call.kafka.under_way)
            return await super().receive()

    status, told = call.told(Watched(line() + b"\n" for _ in range(60)))
    assert (status, told["published"]) == (202, 60)
    assert call.kafka.most_under_way == 5
    assert max(ahead) <= 7


def test_a_key_publishes_no_more_lines_than_its_rate() -> None:
    began_s = time.monotonic()
    status, told = Call(rate=20).told([line() + b"\n" for _ in range(30)])
    assert (status, told["published"]) == (202, 30)
    assert time.monotonic() - began_s > 0.4  # 20 at once, the other 10 at 20 a second


def test_answers_that_are_waited_for() -> None:
    says = [Status.ACCEPTED, Status.DUPLICATE, Status.REJECTED, Status.TOO_LATE, None]
    made = [line() for _ in says]
    call = Call(Kafka(says=says))
    began_s = time.monotonic()
    status, told = call.told([b"{\n" + b"\n".join(made)], "wait=1")
    assert time.monotonic() - began_s > 0.5
    assert status == 200
    assert (told["lines"], told["published"], told["refused"]) == (6, 5, 3)
    assert told["answers"] == {"ACCEPTED": 1, "DUPLICATE": 1, "REJECTED": 1, "TOO_LATE": 1}
    assert told["unanswered"] == 1
    assert [(r["line"], r["code"], r["request_id"]) for r in told["refusals"]] == [
        (1, "invalid_json", None),
        (4, "due_in_the_past", id_of(made[2])),
        (5, "too_late", id_of(made[3])),
    ]
    assert sorted(outcome for outcome, _ in call.outcomes) == sorted(
        ["invalid_json", "ACCEPTED", "DUPLICATE", "REJECTED", "TOO_LATE", "published"]
    )


def test_who_waits_is_answered_as_soon_as_all_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preferences, "LONGEST_WAIT_S", 10 * HANGS_S)
    call = Call(Kafka(says=[Status.ACCEPTED] * 50))
    status, told = call.told([line() + b"\n" for _ in range(50)], f"wait={10 * HANGS_S}")
    assert (status, told["answers"], told["unanswered"]) == (200, {"ACCEPTED": 50}, 0)


def test_a_wait_of_no_time_takes_none() -> None:
    status, told = Call().told([line()], "wait=0")
    assert (status, told["answers"], told["unanswered"]) == (200, {}, 1)


def test_all_refusals_are_counted_and_the_first_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "_SHOWN", 2)
    status, told = Call().told([b"{}\n" * 5 + line()])
    assert (status, told["refused"], told["published"]) == (202, 5, 1)
    assert [refusal["line"] for refusal in told["refusals"]] == [1, 2]


def test_others_are_served_between_two_refusals() -> None:
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def post() -> None:
        serving = asyncio.create_task(others())
        await Call()._post([b"{}\n" * 500], "")
        serving.cancel()

    run(post)
    assert turns >= 500


@pytest.mark.parametrize(
    ("calls", "told"), [(4, (429, Code.TOO_MANY_REQUESTS)), (8, (503, Code.TOO_BUSY))]
)
def test_only_so_many_calls_at_a_time(
    calls: int, told: tuple[int, Code], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "_BULKS_A_KEY", 4 if calls == 4 else 100)

    async def work() -> None:
        endpoint, authorization = await endpoint_of(Kafka())
        headers = {"authorization": authorization}
        under_way, go_on = 0, asyncio.Event()

        class Slow(Body):
            async def receive(self) -> Any:
                nonlocal under_way
                under_way += not self.taken
                await go_on.wait()
                return await super().receive()

        slow = [
            asyncio.create_task(schedule_many(endpoint, asked(Slow([line()]), headers)))
            for _ in range(calls)
        ]
        while under_way < calls:
            await asyncio.sleep(0)
        problem = await refused(schedule_many(endpoint, asked([line()], headers)))
        assert (problem.status, problem.code) == told
        assert "Retry-After" in problem.headers
        go_on.set()
        assert {response.status_code for response in await asyncio.gather(*slow)} == {202}
        assert (await schedule_many(endpoint, asked([line()], headers))).status_code == 202

    run(work)


@pytest.mark.parametrize("pause_s", [0.0, NEVER_S])
def test_a_key_that_is_good_no_more_ends_its_open_calls(
    pause_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also those that send nothing now; what became of the lines before is told."""
    monkeypatch.setattr(bodies, "LOOK_S", 0.01)
    kafka = Kafka()

    async def work() -> tuple[Problem, int]:
        endpoint, authorization = await endpoint_of(kafka)
        holder = next(iter(endpoint.keyring._holders.values()))

        class Revoked(Body):
            async def receive(self) -> Any:
                if self.taken == 2:
                    holder.key = replace(holder.key, revoked_at_ms=1)
                    await asyncio.sleep(pause_s)
                return await super().receive()

        body = Revoked(line() + b"\n" for _ in range(10))
        request = asked(body, {"authorization": authorization})
        problem = await refused(schedule_many(endpoint, request))
        return problem, body.taken

    problem, taken = run(work)
    assert (problem.status, problem.code) == (401, Code.UNAUTHENTICATED)
    assert (problem.members["lines"], problem.members["published"]) == (2, 2)
    assert (len(kafka.published), taken) == (2, 2 if pause_s else 3)
