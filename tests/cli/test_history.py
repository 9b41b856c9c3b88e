"""`saec history`: how a story is shown; what it is made of is tested in tests/history."""

import json
from typing import Any
from uuid import UUID, uuid4

import pytest
from typer.testing import Result

from tests.cli.conftest import Run, environment
from tests.history.conftest import backup_of, make_scene, make_told, scene, told
from tests.history.kit import Told

__all__ = ["backup_of", "make_scene", "make_told", "scene", "told"]

HOUR_MS = 3_600_000


@pytest.fixture
def history(saec: Run, told: Told) -> Any:
    """Runs `saec history ID ARGS` on the scene."""

    def run(request_id: UUID, *args: str) -> Result:
        return saec("history", str(request_id), *args, **environment(told.settings))

    return run


def test_a_line_an_event_with_instant_and_place(told: Told, history: Any) -> None:
    request_id = told.sent(channels=["EMAIL", "PUSH"], customers=["ana", "nobody"])
    result = history(request_id)
    assert result.exit_code == 0, result.output
    head, *lines = result.stdout.splitlines()
    assert head == f"{request_id}  SENT (ENVIADA)"
    events = [line for line in lines if not line.startswith(" ")]
    assert [line.split()[1] for line in events] == [
        "asked", "answered", "dispatched", "skipped", "answered",
    ]  # fmt: skip
    assert "by tests: EMAIL, PUSH to 3 recipients" in events[0]
    assert "batch 1 of shard" in events[2]
    assert ": slices 0-1, 2 messages  " in events[2]
    assert "slice 0: 1 message by EMAIL: unknown_customer" in events[3]
    prefix = told.settings.topic_prefix
    indented = [line.split() for line in lines if line.startswith(" ")]
    assert [line[:-1] for line in indented] == [["EMAIL", "customer", "ana"], ["PUSH", "everyone"]]
    assert indented[0][-1].startswith(f"{prefix}dispatch.email/")


def test_many_messages_are_counted_and_shown_when_asked_for(told: Told, history: Any) -> None:
    customers = [f"c{number}" for number in range(12)]
    told.scene.register(*customers)
    request_id = told.sent(customers=customers)
    assert "and 2 more: --messages 12 shows them, --json all" in history(request_id).stdout
    assert history(request_id, "--messages", "12").stdout.count("customer c") == 12
    assert history(request_id, "--messages", "0").stdout.count("customer c") == 0
    shown = json.loads(history(request_id, "--json").stdout)
    (batch,) = [event for event in shown["events"] if event["event"] == "dispatched"]
    assert {message["customer_id"] for message in batch["messages"]} == set(customers)


def test_json_has_stable_names(told: Told, history: Any) -> None:
    request_id = told.ask(customers=["ana", "nobody"], channels=["EMAIL"])
    told.scene.dispatch()
    told.cancel(request_id)
    shown = json.loads(history(request_id, "--json").stdout)
    assert {name: shown[name] for name in ("request_id", "state", "contradicts")} == {
        "request_id": str(request_id),
        "state": "SENT",
        "contradicts": False,
    }
    fields = {event["event"]: set(event) for event in shown["events"]}
    place = {"event", "at", "topic", "partition", "offset"}
    assert fields == {
        "asked": place
        | {"requester", "campaign_id", "channels", "recipients", "due_at", "expires_at"},
        "answered": place | {"status", "reason", "detail", "counts", "about"},
        "dispatched": place | {"shard", "batch", "slices", "messages"},
        "skipped": place | {"slice", "channel", "reason", "messages"},
        "cancel_asked": place | {"requester"},
    }
    (batch,) = [event for event in shown["events"] if event["event"] == "dispatched"]
    assert batch["slices"] == [{"slice": 0, "recipients": 2, "messages": 1}]
    assert set(batch["messages"][0]) == {
        "channel", "customer_id", "message_id", "topic", "partition", "offset",
    }  # fmt: skip


def test_pending_is_told_with_its_due_instant(told: Told, history: Any) -> None:
    request_id = told.ask(due_in_ms=HOUR_MS)
    assert "pending         slice 0: EMAIL to 1 recipient" in history(request_id).stdout
    (pending,) = [
        event
        for event in json.loads(history(request_id, "--json").stdout)["events"]
        if event["event"] == "pending"
    ]
    assert (pending["claimed"], pending["topic"]) == (False, None)


def test_a_contradiction_is_shown_and_exit_code_1(told: Told, history: Any) -> None:
    request_id = told.ask()
    told.scene.installed.execute("DELETE FROM pending")
    result = history(request_id)
    assert result.exit_code == 1
    assert "contradiction   1 message dispatched or skipped: no batch in" in result.stdout
    assert json.loads(history(request_id, "--json").stdout)["contradicts"] is True


def test_what_is_not_stored_is_exit_code_1_with_what_to_do(told: Told, history: Any) -> None:
    unknown = uuid4()
    result = history(unknown)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert f"saec history {unknown} --since 2h" in result.stderr
    later = history(unknown, "--since", "2h")
    assert later.exit_code == 1
    assert "saec doctor" in later.stderr


def test_a_refusal_is_shown_with_since(told: Told, history: Any) -> None:
    request_id = told.ask(due_in_ms=-HOUR_MS)
    result = history(request_id, "--since", "10m")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith(f"{request_id}  not stored\n")
    assert "REJECTED  due_in_the_past" in result.stdout


@pytest.mark.parametrize("args", [("42",), (str(uuid4()), "--since", "yesterday")])
def test_wrong_usage_is_exit_code_2(saec: Run, args: tuple[str, ...]) -> None:
    assert saec("history", *args).exit_code == 2
