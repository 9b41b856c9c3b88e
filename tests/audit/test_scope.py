"""A part of the requests: what is wrong in it shows, and what is wrong outside does not."""

from collections.abc import Callable

import pytest

from saec.audit import Kind, Scope
from saec.contracts.events import Channel
from tests.audit.conftest import Told
from tests.audit.history import History
from tests.audit.judge import Judge
from tests.audit.test_planted import FOREIGN, PLANTS

EMAIL = Channel.EMAIL
# Planted in the request of the shop, of the campaign `spring`.
OF_THE_SHOP = [
    "a message is missing",
    "a slice is missing everywhere",
    "a message is there twice in two partitions",
    "a customer who was not asked for",
    "altered: body",
    "altered: campaign",
    "altered: requester",
    "altered: due_at",
    "another key",
    "in another channels topic",
    "a slice is not in the ledger",
    "a slice is in the ledger twice",
    "unanswered, and dispatched",
    "answered twice",
]


def _around(_: History, told: Told) -> Scope:
    due_ms = told.history.message(told.story.ids["campaign"], EMAIL, "p1").fields()["due_at"]
    return Scope(since_ms=due_ms, until_ms=due_ms + 1)


SCOPES: dict[str, Callable[[History, Told], Scope]] = {
    "campaign": lambda h, told: Scope(campaign_id="spring"),
    "requester": lambda h, told: Scope(requester="shop"),
    "since and until": _around,
}


@pytest.mark.parametrize("scope", SCOPES)
def test_counts_are_those_of_the_part(scope: str, told: Told, judge: Judge) -> None:
    judged = judge(told.story.settings, SCOPES[scope](told.history, told))
    pending = 6 if scope == "campaign" else 0
    assert judged.findings == ()
    assert judged.total() == {
        "asked": 5 + pending,
        "expected": 5,
        "dispatched": 5,
        **({"awaited": pending} if pending else {}),
    }


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("name", OF_THE_SHOP)
def test_what_is_wrong_inside_is_found(name: str, scope: str, told: Told, judge: Judge) -> None:
    history = told.history.copy()
    expected = PLANTS[name](history, told.story.ids)
    with history.written(told.story.settings.bootstrap_servers) as settings:
        judged = judge(settings, SCOPES[scope](history, told))
    assert {one.kind for one in judged.findings} == {one.kind for one in expected}
    assert sum(one.messages for one in judged.findings) == sum(one.messages for one in expected)


@pytest.mark.parametrize(
    "scope", [Scope(campaign_id="autumn"), Scope(requester="nobody"), Scope(until_ms=1)], ids=repr
)
def test_what_is_wrong_outside_is_not(scope: Scope, told: Told, judge: Judge) -> None:
    history = told.history.copy()
    PLANTS["a message is missing"](history, told.story.ids)
    PLANTS["a push is there three times"](history, told.story.ids)
    PLANTS["nobody asked"](history, told.story.ids)
    PLANTS["a slice is in the ledger twice"](history, told.story.ids)
    PLANTS["unanswered, and refused"](history, told.story.ids)
    PLANTS["an unanswered cancel"](history, told.story.ids)
    with history.written(told.story.settings.bootstrap_servers) as settings:
        judged = judge(settings, scope)
    assert judged.findings == ()


def test_what_belongs_to_nobody_shows_in_every_part(told: Told, judge: Judge) -> None:
    history = told.history.copy()
    history.insert(EMAIL, FOREIGN["garbage"](EMAIL))
    with history.written(told.story.settings.bootstrap_servers) as settings:
        judged = judge(settings, Scope(campaign_id="autumn"))
    assert [one.kind for one in judged.findings] == [Kind.FOREIGN]


def test_since_reads_from_there_with_a_margin(told: Told, judge: Judge) -> None:
    """Clocks differ: a message may be stamped a little before it was due."""
    history, id_ = told.history.copy(), told.story.ids["single"]
    one = history.message(id_, EMAIL)
    due_ms = one.fields()["due_at"]
    one.stamp_ms = due_ms - 5
    with history.written(told.story.settings.bootstrap_servers) as settings:
        judged = judge(settings, Scope(since_ms=due_ms, until_ms=due_ms + 1))
    assert [(found.kind, found.request_id) for found in judged.findings] == [(Kind.EARLY, id_)]
