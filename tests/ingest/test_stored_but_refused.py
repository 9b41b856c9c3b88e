"""What was stored is answered as it was stored, also when it would be refused today."""

import json
from typing import Any
from uuid import uuid4

from saec.cli.instants import wall_ms
from saec.contracts.status import Status, decode_status
from saec.errors import Reason
from saec.ingest.requests import RequestIntake
from saec.kafka.records import Incoming, Outgoing
from saec.settings import Settings
from saec.store.engine import Engine, open_engine

DUE_MS = wall_ms() + 86_400_000  # once: the same content twice is a duplicate


def intake(settings: Settings, engine: Engine) -> RequestIntake:
    return RequestIntake(settings, engine, settings.shards)


def record(settings: Settings, offset: int, event: str, **fields: Any) -> Incoming:
    value = {"type": f"saec.v1.{event}", "requester": "tests", **fields}
    topic, data = settings.topics.requests, json.dumps(value).encode()
    return Incoming(topic, 0, offset, wall_ms(), None, data)


def schedule(settings: Settings, offset: int, id_: str) -> Incoming:
    message = {"body": "x" * 3_000, "content_type": "text/plain"}
    return record(
        settings,
        offset,
        "ScheduleRequested",
        id=id_,
        channels=["PUSH"],
        due_at=DUE_MS,
        message=message,
    )


def said(settings: Settings, answers: list[Outgoing]) -> list[tuple[Status, Reason | None]]:
    statuses = [a for a in answers if a.topic == settings.topics.status]
    decoded = [decode_status(answer.value or b"") for answer in statuses]
    return [(status.status, status.reason) for status in decoded]


def test_a_limit_that_was_lowered_before_the_answer(installation: Settings) -> None:
    """The batch was stored, its answer was in doubt, and the process came back stricter."""
    engine, id_ = open_engine(installation.database_url), str(uuid4())
    batch = [
        schedule(installation, 7, id_),
        schedule(installation, 8, id_),
        record(installation, 9, "CancelRequested", id=id_),
        record(installation, 10, "CancelRequested", id=str(uuid4())),
    ]
    first = intake(installation, engine).take(batch, {0: 11})
    strict = installation.model_copy(update={"max_request_bytes": 10})
    again = intake(strict, engine).take(batch, {0: 11})
    fresh = [schedule(installation, 11, str(uuid4()))]
    refused = intake(strict, engine).take(fresh, {0: 12})
    engine.dispose()
    kept = [Status.ACCEPTED, Status.CANCELLED, Status.UNKNOWN_REQUEST]
    assert [status for status, _ in said(installation, first)] == [
        Status.ACCEPTED,
        Status.DUPLICATE,
        *kept[1:],
    ]
    # The duplicate left nothing that is stored: of it nothing says that it was answered.
    too_large = (Status.REJECTED, Reason.VALUE_TOO_LARGE)
    told = said(installation, again)
    assert (len(told), set(told)) == (4, {too_large, *((status, None) for status in kept)})
    by_source = {
        dict(a.headers)["ce_id"]: a for a in first if a.topic == installation.topics.status
    }
    for answer in again:
        headers = dict(answer.headers)
        if headers.get("ce_id", b"").endswith((b"/7", b"/9", b"/10")):
            assert answer == by_source[headers["ce_id"]]
    assert said(installation, refused) == [too_large]
