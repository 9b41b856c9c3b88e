"""The verdict on cancels that stand in other partitions than their request, and on lost records."""

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import fastavro
import pytest

from faults import asked as asking
from faults import registry, unreadable, wire
from faults.verdict import judge
from faults.wire import Record
from tests import raw_batches

T = 1_800_000_000_000
ID = "6d1f0c1e-2a55-4c3e-9a39-0f1f1d6d8f10"
REQUEST = {
    "type": "saec.v1.ScheduleRequested",
    "id": ID,
    "requester": "faults",
    "channels": ["PUSH"],
    "customers": [],
    "due_at": T + 1_000,
    "message": {"body": "Olá", "content_type": "text/plain"},
}
CANCEL = {"type": "saec.v1.CancelRequested", "id": ID, "requester": "faults"}
STOPPED = {"messages_stopped": 1, "messages_left": 0}
TOO_LATE = {"messages_stopped": 0, "messages_left": 1}
LATE = ("1/0/late", "CANCELLED", STOPPED)


def record(
    topic: str, partition: int, value: bytes | None, at_ms: int = T, **headers: str
) -> Record:
    told = tuple((name, text.encode()) for name, text in headers.items())
    return Record(f"saec.{topic}", partition, 0, at_ms, None, value, told, T)


def asked(value: dict[str, Any], partition: int, at_ms: int = T) -> Record:
    return record("requests", partition, json.dumps(value).encode(), at_ms)


def avro(name: str, fields: dict[str, Any]) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, wire._schema(name), fields)
    return b"\xc3\x01" + bytes(8) + out.getvalue()


def answer(about: str, status: str, counts: dict[str, int] | None = None) -> Record:
    fields = {"request_id": ID, "customer_id": None, "reason": None, "at": T, "detail": None}
    value = avro("request_status", fields | {"status": status, "counts": counts or {}})
    about = f"saec.requests/{about}"
    return record("status", 0, value, ce_id=about, ce_source="/saec/requests")


def sent() -> Record:
    message = {"subject": None, "body": "Olá".encode(), "content_type": "text/plain"}
    message_id = "6e9b7cf0-5a0a-5b02-8f0b-6a6a4b9f4d5f"
    value = {
        "message_id": message_id,
        "customer_id": None,
        "channel": "PUSH",
        "address": None,
        "dispatched_at": T + 1_500,
        "request_id": ID,
        "campaign_id": None,
        "requester": "faults",
        "due_at": T + 1_000,
        "expires_at": None,
        "message": message,
    }
    return record("dispatch.push", 0, avro("dispatch_message", value), T + 1_500)


def found(
    cancels: list[Record], said: list[tuple[Any, ...]], *, goes_out: bool = False
) -> set[str]:
    """The kinds of findings in these answers, where the request stands in partition 0."""
    output = [answer("0/0", "ACCEPTED", {"messages": 1}), *(answer(*one) for one in said)]
    known = registry.learn([], [])
    model = asking.understand([asked(REQUEST, 0), *cancels])
    counts = judge(
        model, known, [*output, *([sent()] if goes_out else [])], "saec."
    ).findings.counts
    return set(counts) - {"altered"}  # the message is made up in part


BEFORE, SAME, LATER = (asked(CANCEL, 1, T + ms) for ms in (-1, 0, 5))
OTHER = asked(CANCEL, 2, T + 9)
UNKNOWN = ("1/0", "UNKNOWN_REQUEST")


@pytest.mark.parametrize(
    ("cancels", "said", "goes_out"),
    [
        ([LATER], [("1/0", "CANCELLED", STOPPED)], False),
        ([LATER], [("1/0", "TOO_LATE", TOO_LATE)], True),
        ([LATER], [UNKNOWN, LATE], False),
        ([SAME], [UNKNOWN, LATE], False),
        ([LATER], [("1/0", "CANCELLED", STOPPED), LATE], False),
        ([BEFORE], [UNKNOWN], True),
        ([BEFORE], [("1/0", "CANCELLED", STOPPED)], False),
        ([LATER, OTHER], [UNKNOWN, LATE, ("2/0", "UNKNOWN_REQUEST")], False),
        ([LATER, OTHER], [UNKNOWN, LATE, ("2/0", "ALREADY_CANCELLED", STOPPED)], False),
        ([LATER, OTHER], [("1/0", "ALREADY_CANCELLED", STOPPED), ("2/0", "CANCELLED", STOPPED)], 0),
    ],
)
def test_what_may_be(cancels: list[Record], said: list[tuple[Any, ...]], goes_out: bool) -> None:  # noqa: FBT001
    assert found(cancels, said, goes_out=goes_out) == set()


CONTRADICTORY = {"answers contradictory"}


