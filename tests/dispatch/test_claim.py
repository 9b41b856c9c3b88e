"""The claim transaction and the snapshot behind it, on a real PostgreSQL."""

import threading
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from saec.dispatch.batch import Claim, Finished
from saec.dispatch.claim import claim_due
from saec.dispatch.errors import HaltError
from saec.dispatch.read import read_claimed
from saec.store import shards
from saec.store.engine import StoreConflictError, transaction
from saec.store.pending import Choice
from saec.store.shards import Owned, ShardsLostError, UnexpectedBatchError
from tests.dispatch.kit import Installed, claimed

ME = "me"


@pytest.fixture
def owned(installed: Installed) -> dict[int, Owned]:
    """Every shard, mine."""
    with transaction(installed.engine) as connection:
        return shards.compare_and_set(connection, ME, shards.look(connection, installed.shards))


def claim(
    installed: Installed,
    owned: dict[int, Owned],
    finished: tuple[Finished, ...] = (),
    batch_messages: int = 5_000,
) -> tuple[Claim | None, dict[int, Owned]]:
    return claim_due(installed.engine, ME, owned, finished, batch_messages)


def chosen(installed: Installed, found: Claim | None) -> list[uuid.UUID]:
    return [slice_.request_id for slice_ in claimed(installed.engine, found)]


def finished(
    installed: Installed, found: Claim, next_offset: int | None = None, *, own: bool = True
) -> tuple[Finished, ...]:
    """The batches of a claim as if the ledger held them: my own, or known from there only."""
    slices: dict[int, list[tuple[uuid.UUID, int]]] = {}
    for slice_ in claimed(installed.engine, found):
        slices.setdefault(slice_.shard, []).append((slice_.request_id, slice_.slice_no))
    return tuple(
        Finished(
            shard,
            number,
            slices[shard],
            [],
            49 + number if next_offset is None else next_offset,
            found.runs_of(shard) if own else None,
        )
        for shard, number in found.batch_nos.items()
    )


def test_only_what_is_due_is_chosen_oldest_first_and_transactional_before_campaigns(
    installed: Installed, owned: dict[int, Owned]
) -> None:
    campaign = installed.ask(due_in_ms=-9_000, lane="CAMPAIGN")
    late = installed.ask(due_in_ms=-1_000)
    installed.ask(due_in_ms=60_000)
    earlier = installed.ask(due_in_ms=-5_000)
    found, _ = claim(installed, owned)
    assert chosen(installed, found) == [earlier, late, campaign]


def test_equal_instants_go_in_the_order_of_arrival(
    installed: Installed, owned: dict[int, Owned]
) -> None:
    due_at = installed.now_ms() - 1_000
    asked = [installed.ask(due_at=due_at, shard=1) for _ in range(5)]
    found, _ = claim(installed, owned)
    assert chosen(installed, found) == asked


def test_a_batch_is_bounded_in_messages_but_never_empty(
    installed: Installed, owned: dict[int, Owned]
) -> None:
    first = installed.ask(due_in_ms=-9_000, customers=("ana", "bia"), lane="TRANSACTIONAL")
    second = installed.ask(due_in_ms=-8_000)
    found, owned = claim(installed, owned, batch_messages=1)
    assert chosen(installed, found) == [first]
    found, _ = claim(installed, owned, batch_messages=2)
    assert chosen(installed, found) == [second]


@pytest.mark.parametrize(
    ("transactional_due_in_ms", "taken"), [(None, 6), (60_000, 6), (200, 3), (-1_000, 2)]
)
def test_campaigns_take_small_parts_while_transactional_messages_are_about_to_be_due(
    installed: Installed,
    owned: dict[int, Owned],
    transactional_due_in_ms: int | None,
    taken: int,
) -> None:
    """The part counts what goes before it."""
    campaign = [installed.ask(due_in_ms=-9_000, lane="CAMPAIGN") for _ in range(6)]
    if transactional_due_in_ms is not None:
        installed.ask(due_in_ms=transactional_due_in_ms)
    found, _ = claim_due(installed.engine, ME, owned, (), 100, choice=Choice(beside_messages=3))
    assert len([one for one in chosen(installed, found) if one in campaign]) == taken


def test_a_campaign_s_slice_that_is_larger_than_its_part_moves_on_all_the_same(
    installed: Installed, owned: dict[int, Owned]
) -> None:
    large = installed.ask(due_in_ms=-9_000, customers=("ana", "bia", "caio"), lane="CAMPAIGN")
    first = installed.ask(due_in_ms=-1_000)
    found, _ = claim_due(installed.engine, ME, owned, (), 100, choice=Choice(beside_messages=2))
    assert chosen(installed, found) == [first, large]


