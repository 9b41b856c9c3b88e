"""Taking shards over, step by step, from owners that died at every point, on real parts."""

import threading
import uuid
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace

import pytest

from saec.clock import SystemClock
from saec.contracts.ledger import BatchCommitted, BatchOpened, ShardTaken
from saec.dispatch.batch import Claim, Composed
from saec.dispatch.claim import claim_due
from saec.dispatch.compose import compose
from saec.dispatch.emit import emit, write_ledger
from saec.dispatch.errors import HaltError
from saec.dispatch.read import read_claimed
from saec.dispatch.takeover import Taken, Takeover
from saec.errors import BrokerUnavailableError
from saec.kafka.ledger import Ledger, Look
from saec.kafka.transaction import InDoubtError, TransactionalProducer, fence
from saec.settings import Settings
from saec.store.shards import Owned, ShardsLostError
from tests.dispatch.kit import Installed, claimed


@dataclass
class Owner:
    """A worker without its loop: what it believes, and its producer."""

    installed: Installed
    producer: TransactionalProducer
    takeover: Takeover
    owned: dict[int, Owned]

    def take_over(self) -> None:
        """Take every shard over."""
        self.owned = self.try_to_take_over(self.installed.shards).owned

    def try_to_take_over(self, shards: Collection[int]) -> Taken:
        """As the worker does: again while the broker still makes up its mind about new topics."""
        for _ in range(20):
            try:
                return self.takeover.run(self.producer, shards)
            except BrokerUnavailableError:
                continue
        raise AssertionError("the broker did not answer")

    def claim(self) -> Claim:
        """Claim what is due."""
        claim, self.owned = claim_due(
            self.installed.engine, self.producer.transactional_id, self.owned, (), 5_000
        )
        assert claim is not None
        return claim

    def composed(self, claim: Claim) -> Composed:
        """Read and build a claimed batch."""
        me = self.producer.transactional_id
        snapshot = read_claimed(self.installed.engine, me, self.owned, claim)
        return compose(snapshot, claim, self.installed.settings.topics, status_sent=False)

    def emit(self, batch: Composed) -> None:
        """Commit a batch, and die before it is applied."""
        emit(self.producer, self.installed.settings.topics.ledger, self.owned, batch)


@pytest.fixture
def new_owner(installed: Installed) -> Iterator[Callable[[], Owner]]:
    """Makes owners, each with a producer of its own."""
    made: list[Owner] = []

    def make() -> Owner:
        producer = TransactionalProducer(installed.settings, "dispatch")
        clock = SystemClock()
        ledger = Ledger(installed.settings, clock)
        takeover = Takeover(installed.settings, installed.engine, ledger, clock, threading.Event())
        made.append(Owner(installed, producer, takeover, {}))
        return made[-1]

    yield make
    for owner in made:
        owner.producer.discard()


NewOwner = Callable[[], Owner]


def test_the_first_takeover_writes_a_sentinel_a_shard(
    installed: Installed, new_owner: NewOwner
) -> None:
    owner = new_owner()
    owner.take_over()
    records = installed.ledger()
    assert [type(record) for record in records] == [ShardTaken] * installed.settings.shards
    assert set(installed.owners().values()) == {owner.producer.transactional_id}
    assert [mine.epoch for mine in owner.owned.values()] == [1] * installed.settings.shards
    assert all(mine.ledger_offset == 1 for mine in owner.owned.values())


def test_a_batch_committed_but_not_applied_is_applied_by_the_next_owner(
    installed: Installed, new_owner: NewOwner
) -> None:
    requests = {installed.ask(shard=shard) for shard in installed.shards}
    dead, heir = new_owner(), new_owner()
    dead.take_over()
    dead.emit(dead.composed(dead.claim()))
    assert installed.pending() == len(requests)
    heir.take_over()
    assert (installed.pending(), installed.claims()) == (0, 0)
    assert set(installed.batch_nos().values()) == {1}
    assert installed.sent() == {(request, "EMAIL", "ana"): 1 for request in requests}


def test_skips_of_an_unapplied_batch_are_counted_once(
    installed: Installed, new_owner: NewOwner
) -> None:
    request_id = installed.ask(customers=("ana", "nobody"))
    dead = new_owner()
    dead.take_over()
    dead.emit(dead.composed(dead.claim()))
    new_owner().take_over()
    new_owner().take_over()
    assert installed.sql("SELECT request_id, channel, reason, messages FROM skips") == [
        (request_id, 1, "unknown_customer", 1)
    ]


def test_a_claim_that_was_never_emitted_is_given_up_and_dispatched_by_the_next_owner(
    installed: Installed, new_owner: NewOwner
) -> None:
    asked = installed.ask()
    dead, heir = new_owner(), new_owner()
    dead.take_over()
    dead.claim()
    heir.take_over()
    assert (installed.pending(), installed.claims()) == (1, 0)
    claim = heir.claim()
    assert [one.request_id for one in claimed(installed.engine, claim)] == [asked]
    assert set(claim.batch_nos.values()) == {1}


