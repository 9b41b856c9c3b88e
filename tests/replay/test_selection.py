"""Which records a selection takes; it never fails on one."""

import json
from dataclasses import replace
from typing import Any

import pytest

from saec.kafka.records import Incoming
from saec.replay.selection import Choice, Offsets, Selection, choose

ID, OTHER = "6d1f0c1e-2a55-4c3e-9a39-0f1f1d6d8f10", "00000000-0000-0000-0000-000000000001"
SCHEDULE = {
    "type": "saec.v1.ScheduleRequested",
    "id": ID,
    "campaign_id": "may",
    "customers": ["42", "43"],
}


def record(value: Any = SCHEDULE, key: bytes | None = ID.encode(), at_ms: int = 1_000) -> Incoming:
    data = value if value is None or isinstance(value, bytes) else json.dumps(value).encode()
    return Incoming("t", 0, 0, at_ms, key, data, [])


def chosen(source: Incoming, **given: Any) -> Choice:
    return choose(Selection("t", **given), source)


@pytest.mark.parametrize(
    ("given", "choice"),
    [
        ({}, Choice.CHOSEN),
        ({"campaign": "may"}, Choice.CHOSEN),
        ({"campaign": "june"}, Choice.OTHER),
        ({"customer": "43"}, Choice.CHOSEN),
        ({"customer": "44"}, Choice.OTHER),
        ({"request": ID}, Choice.CHOSEN),
        ({"request": OTHER}, Choice.OTHER),
        ({"request": ID, "customer": "42", "campaign": "may"}, Choice.CHOSEN),
        ({"request": ID, "customer": "42", "campaign": "june"}, Choice.OTHER),
        ({"request": ID, "since_ms": 1_000, "until_ms": 1_001}, Choice.CHOSEN),
        ({"request": ID, "since_ms": 1_001}, Choice.OTHER),
        ({"until_ms": 1_000}, Choice.OTHER),
        ({"since_ms": 1_000}, Choice.CHOSEN),
    ],
)
def test_all_that_is_given_has_to_hold(given: dict[str, Any], choice: Choice) -> None:
    assert chosen(record(), **given) is choice


@pytest.mark.parametrize("value", [b"", b"\xff", b"{", b"{}", b"\xc3\x01", b"[" * 100_000])
def test_what_cannot_be_read_is_left_out_and_counted(value: bytes) -> None:
    assert chosen(record(value)) is Choice.CHOSEN
    assert chosen(record(value), campaign="may") is Choice.UNREADABLE
    assert chosen(record(value), request=OTHER) is Choice.UNREADABLE
    assert chosen(record(value), request=OTHER, since_ms=2_000) is Choice.OTHER
    assert chosen(record(value, key=b"\xff"), request=OTHER) is Choice.UNREADABLE
    assert chosen(record(value, key=None), request=OTHER) is Choice.UNREADABLE


def test_what_cannot_be_read_has_its_key() -> None:
    """As in saec.rejected, where the key is that of the refused request."""
    assert chosen(record(b"{"), request=ID) is Choice.CHOSEN


def test_an_erasure_has_its_key() -> None:
    assert chosen(record(None, b"42"), customer="42") is Choice.CHOSEN
    assert chosen(record(None, b"42"), customer="43") is Choice.OTHER
    assert chosen(record(None, b"42"), campaign="may") is Choice.OTHER


def test_a_key_says_nothing_where_the_value_does() -> None:
    cancel = {"type": "saec.v1.CancelRequested", "id": OTHER}
    assert chosen(record(cancel), request=ID) is Choice.OTHER


def test_the_digest_is_that_of_what_is_selected() -> None:
    base = Selection("t", 1, 2, (Offsets(0, 1), Offsets(1, 2, 3)), "a", "b", "c")
    same = replace(base, offsets=[Offsets(1, 2, 3), Offsets(0, 1)])
    assert base.digest("x", "y") == same.digest("x", "y")
    others = [
        base.digest("x", "z"),
        base.digest("xy"),
        *(
            replace(base, **change).digest("x", "y")
            for change in (
                {"topic": "u"},
                {"since_ms": None},
                {"until_ms": 1},
                {"offsets": ()},
                {"campaign": "b"},
                {"customer": None, "campaign": "b"},
                {"request": None},
            )
        ),
    ]
    assert len({*others, base.digest("x", "y")}) == len(others) + 1
