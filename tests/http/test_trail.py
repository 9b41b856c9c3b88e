"""Each change has one line in the trail: who, what, and how it ended; nothing of the content."""

import asyncio
import json
from collections.abc import Callable

import pytest
from aiolimiter import AsyncLimiter
from starlette.requests import ClientDisconnect
from structlog.testing import capture_logs

from saec.contracts.rejected import RejectedError
from saec.errors import BrokerUnavailableError, Reason
from saec.http.keyring import Holder
from saec.http.problems import Code, Problem
from saec.http.trail import Change, Trail
from saec.kafka.async_producer import Appended
from saec.keys import Scope, new_key
from saec.store.keys import KeyRow
from tests.http.kit import CLIENT, asked

ID = "6d1f0c1e-2a55-4c3e-9a39-0f1f1d6d8f10"
SECRET, KEY_ID, HASH = new_key()
ROW = KeyRow(KEY_ID, HASH, "a job", "billing", (Scope.SCHEDULE,), None, 0, None, None)
TRAIL = Trail.of(Holder(ROW, AsyncLimiter(1)), asked(headers={"authorization": SECRET}))


def told(work: Callable[[Change], object]) -> tuple[dict[str, object], BaseException | None]:
    """The line of a change in which `work` is done, and what it ends with."""
    ended: BaseException | None = None
    with capture_logs() as logs:
        try:
            with TRAIL.change("schedule") as change:
                work(change)
        except BaseException as error:
            ended = error
    (line,) = logs
    return dict(line), ended


def fails_with(error: BaseException) -> Callable[[Change], object]:
    def work(change: Change) -> None:
        change.request_id = ID
        raise error

    return work


def test_a_change_that_was_published() -> None:
    def work(change: Change) -> None:
        change.request_id, change.record = ID, Appended("requests", 1, 42)

    line, ended = told(work)
    assert ended is None
    assert line == {
        "event": "change",
        "log_level": "info",
        "action": "schedule",
        "outcome": "published",
        "request_id": ID,
        "record": "requests/1/42",
        "key": KEY_ID,
        "requester": "billing",
        "client": CLIENT,
    }


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (RejectedError(Reason.INVALID_JSON, "not JSON"), 400, "invalid_json"),
        (RejectedError(Reason.OTHER_REQUESTER, "requester: another"), 403, "other_requester"),
        (BrokerUnavailableError("timed out"), 503, "kafka_unavailable"),
        (Problem(409, Code.TOO_LATE, "had left"), 409, "too_late"),
    ],
)
def test_a_change_that_was_refused(error: Exception, status: int, code: str) -> None:
    """The line says what the caller sees."""
    line, ended = told(fails_with(error))
    assert isinstance(ended, Problem)
    assert (ended.status, ended.code) == (status, code)
    assert line["outcome"] == code
    assert line["request_id"] == ID
    if not isinstance(error, Problem):
        assert json.loads(ended.body)["request_id"] == ID


@pytest.mark.parametrize(
    "error", [ClientDisconnect(), asyncio.CancelledError(), RuntimeError("ana@example.com")]
)
def test_a_change_that_was_broken_off(error: BaseException) -> None:
    """Told as well: it may have been published."""
    line, ended = told(fails_with(error))
    assert ended is error
    assert (line["outcome"], line["request_id"]) == ("broken_off", ID)
    assert "ana@example.com" not in str(line)


def test_a_line_tells_no_secret() -> None:
    line, _ = told(lambda _: None)
    assert SECRET[-64:] not in str(line)
    assert HASH.hex() not in str(line)
    assert repr(HASH) not in str(line)


def test_the_address_may_be_unknown() -> None:
    request = asked()
    del request.scope["client"]
    assert Trail.of(TRAIL.holder, request).client is None