def test_a_transaction_left_open_is_aborted_and_its_batch_dispatched_once(
    installed: Installed, new_owner: NewOwner
) -> None:
    asked = installed.ask()
    dead, heir = new_owner(), new_owner()
    dead.take_over()
    batch = dead.composed(dead.claim())
    dead.producer.begin()
    for record in batch.records:
        dead.producer.produce(record.topic, record.value, record.key, record.headers)
    dead.producer._producer.flush(60)
    heir.take_over()
    heir.emit(heir.composed(heir.claim()))
    assert installed.sent() == {(asked, "EMAIL", "ana"): 1}


def test_a_zombie_can_neither_commit_nor_claim(installed: Installed, new_owner: NewOwner) -> None:
    """It was stopped with a batch built, and goes on after somebody took over."""
    asked = installed.ask()
    zombie, heir = new_owner(), new_owner()
    zombie.take_over()
    batch = zombie.composed(zombie.claim())
    heir.take_over()
    with pytest.raises(InDoubtError):
        zombie.emit(batch)
    with pytest.raises(ShardsLostError):
        zombie.claim()
    heir.emit(heir.composed(heir.claim()))
    assert installed.sent() == {(asked, "EMAIL", "ana"): 1}


def test_without_the_fence_the_zombie_would_send_twice(
    installed: Installed, new_owner: NewOwner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the fence is for: the same run as above without it doubles the message."""
    monkeypatch.setattr("saec.dispatch.takeover.fence", lambda _settings, _owner: None)
    asked = installed.ask()
    zombie, heir = new_owner(), new_owner()
    zombie.take_over()
    batch = zombie.composed(zombie.claim())
    heir.take_over()
    zombie.emit(batch)
    heir.emit(heir.composed(heir.claim()))
    assert installed.sent() == {(asked, "EMAIL", "ana"): 2}


def test_a_commit_in_doubt_is_resolved_by_taking_over_from_oneself(
    installed: Installed, new_owner: NewOwner
) -> None:
    """Committed, but the answer was lost: a new producer of the same worker finds it applied."""
    asked = installed.ask()
    worker = new_owner()
    worker.take_over()
    worker.emit(worker.composed(worker.claim()))
    worker.producer.discard()
    worker.producer = TransactionalProducer(installed.settings, "dispatch")
    worker.take_over()
    assert installed.pending() == 0
    assert installed.sent() == {(asked, "EMAIL", "ana"): 1}


def test_an_owner_that_changes_meanwhile_keeps_its_shards(
    installed: Installed, new_owner: NewOwner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look and the compare and set somebody else took over: nothing is taken."""
    first, second = new_owner(), new_owner()

    def overtaken(_settings: object, _owner: str) -> None:
        monkeypatch.undo()
        second.take_over()

    first.take_over()
    late = new_owner()
    monkeypatch.setattr("saec.dispatch.takeover.fence", overtaken)
    late.take_over()
    assert late.owned == {}
    assert set(installed.owners().values()) == {second.producer.transactional_id}


@pytest.mark.parametrize("in_sync", [True, False])
def test_a_hanging_transaction_keeps_its_shard_from_being_taken(
    installed: Installed, new_owner: NewOwner, monkeypatch: pytest.MonkeyPatch, *, in_sync: bool
) -> None:
    """A sentinel written behind it would commit, for readers, what hangs there.

    Where a replica is missing, its end may just be late: that never becomes a halt.
    """
    ends = Look.ends
    monkeypatch.setattr(
        Look,
        "ends",
        lambda *args, **options: {
            shard: replace(found, in_sync=in_sync)
            for shard, found in ends(*args, **options).items()
        },
    )
    stranger = TransactionalProducer(installed.settings, "stranger")
    stranger.begin()
    write_ledger(stranger, installed.settings.topics.ledger, BatchOpened(1, 1, "stranger", 0))
    stranger._producer.flush(60)
    owner = new_owner()
    taken = owner.try_to_take_over(installed.shards)
    assert taken.waiting.keys() == {1}
    assert taken.waiting[1].open_at == (0 if in_sync else None)
    assert taken.owned.keys() == {0, 2, 3}
    stranger._producer.abort_transaction(60)
    stranger.discard()
    assert owner.try_to_take_over({1}).owned.keys() == {1}
    of_shard = [record for record in installed.ledger() if record.shard == 1]
    assert [type(record) for record in of_shard] == [ShardTaken], "a sentinel behind what hung"


def test_a_ledger_behind_the_database_halts(installed: Installed, new_owner: NewOwner) -> None:
    installed.execute("UPDATE shards SET ledger_offset = 1000 WHERE shard = 2")
    with pytest.raises(HaltError) as error:
        new_owner().take_over()
    assert list(error.value.reasons) == [2]


def test_a_database_behind_the_ledger_halts(installed: Installed, new_owner: NewOwner) -> None:
    """The database was restored from before the batch was asked for: its slices are missing."""
    asked = installed.ask(shard=2)
    dead = new_owner()
    dead.take_over()
    dead.emit(dead.composed(dead.claim()))
    installed.execute(f"DELETE FROM pending WHERE request_id = '{asked}'")
    with pytest.raises(HaltError, match="shard 2"):
        new_owner().take_over()


def test_an_epoch_that_went_back_halts(installed: Installed, new_owner: NewOwner) -> None:
    new_owner().take_over()
    new_owner().take_over()
    installed.execute("UPDATE shards SET epoch = 0, ledger_offset = 0 WHERE shard = 3")
    with pytest.raises(HaltError, match="shard 3: the ledger is at epoch"):
        new_owner().take_over()


def test_the_ledger_of_a_batch_opens_first_and_closes_last(
    installed: Installed, new_owner: NewOwner
) -> None:
    installed.ask(shard=0)
    owner = new_owner()
    owner.take_over()
    owner.emit(owner.composed(owner.claim()))
    of_shard = [record for record in installed.ledger() if record.shard == 0]
    assert [type(record) for record in of_shard] == [ShardTaken, BatchOpened, BatchCommitted]


def test_a_takeover_of_many_owners_shards_at_once(
    installed: Installed, new_owner: NewOwner
) -> None:
    asked = {installed.ask(shard=shard): shard for shard in installed.shards}
    for shard in installed.shards:
        dead = new_owner()
        dead.owned = dead.try_to_take_over({shard}).owned
        dead.emit(dead.composed(dead.claim()))
    new_owner().take_over()
    assert installed.pending() == 0
    assert installed.sent() == {(request, "EMAIL", "ana"): 1 for request in asked}


def test_attempts_are_told_apart(installed: Installed, new_owner: NewOwner) -> None:
    owner = new_owner()
    owner.take_over()
    owner.take_over()
    attempts = [r.attempt for r in installed.ledger() if isinstance(r, ShardTaken)]
    assert len(set(attempts)) == 2
    assert all(isinstance(attempt, uuid.UUID) for attempt in attempts)


def test_an_owner_that_cannot_be_fenced_keeps_only_its_shards_back(
    installed: Installed, new_owner: NewOwner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its coordinator does not answer; those of the others do."""
    stubborn, other, heir = new_owner(), new_owner(), new_owner()
    stubborn.owned = stubborn.try_to_take_over({0}).owned
    other.owned = other.try_to_take_over({1, 2, 3}).owned
    of_stubborn = stubborn.producer.transactional_id

    def some(settings: Settings, owner: str) -> None:
        if owner == of_stubborn:
            raise InDoubtError("no answer")
        fence(settings, owner)

    monkeypatch.setattr("saec.dispatch.takeover.fence", some)
    taken = heir.try_to_take_over(installed.shards)
    assert taken.owned.keys() == {1, 2, 3}
    assert {s: one.why for s, one in taken.waiting.items()} == {
        0: "its last owner could not be fenced: no answer"
    }
    assert installed.owners()[0] == of_stubborn, "became the owner without fencing the last one"
    with pytest.raises(InDoubtError, match="no answer"):
        heir.try_to_take_over({0})


def test_a_ledger_partition_without_a_leader_keeps_only_its_shard_back(
    installed: Installed, new_owner: NewOwner, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = new_owner()
    led = Look._led
    monkeypatch.setattr(
        Look, "_led", lambda look, shards: {s: x for s, x in led(look, shards).items() if s != 2}
    )
    taken = owner.try_to_take_over(installed.shards)
    assert taken.owned.keys() == {0, 1, 3}
    assert {s: one.why for s, one in taken.waiting.items()} == {
        2: "its ledger partition has no leader"
    }
    with pytest.raises(AssertionError):
        owner.try_to_take_over({2})
    monkeypatch.undo()
    assert owner.try_to_take_over({2}).owned.keys() == {2}


def test_a_ledger_that_is_read_too_slowly_is_waited_for(
    installed: Installed, new_owner: NewOwner, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = new_owner()
    monkeypatch.setattr(Ledger, "read", lambda *_: {})
    taken = owner.try_to_take_over(installed.shards)
    assert taken.owned == {}
    assert {one.open_at for one in taken.waiting.values()} == {None}
    assert {one.why for one in taken.waiting.values()} == {"its ledger could not be read in time"}
    monkeypatch.undo()
    assert len(owner.try_to_take_over(installed.shards).owned) == installed.settings.shards