def test_claimed_slices_are_not_chosen_again_and_the_next_batch_has_the_next_number(
    installed: Installed, owned: dict[int, Owned]
) -> None:
    installed.ask(shard=2)
    first, owned = claim(installed, owned)
    assert claim(installed, owned)[0] is None
    second_request = installed.ask(shard=2)
    second, _ = claim(installed, owned)
    assert first is not None
    assert first.batch_nos == {2: 1}
    assert second is not None
    assert second.batch_nos == {2: 2}
    assert chosen(installed, second) == [second_request]


@pytest.mark.parametrize("own", [True, False])
def test_a_finished_batch_is_applied_by_the_next_claim(
    installed: Installed, owned: dict[int, Owned], *, own: bool
) -> None:
    installed.ask(shard=2)
    first, owned = claim(installed, owned)
    assert first is not None
    kept = installed.ask(due_in_ms=60_000, shard=2)
    nothing, owned = claim(installed, owned, finished(installed, first, next_offset=17, own=own))
    assert nothing is None
    assert owned[2] == Owned(owned[2].epoch, 1, 17)
    assert installed.sql("SELECT request_id FROM pending") == [(kept,)]
    assert installed.claims() == 0
    assert installed.batch_nos()[2] == 1


@pytest.mark.parametrize("own", [True, False])
def test_slices_missing_from_a_finished_batch_halt_and_roll_back(
    installed: Installed, owned: dict[int, Owned], *, own: bool
) -> None:
    gone, kept = installed.ask(shard=2), installed.ask(shard=2)
    first, owned = claim(installed, owned)
    assert first is not None
    done = finished(installed, first, own=own)
    installed.execute(f"DELETE FROM pending WHERE request_id = '{gone}'")
    with pytest.raises(HaltError) as error:
        claim(installed, owned, done)
    assert list(error.value.reasons) == [2]
    assert installed.sql("SELECT request_id FROM pending") == [(kept,)]
    assert installed.batch_nos()[2] == 0


def test_a_claim_missing_from_a_finished_batch_rolls_back(
    installed: Installed, owned: dict[int, Owned]
) -> None:
    installed.ask(shard=2)
    first, owned = claim(installed, owned)
    assert first is not None
    installed.execute("DELETE FROM claims")
    with pytest.raises(UnexpectedBatchError):
        claim(installed, owned, finished(installed, first))
    assert installed.pending() == 1


def test_another_owner_or_epoch_loses_exactly_those_shards(
    installed: Installed, owned: dict[int, Owned]
) -> None:
    installed.ask()
    installed.execute("UPDATE shards SET owner = 'other' WHERE shard = 1")
    installed.execute("UPDATE shards SET epoch = epoch + 1 WHERE shard = 3")
    with pytest.raises(ShardsLostError) as error:
        claim(installed, owned)
    assert error.value.shards == {1, 3}
    assert installed.claims() == 0


def test_my_own_shard_at_another_batch_is_noticed(
    installed: Installed, owned: dict[int, Owned]
) -> None:
    installed.execute("UPDATE shards SET batch_no = 5 WHERE shard = 1")
    with pytest.raises(UnexpectedBatchError, match="shard 1 stands at batch 5, not 0"):
        claim(installed, owned)


