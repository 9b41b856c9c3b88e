"""The harness's verdict finds each kind of fault; else its zeros would say nothing.

A small run is made up: a request of two customers and PUSH, one that is cancelled, one that is
refused. Then one thing at a time is changed.
"""

import io
import json
import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import fastavro
import pytest

from faults import asked as asking
from faults import registry, wire
from faults.findings import KINDS
from faults.verdict import judge
from faults.wire import Record

T = 1_800_000_000_000
A, B = "6d1f0c1e-2a55-4c3e-9a39-0f1f1d6d8f10", "0b5b2a8e-6a0e-4b47-9d6c-0f2a7a1f3c11"


def record(topic: str, offset: int, value: bytes | None, **fields: Any) -> Record:
    return Record(
        f"saec.{topic}",
        0,
        offset,
        fields.get("at_ms", T),
        fields.get("key"),
        value,
        tuple(fields.get("headers", {}).items()),
        T,
    )


def request(id_: str, **fields: Any) -> dict[str, Any]:
    return {
        "type": "saec.v1.ScheduleRequested",
        "id": id_,
        "requester": "faults",
        "channels": ["EMAIL", "PUSH"],
        "customers": ["c1", "c2", "c3"],
        "due_at": T + 1_000,
        "message": {"body": "Olá", "content_type": "text/plain"},
        **fields,
    }


def avro(name: str, fields: dict[str, Any]) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, wire._schema(name), fields)
    return b"\xc3\x01" + bytes(8) + out.getvalue()


def status(offset: int, ce_id: str, status: str, source: str = "requests", **fields: Any) -> Record:
    value = {"request_id": None, "customer_id": None, "reason": None, "counts": {}, "at": T + 1_500}
    headers = {"ce_id": ce_id.encode(), "ce_source": f"/saec/{source}".encode()}
    whole = avro("request_status", value | {"status": status, "detail": None} | fields)
    return record("status", offset, whole, headers=headers)


def message(offset: int, id_: str, customer: str, channel: str, **fields: Any) -> Record:
    message_id = str(uuid.uuid5(uuid.UUID(id_), f"{channel}:{customer}"))
    value = {
        "message_id": message_id,
        "customer_id": customer or None,
        "channel": channel,
        "address": f"{customer}.0@example.com" if customer else None,
        "dispatched_at": T + 1_500,
        "request_id": id_,
        "campaign_id": None,
        "requester": "faults",
        "due_at": T + 1_000,
        "expires_at": None,
        "message": {"subject": None, "body": "Olá".encode(), "content_type": "text/plain"},
        **fields,
    }
    return record(
        f"dispatch.{channel.lower()}",
        offset,
        avro("dispatch_message", value),
        at_ms=fields.get("dispatched_at", T + 1_500),
        key=(customer or id_).encode(),
        headers={"ce_id": message_id.encode()},
    )


COPY = {
    "saec-source-topic": b"saec.requests",
    "saec-source-partition": b"0",
    "saec-source-offset": b"3",
}
ASKED = [
    record("requests", 0, json.dumps(request(A)).encode()),
    record("requests", 1, json.dumps(request(B)).encode()),
    record(
        "requests",
        2,
        json.dumps({"type": "saec.v1.CancelRequested", "id": B, "requester": "faults"}).encode(),
    ),
    record("requests", 3, b"{"),
]
REGISTERED = [
    record(
        "customers",
        offset,
        json.dumps({"opted_out": [], "email": f"{customer}.{version}@example.com"}).encode(),
        key=customer.encode(),
        at_ms=at_ms,
    )
    for offset, (customer, version, at_ms) in enumerate(
        [("c1", 0, T - 9_000), ("c2", 0, T - 9_000), ("c1", 1, T + 5_000)]
    )
]
COUNTS = {"messages": 4, "recipients": 4}
STOPPED = {"messages_stopped": 1, "messages_left": 3}
GOOD = {
    "accepted A": status(0, "saec.requests/0/0", "ACCEPTED", counts=COUNTS),
    "accepted B": status(1, "saec.requests/0/1", "ACCEPTED", counts=COUNTS),
    "cancelled": status(2, "saec.requests/0/2", "CANCELLED", counts=STOPPED),
    "refused": status(3, "saec.requests/0/3", "REJECTED", reason="invalid_json"),
    "copy": record("rejected", 0, b"{", headers=COPY),
    "A c1": message(0, A, "c1", "EMAIL"),
    "A c2": message(1, A, "c2", "EMAIL"),
    "A push": message(2, A, "", "PUSH"),
    "B c1": message(3, B, "c1", "EMAIL"),
    "B c2": message(4, B, "c2", "EMAIL"),
}
SKIP = {"counts": {"EMAIL.unknown_customer": 1, "slice": 0}, "reason": "unknown_customer"}
for number, id_ in enumerate((A, B)):
    GOOD[f"skip {id_}"] = status(
        4 + number, f"{id_}/0/SKIPPED", "SKIPPED", "dispatch", request_id=id_, **SKIP
    )


def found(output: dict[str, Record], seen_stored: list[registry.Seen] | None = None) -> set[str]:
    """The kinds of findings in what came out."""
    known = registry.learn(REGISTERED, seen_stored or [])
    return set(judge(asking.understand(ASKED), known, output.values(), "saec.").findings.counts)


