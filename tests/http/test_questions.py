"""What is published is what was sent, valid by SAEC's own reading, in the name of the key."""

import json
import uuid
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from saec.contracts.decode import decode_request
from saec.contracts.events import CancelRequested, Channel, ScheduleRequested
from saec.contracts.rejected import RejectedError
from saec.errors import Reason
from saec.http.questions import CANCEL, SCHEDULE, Question, of_cancel, of_line, of_request
from tests.contracts.values import ID, MAX_BYTES, ids, lines, uuids

HEADERS = [("content-type", b"application/json")]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)
FIELDS = ["type", "id", "requester", "channels", "customers", "due_at", "message", "lane"]
Make = Callable[[bytes], Question]
WAYS: dict[str, Make] = {
    "one": lambda body: of_request(body, "billing", MAX_BYTES),
    "line": lambda body: of_line(body, "billing", MAX_BYTES),
    "cancel": lambda body: of_cancel(body, ID, "billing"),
}


def schedule(**changes: Any) -> dict[str, Any]:
    """A valid request without anything that may be left out."""
    return {
        "channels": ["EMAIL"],
        "customers": ["42"],
        "due_at": "2126-12-01T09:00:00-03:00",
        "message": {"body": "Olá", "content_type": "text/plain", "subject": "Oi"},
        **changes,
    }


def read_as_ingest_does(question: Question) -> ScheduleRequested | CancelRequested:
    return decode_request(question.value, HEADERS, MAX_BYTES)


def outcome(make: Callable[[], object]) -> object:
    """What is made, or how it is refused; whatever else is raised fails the test."""
    try:
        return make()
    except RejectedError as error:
        return error.reason, error.detail


def refusal(make: Callable[[], object]) -> RejectedError:
    with pytest.raises(RejectedError) as caught:
        make()
    return caught.value


requests = st.fixed_dictionaries(
    {
        "channels": st.lists(st.sampled_from(Channel), min_size=1, unique=True),
        "customers": st.lists(ids, max_size=3, unique=True),
        "due_at": st.integers(0, 253_402_300_799_999),
        "message": st.fixed_dictionaries(
            {
                "body": st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])),
                "content_type": st.just("text/plain"),
                "subject": lines,
            }
        ),
    },
    optional={
        "type": st.just(SCHEDULE),
        "id": uuids.map(str),
        "requester": st.just("billing"),
        "campaign_id": st.none() | ids,
        "lane": st.sampled_from(["TRANSACTIONAL", "CAMPAIGN"]),
    },
)


@settings(deadline=None)
@given(requests, st.sampled_from([{}, {"ensure_ascii": False}, {"indent": 2}]))
def test_what_is_published_is_the_event_that_was_sent(
    fields: dict[str, Any], written: dict[str, Any]
) -> None:
    body = json.dumps(fields, **written).encode()
    question = outcome(lambda: of_request(body, "billing", MAX_BYTES))
    id_ = question.request_id if isinstance(question, Question) else ID
    whole = json.dumps({"type": SCHEDULE, "id": id_, "requester": "billing", **fields}).encode()
    by_hand = outcome(lambda: decode_request(whole, HEADERS, MAX_BYTES))
    if not isinstance(question, Question):
        assert question == by_hand
        return
    event = read_as_ingest_does(question)
    assert event == by_hand
    assert (event.requester, str(event.id)) == ("billing", id_)
    assert question.action == "schedule"
    assert fields.get("id", id_) == id_
    if fields.keys() >= {"type", "id", "requester"}:
        assert question.value == body


def test_an_example_is_valid() -> None:
    """Else the test above would compare refusals alone."""
    event = read_as_ingest_does(of_request(json.dumps(schedule()).encode(), "billing", MAX_BYTES))
    assert isinstance(event, ScheduleRequested)
    assert event.channels == (Channel.EMAIL,)


@pytest.mark.parametrize("way", ["one", "line"])
def test_a_whole_request_is_published_byte_by_byte(way: str) -> None:
    whole = schedule(type=SCHEDULE, id=ID, requester="billing")
    body = b" \r\n" + json.dumps(whole, indent=1).encode() + b" \r"
    assert WAYS[way](body) == Question("schedule", ID, body)


def test_each_request_without_an_id_gets_one_of_its_own() -> None:
    body = json.dumps(schedule()).encode()
    made = {of_request(body, "billing", MAX_BYTES).request_id for _ in range(50)}
    assert len(made) == 50
    assert all(UUID(id_).version == 4 for id_ in made)


def test_null_is_as_good_as_left_out() -> None:
    nulls = dict.fromkeys(("type", "id", "requester", "campaign_id", "lane", "expires_at"))
    question = of_request(json.dumps(schedule(**nulls)).encode(), "billing", MAX_BYTES)
    assert read_as_ingest_does(question).requester == "billing"
    with pytest.raises(RejectedError, match="choose one"):
        of_line(json.dumps(schedule(**nulls)).encode(), "billing", MAX_BYTES)
    cancel = of_cancel(b'{"requester":null}', ID, "billing")
    assert read_as_ingest_does(cancel).requester == "billing"


