"""Whoever follows the pages gets each request once, newest first, and no page looks far."""

from collections.abc import Callable, Iterator
from itertools import repeat
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from saec.contracts.events import Lane, bits_to_channels
from saec.store import listing
from saec.store.engine import Engine, transaction
from saec.store.history import Account, State
from saec.store.listing import LOOKED_AT, Cursor, Filters, Page, read_page
from tests.store.stored import Stored, empty, store

EXAMPLES = 150
OURS, THEIRS = "billing", "crm"
EVERY = list(bits_to_channels(15))

instants = st.integers(0, 3)
campaigns = st.sampled_from([None, "c1", "c2"])


def stored(accepted: st.SearchStrategy[int] = instants) -> st.SearchStrategy[Stored]:
    """Requests that often share an instant, a campaign, a channel."""
    return st.builds(
        Stored,
        state=st.sampled_from(State),
        requester=st.sampled_from([OURS, OURS, THEIRS]),
        campaign_id=campaigns,
        channels=st.integers(1, 15),
        lane=st.integers(0, 1),
        due_at_ms=instants,
        accepted_at_ms=accepted,
        id=st.uuids(),
    )


several = st.lists(stored(), max_size=12, unique_by=lambda one: one.id)
filters = st.builds(
    Filters,
    state=st.none() | st.sampled_from(State),
    channel=st.none() | st.sampled_from(EVERY),
    lane=st.none() | st.sampled_from(Lane),
    campaign_id=campaigns,
    due_from_ms=st.none() | instants,
    due_to_ms=st.none() | instants,
)


def fits(one: Stored, wanted: Filters) -> bool:
    """What the filters mean, said again."""
    return (
        one.requester == OURS
        and wanted.state in {None, one.state}
        and (wanted.channel is None or wanted.channel in bits_to_channels(one.channels))
        and (wanted.lane is None or wanted.lane.rank == one.lane)
        and wanted.campaign_id in {None, one.campaign_id}
        and (wanted.due_from_ms is None or one.due_at_ms >= wanted.due_from_ms)
        and (wanted.due_to_ms is None or one.due_at_ms < wanted.due_to_ms)
    )


def place(one: Stored | Account) -> tuple[int, UUID]:
    """Where it stands in the order."""
    return one.accepted_at_ms, one.id if isinstance(one, Stored) else one.request_id


def pages(
    engine: Engine, wanted: Filters, limit: int, between: Callable[[], None] = lambda: None
) -> Iterator[Page]:
    """Every page, each as the endpoint reads it; `between` is called after each."""
    after: Cursor | None = None
    for _ in repeat(None, 1_000):
        with transaction(engine, snapshot=True) as connection:
            page = read_page(connection, OURS, wanted, limit, after)
        yield page
        between()
        if page.next is None:
            return
        assert after is None or place_of(page.next) < place_of(after)
        after = page.next
    pytest.fail("no end")


def place_of(cursor: Cursor) -> tuple[int, UUID]:
    return cursor.accepted_at_ms, cursor.request_id


@settings(max_examples=EXAMPLES)
@given(
    before=several,
    meanwhile=several,
    wanted=filters,
    limit=st.integers(1, 5),
    looked_at=st.integers(1, 6),
    at_once=st.integers(1, 4),
)
def test_each_request_comes_once(
    migrated: Engine,
    before: list[Stored],
    meanwhile: list[Stored],
    wanted: Filters,
    limit: int,
    looked_at: int,
    at_once: int,
) -> None:
    """Also while others are stored; these come once or not, wherever they stand in the order."""
    empty(migrated)
    store(migrated, before)
    known = {one.id for one in before}
    arriving = iter([one for one in meanwhile if one.id not in known])

    def arrive() -> None:
        store(migrated, [one for one in [next(arriving, None)] if one])

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(listing, "LOOKED_AT", looked_at)
        patched.setattr(listing, "_ACCOUNTS_AT_ONCE", at_once)
        found = list(pages(migrated, wanted, limit, arrive))
    accounts = [account for page in found for account in page.accounts]
    places = [place(account) for account in accounts]
    expected = {one.id: one for one in before if fits(one, wanted)}
    assert all(len(page.accounts) <= limit for page in found)
    assert places == sorted(set(places), reverse=True)
    assert {account.request_id for account in accounts} & known == set(expected)
    possible = expected | {one.id: one for one in meanwhile if fits(one, wanted)}
    for account in accounts:
        one = possible[account.request_id]
        assert (account.state, account.campaign_id) == (one.state, one.campaign_id)
        assert account.total == one.messages


def test_the_last_page_says_so(migrated: Engine) -> None:
    """Nobody asks for a page that is empty for sure."""
    empty(migrated)
    store(migrated, [Stored(accepted_at_ms=n) for n in range(6)])
    found = list(pages(migrated, Filters(), 3))
    assert [[account.accepted_at_ms for account in page.accounts] for page in found] == [
        [5, 4, 3],
        [2, 1, 0],
    ]


def test_nothing_stored(migrated: Engine) -> None:
    empty(migrated)
    assert list(pages(migrated, Filters(), 3)) == [Page((), None)]


@pytest.mark.parametrize("wanted", [Filters(campaign_id="c1"), Filters(state=State.CANCELLED)])
def test_a_page_may_be_empty_and_not_the_last(migrated: Engine, wanted: Filters) -> None:
    """What fits stands behind more than a page looks at."""
    empty(migrated)
    oldest = Stored(campaign_id="c1", state=State.CANCELLED)
    others = [Stored(accepted_at_ms=n) for n in range(1, LOOKED_AT + 1)]
    store(migrated, [oldest, *others])
    first, second = pages(migrated, wanted, 10)
    assert first == Page((), Cursor(1, others[0].id))
    assert [account.request_id for account in second.accounts] == [oldest.id]


@pytest.mark.parametrize("at_ms", [-(10**30), -1, 2**63 - 1, 10**30])
def test_a_cursor_may_lie_anywhere(migrated: Engine, at_ms: int) -> None:
    """What comes in from outside is bounded elsewhere; here it is no error."""
    empty(migrated)
    one = Stored(accepted_at_ms=5)
    store(migrated, [one])
    with transaction(migrated, snapshot=True) as connection:
        page = read_page(connection, OURS, Filters(), 10, Cursor(at_ms, UUID(int=0)))
    assert [account.request_id for account in page.accounts] == ([one.id] if at_ms > 5 else [])
    assert page.next is None