def without(name: str) -> Callable[[], dict[str, Record]]:
    return lambda: {key: one for key, one in GOOD.items() if key != name}


def and_also(*more: Record) -> Callable[[], dict[str, Record]]:
    return lambda: GOOD | {f"more {number}": one for number, one in enumerate(more)}


def instead(name: str, other: Record) -> Callable[[], dict[str, Record]]:
    return lambda: GOOD | {name: other}


def test_nothing_is_found_in_a_good_run() -> None:
    assert found(GOOD) == set()


@pytest.mark.parametrize(
    ("output", "kinds"),
    [
        pytest.param(without("A c1"), {"missing"}, id="one missing"),
        pytest.param(without("A push"), {"missing"}, id="a slice missing"),
        pytest.param(and_also(replace(GOOD["A c1"], offset=9)), {"duplicate"}, id="twice"),
        pytest.param(
            and_also(message(9, A, "c3", "EMAIL", address="x")),
            {"duplicate", "wrong address", "wrongly skipped"},
        ),
        pytest.param(and_also(message(9, B, "", "PUSH")), {"stopped but sent"}, id="stopped"),
        pytest.param(
            instead(
                "cancelled",
                status(
                    2,
                    "saec.requests/0/2",
                    "TOO_LATE",
                    counts={"messages_stopped": 0, "messages_left": 4},
                ),
            ),
            {"too late but not sent"},
            id="too late",
        ),
        pytest.param(
            instead("A c1", message(0, A, "c1", "EMAIL", dispatched_at=T + 999)), {"early"}
        ),
        pytest.param(
            instead("A c1", message(0, A, "c1", "EMAIL", address="c1.1@example.com")),
            {"wrong address"},
            id="an address that came later",
        ),
        pytest.param(
            instead("A c1", message(0, A, "c1", "EMAIL", requester="x")), {"altered"}, id="altered"
        ),
        pytest.param(
            instead("A c1", replace(GOOD["A c1"], key=b"c2")), {"altered"}, id="another key"
        ),
        pytest.param(
            and_also(message(9, str(uuid.UUID(int=9)), "c1", "EMAIL")),
            {"unexpected"},
            id="nobody asked",
        ),
        pytest.param(without("accepted A"), {"answers lost"}, id="no answer"),
        pytest.param(without("cancelled"), {"answers lost", "missing"}, id="no answer to a cancel"),
        pytest.param(
            and_also(replace(GOOD["accepted A"], offset=9)), {"answers doubled"}, id="two answers"
        ),
        pytest.param(
            and_also(replace(GOOD[f"skip {A}"], offset=9)), {"answers doubled"}, id="two skips"
        ),
        pytest.param(
            instead(
                "accepted A",
                status(0, "saec.requests/0/0", "DUPLICATE", counts=COUNTS),
            ),
            {"answers contradictory"},
            id="another answer",
        ),
        pytest.param(
            instead(
                "cancelled",
                status(
                    2,
                    "saec.requests/0/2",
                    "CANCELLED",
                    counts=STOPPED | {"messages_left": 4},
                ),
            ),
            {"answers contradictory"},
            id="false counts",
        ),
        pytest.param(without("copy"), {"answers contradictory"}, id="no copy"),
        pytest.param(
            instead(
                f"skip {A}",
                status(
                    4,
                    f"{A}/0/SKIPPED",
                    "SKIPPED",
                    "dispatch",
                    request_id=A,
                    counts={"EMAIL.opted_out": 1, "slice": 0},
                ),
            ),
            {"wrongly skipped"},
            id="a reason that cannot be",
        ),
    ],
)
def test_each_kind_is_found(output: Callable[[], dict[str, Record]], kinds: set[str]) -> None:
    assert found(output()) == kinds
    assert kinds <= set(KINDS)


def test_an_address_counts_until_the_next_one_is_known_to_be_stored() -> None:
    """c1's second address was appended at T + 5,000, and seen to be stored at T + 6,000."""
    stored: list[registry.Seen] = [(T + 4_000, {0: 2}), (T + 6_000, {0: 3})]
    for at_ms, address, right in (
        (T + 5_500, "c1.0@example.com", True),
        (T + 5_500, "c1.1@example.com", True),
        (T + 6_001, "c1.0@example.com", False),
        (T + 6_001, "c1.1@example.com", True),
        (T + 4_999, "c1.1@example.com", False),
    ):
        late = message(0, A, "c1", "EMAIL", dispatched_at=at_ms, address=address)
        expected = set() if right else {"wrong address"}
        assert found(instead("A c1", late)(), stored) == expected


def test_what_expired_must_not_go_out() -> None:
    expiring = record("requests", 0, json.dumps(request(A, expires_at=T + 1_400)).encode())
    known = registry.learn(REGISTERED, [])
    late = {
        name: message(number, A, name[2:] if "c" in name else "", channel, expires_at=T + 1_400)
        for number, (name, channel) in enumerate(
            [("A c1", "EMAIL"), ("A c2", "EMAIL"), ("A push", "PUSH")]
        )
    }
    output = judge(
        asking.understand([expiring, *ASKED[1:]]), known, (GOOD | late).values(), "saec."
    )
    assert output.findings.counts["sent after expiry"] == 3