def test_a_batch_number_that_is_taken_is_a_conflict(
    installed: Installed, owned: dict[int, Owned], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Were the claims of a shard not looked at, the database itself would refuse."""
    installed.ask(shard=0)
    claim(installed, owned)
    installed.ask(shard=0)
    monkeypatch.setattr("saec.store.pending.read_claims", lambda _c, s: {shard: {} for shard in s})
    with pytest.raises(StoreConflictError):
        claim(installed, owned)


def test_two_workers_cannot_claim_the_same_shard_at_once(
    installed: Installed, owned: dict[int, Owned]
) -> None:
    """The second waits for the first one's lock, and then sees that the shard is not its own."""
    installed.ask(shard=0)
    with transaction(installed.engine) as connection:
        shards.lock_mine(connection, ME, owned)
        raised: list[Exception] = []
        started = threading.Event()

        def compete() -> None:
            started.set()
            try:
                claim(installed, owned)
            except Exception as error:
                raised.append(error)

        competitor = threading.Thread(target=compete)
        competitor.start()
        started.wait()
        seen = shards.look(connection, installed.shards)
        shards.compare_and_set(connection, "other", seen)
    competitor.join(60)
    assert [type(error) for error in raised] == [ShardsLostError]
    assert installed.claims() == 0


def test_reading_gives_the_slices_in_the_order_claimed_with_their_customers(
    installed: Installed, owned: dict[int, Owned]
) -> None:
    asked = [installed.ask(due_in_ms=-ms, customers=("ana", "nobody")) for ms in (900, 800, 700)]
    found, owned = claim(installed, owned)
    assert found is not None
    snapshot = read_claimed(installed.engine, ME, owned, found)
    assert [slice_.request_id for slice_ in snapshot.slices] == asked
    assert set(snapshot.contacts) == {"ana"}
    assert snapshot.now_ms <= installed.now_ms()


def test_the_instant_of_a_batch_is_that_of_its_snapshot(
    installed: Installed, owned: dict[int, Owned], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that stands still while it reads knows nothing newer than what it says."""
    installed.ask(customers=("ana",))
    found, owned = claim(installed, owned)
    assert found is not None
    original, meanwhile = shards.check_mine, []

    def stands_still(*args: Any) -> None:
        original(*args)
        meanwhile.append(installed.now_ms())
        installed.register("ana", email="newer@example.com")

    monkeypatch.setattr(shards, "check_mine", stands_still)
    snapshot = read_claimed(installed.engine, ME, owned, found)
    assert snapshot.contacts["ana"].email == "ana@example.com"
    assert snapshot.now_ms <= meanwhile[0]


def test_a_claimed_slice_that_is_gone_halts_its_shard(
    installed: Installed, owned: dict[int, Owned]
) -> None:
    gone = installed.ask(shard=1)
    installed.ask(shard=2)
    found, owned = claim(installed, owned)
    assert found is not None
    installed.execute(f"DELETE FROM pending WHERE request_id = '{gone}'")
    with pytest.raises(HaltError) as error:
        read_claimed(installed.engine, ME, owned, found)
    assert list(error.value.reasons) == [1]


@pytest.mark.parametrize(
    ("spoil", "error"),
    [
        ("UPDATE shards SET owner = 'other'", ShardsLostError),
        ("UPDATE shards SET epoch = epoch + 1", ShardsLostError),
        ("UPDATE shards SET batch_no = 9", UnexpectedBatchError),
    ],
)
def test_reading_checks_the_shards_again(
    installed: Installed, owned: dict[int, Owned], spoil: str, error: type[Exception]
) -> None:
    installed.ask()
    found, owned = claim(installed, owned)
    assert found is not None
    installed.execute(spoil)
    with pytest.raises(error):
        read_claimed(installed.engine, ME, owned, found)


def test_a_cancel_stops_what_is_not_claimed_and_nothing_else(
    installed: Installed, owned: dict[int, Owned], make_slices: Callable[[int], uuid.UUID]
) -> None:
    """Three slices, one of them on its way: its recipients had left, the others are stopped."""
    request_id = make_slices(3)
    found, _ = claim(installed, owned, batch_messages=1)
    assert found is not None
    assert len(chosen(installed, found)) == 1
    answer = installed.cancel(request_id)
    assert (answer.status, dict(answer.counts)) == (
        "CANCELLED",
        {
            "recipients_stopped": 2,
            "recipients_left": 1,
            "messages_stopped": 2,
            "messages_left": 1,
        },
    )
    assert installed.pending() == 1


@pytest.fixture
def make_slices(installed: Installed) -> Callable[[int], uuid.UUID]:
    """Has a request of one-recipient slices accepted."""

    def make(count: int) -> uuid.UUID:
        installed.settings = installed.settings.model_copy(update={"slice_recipients": 1})
        return installed.ask(customers=("ana", "bia", "caio")[:count])

    return make


@pytest.mark.parametrize("own", [True, False])
def test_a_batch_before_what_was_applied_halts_since_the_ledger_lost_records(
    installed: Installed, owned: dict[int, Owned], *, own: bool
) -> None:
    """Cut by an unclean election, and grown again: unseen, lost batches were found much later."""
    installed.ask(shard=0)
    installed.execute("UPDATE shards SET ledger_offset = 1000")
    known = {s: Owned(mine.epoch, mine.batch_no, 1_000) for s, mine in owned.items()}
    found, known = claim(installed, known)
    assert found is not None
    for next_offset in (41, 1_000):
        batches = finished(installed, found, next_offset, own=own)
        with pytest.raises(HaltError, match="the ledger lost records"):
            claim(installed, known, batches)
    assert installed.batch_nos()[0] == 0
    _, known = claim(installed, known, finished(installed, found, 1_001, own=own))
    assert known[0].ledger_offset == 1_001