@settings(deadline=None)
@given(st.binary())
@example(b"\xff")
@example(b'{"id":"\\ud800"}')
@example(b'{"due_at":' + b"9" * 5_000 + b"}")
@example(b'{"due_at":1e999}')
@example(b"[" * 100_000)
@example(b'{"a":' * 100_000)
@example(b'{"type":null}')
@example(b'{"type":{}}')
@example(b'{"requester":[]}')
@example(b"null")
def test_no_bytes_raise_anything_but_a_refusal(body: bytes) -> None:
    for make in WAYS.values():
        question = outcome(lambda make=make: make(body))
        if isinstance(question, Question):
            assert read_as_ingest_does(question).requester == "billing"


@settings(deadline=None)
@given(
    st.dictionaries(st.sampled_from(FIELDS), JSON, min_size=1, max_size=3),
    st.sampled_from(sorted(WAYS)),
)
@example({"type": CANCEL}, "line")
@example({"id": "\ud800"}, "one")
@example({"id": float("nan")}, "one")
def test_one_validation_for_what_comes_by_http_and_by_the_topic(
    changes: dict[str, Any], way: str
) -> None:
    """Whatever is wrong with a field: nothing else is raised, and what passes here passes there."""
    fields = schedule(**{"id": ID, **changes})
    for ascii_only in (True, False):
        body = json.dumps(fields, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
        question = outcome(lambda body=body: WAYS[way](body))
        if isinstance(question, Question):
            event = read_as_ingest_does(question)
            assert (event.requester, str(event.id)) == ("billing", question.request_id)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("other", ["someone", "Billing", "billing ", "", ["billing"], 1])
def test_nobody_acts_in_anothers_name(way: str, other: object) -> None:
    fields = {"requester": other}
    if way != "cancel":
        fields |= schedule(id=ID)
    error = refusal(lambda: WAYS[way](json.dumps(fields).encode()))
    is_name = isinstance(other, str) and other.strip() == other and other
    assert error.reason == (Reason.OTHER_REQUESTER if is_name else Reason.INVALID_EVENT)
    assert str(error.request_id) == ID
    assert "someone" not in error.detail
    assert "billing" not in error.detail.lower()


@pytest.mark.parametrize("type_", [CANCEL, "saec.v1.CustomerRegistered", "", 1, [], {}])
def test_only_a_request_is_taken_where_one_is_sent(type_: object) -> None:
    body = json.dumps(schedule(type=type_, id=ID)).encode()
    assert refusal(lambda: of_request(body, "billing", MAX_BYTES)).reason == (
        Reason.UNKNOWN_EVENT_TYPE
    )


def test_a_line_may_be_a_cancel() -> None:
    body = json.dumps({"type": CANCEL, "id": ID}).encode()
    question = of_line(body, "billing", MAX_BYTES)
    assert (question.action, question.request_id) == ("cancel", ID)
    event = read_as_ingest_does(question)
    assert isinstance(event, CancelRequested)
    assert event.requester == "billing"


def test_a_line_must_have_an_id() -> None:
    """One that is made up here would be another one when the line is sent again."""
    error = refusal(lambda: WAYS["line"](json.dumps(schedule()).encode()))
    assert error.reason == Reason.INVALID_ID
    assert "id" in error.detail


@pytest.mark.parametrize("way", ["one", "line"])
@pytest.mark.parametrize("id_", ["", "1", 1, ID.upper(), f"{{{ID}}}", ID.replace("-", "")])
def test_an_id_that_is_none_is_not_replaced(way: str, id_: object) -> None:
    error = refusal(lambda: WAYS[way](json.dumps(schedule(id=id_)).encode()))
    assert error.reason == Reason.INVALID_ID


@pytest.mark.parametrize("body", [b"", b" \r\n", b"{}", b'{"requester":"billing"}'])
def test_a_cancel_of_the_path(body: bytes) -> None:
    question = WAYS["cancel"](body)
    event = read_as_ingest_does(question)
    assert isinstance(event, CancelRequested)
    assert (question.action, str(event.id), event.requester) == ("cancel", ID, "billing")


@pytest.mark.parametrize(
    "body", [b'{"id":"1"}', b'{"type":"saec.v1.CancelRequested"}', b'{"x":1}', b"[]", b"1", b"{"]
)
def test_a_cancel_says_nothing_else(body: bytes) -> None:
    refusal(lambda: WAYS["cancel"](body))


@pytest.mark.parametrize("id_", ["", "1", ID.upper(), f"{ID}\n", "../requests", "x" * 3_000])
def test_a_path_that_names_no_request(id_: str) -> None:
    error = refusal(lambda: of_cancel(b"", id_, "billing"))
    assert error.reason == Reason.INVALID_ID
    assert not id_ or id_ not in error.detail


def test_what_is_added_counts_as_well() -> None:
    """What is published is never larger than what SAEC takes from the topic."""
    fields = schedule(id=str(uuid.uuid4()))
    whole = {**fields, "type": SCHEDULE, "requester": "billing"}
    size = len(json.dumps(whole, ensure_ascii=False, separators=(",", ":")).encode())
    body = json.dumps(fields, ensure_ascii=False).encode()
    assert len(of_request(body, "billing", size).value) == size
    error = refusal(lambda: of_request(body, "billing", size - 1))
    assert error.reason == Reason.VALUE_TOO_LARGE