@pytest.mark.parametrize(
    ("cancels", "said", "goes_out", "kinds"),
    [
        pytest.param([LATER], [UNKNOWN], False, {"answers lost"}, id="no late answer"),
        pytest.param(
            [LATER], [UNKNOWN], True, {"answers lost", "stopped but sent"}, id="forgotten"
        ),
        pytest.param([LATER], [UNKNOWN, LATE, LATE], False, {"answers doubled"}, id="late twice"),
        pytest.param([LATER], [UNKNOWN, LATE], True, {"stopped but sent"}, id="late, and sent"),
        pytest.param([LATER], [LATE], False, {"answers lost"}, id="no first answer"),
        pytest.param([BEFORE], [UNKNOWN, LATE], False, CONTRADICTORY, id="of before"),
        pytest.param([BEFORE], [UNKNOWN], False, {"missing"}, id="of before, and not sent"),
        pytest.param(
            [LATER],
            [("1/0", "TOO_LATE", TOO_LATE), LATE],
            False,
            CONTRADICTORY,
            id="too late, and then stopped",
        ),
        pytest.param(
            [LATER],
            [UNKNOWN, ("1/0/late", "CANCELLED", STOPPED | {"messages_stopped": 2})],
            False,
            CONTRADICTORY | {"stopped but sent"},
            id="false counts",
        ),
        pytest.param(
            [LATER, OTHER],
            [UNKNOWN, LATE, ("2/0", "UNKNOWN_REQUEST"), ("2/0/late", "CANCELLED", STOPPED)],
            False,
            CONTRADICTORY,
            id="two late answers",
        ),
        pytest.param(
            [LATER, OTHER],
            [UNKNOWN, ("2/0", "UNKNOWN_REQUEST"), ("2/0/late", "CANCELLED", STOPPED)],
            False,
            {"answers lost"},
            id="the younger held",
        ),
        pytest.param(
            [LATER, OTHER],
            [("1/0", "CANCELLED", STOPPED), ("2/0", "CANCELLED", STOPPED)],
            False,
            CONTRADICTORY,
            id="stopped twice",
        ),
        pytest.param(
            [LATER, OTHER],
            [("1/0", "CANCELLED", STOPPED), ("2/0", "UNKNOWN_REQUEST")],
            False,
            {"answers lost"},
            id="unknown, when another one found it",
        ),
        pytest.param(
            [], [LATE], False, {"unexpected", "missing"}, id="a late answer to nothing asked"
        ),
    ],
)
def test_what_may_not_be(
    cancels: list[Record],
    said: list[tuple[Any, ...]],
    goes_out: bool,  # noqa: FBT001
    kinds: set[str],
) -> None:
    assert found(cancels, said, goes_out=goes_out) == kinds


def copy(topic: str) -> Record:
    source = {
        "saec-source-topic": f"saec.{topic}",
        "saec-source-partition": "3",
        "saec-source-offset": "0",
    }
    return record("rejected", 0, None, **source)


def of_lost(topic: str, **fields: Any) -> Record:
    value = {"request_id": None, "customer_id": None, "reason": "unreadable_record", "at": 0}
    said = value | {"status": "REJECTED", "counts": {}, "detail": None} | fields
    about = {"ce_id": f"saec.{topic}/3/0", "ce_source": f"/saec/{topic}"}
    return record("status", 0, avro("request_status", said), **about)


@pytest.mark.parametrize("topic", ["requests", "customers"])
def test_what_no_client_can_read_is_answered_once(topic: str) -> None:
    lost = replace(record(topic, 3, None), lost=True)
    good = [of_lost(topic), copy(topic)]

    def kinds(output: list[Record], *asked: Record) -> set[str]:
        known = registry.learn(asked, [])
        return set(judge(asking.understand(asked), known, output, "saec.").findings.counts)

    assert kinds(good, lost) == set()
    assert kinds([], lost) == {"answers lost"}
    assert kinds([*good, good[0]], lost) == {"answers doubled"}
    assert kinds(good[:1], lost) == CONTRADICTORY
    for fields in ({"reason": "invalid_json"}, {"request_id": ID}, {"at": T}):
        assert kinds([of_lost(topic, **fields), good[1]], lost) == CONTRADICTORY
    assert kinds(good) == {"unexpected"}


def test_where_they_stand_is_read_from_the_log(tmp_path: Path) -> None:
    log = tmp_path / "kafka" / "data" / "saec.requests-1"
    log.mkdir(parents=True)
    plain = raw_batches.sealed(0, 3, raw_batches.small([b"a", b"b", b"c"]))
    lost = raw_batches.batch("zstd", raw_batches.Large(120_000_000))
    placed = [
        offset.to_bytes(8, "big") + batch[8:]
        for offset, batch in ((0, plain), (3, lost), (4, plain), (7, lost))
    ]
    (log / "0.log").write_bytes(b"".join(placed) + bytes(4_096))
    at_ms = 1_700_000_000_000
    assert unreadable.find(tmp_path, ["saec.requests"], 2) == {
        ("saec.requests", 0): [],
        ("saec.requests", 1): [unreadable.Batch(3, 3, at_ms), unreadable.Batch(7, 7, at_ms)],
    }
