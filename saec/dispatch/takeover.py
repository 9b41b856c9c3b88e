"""Takes shards over: after it, whatever anyone dispatched of them is applied, and nobody else can.

Runs on assignment, on restart, and after any doubt, then from oneself. Invariant: the steps keep
their order; docs/architecture.md says what each one prevents.
"""

import threading
import uuid
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field

from saec.clock import Clock
from saec.contracts.ledger import BatchCommitted, ShardTaken
from saec.dispatch import claim
from saec.dispatch.batch import Finished
from saec.dispatch.emit import write_ledger
from saec.dispatch.errors import HaltError
from saec.dispatch.resolve import ContradictionError, resolve
from saec.errors import ConfigurationError
from saec.kafka import stretches
from saec.kafka.ends import Reach
from saec.kafka.ledger import Ends, Ledger, LedgerEntry
from saec.kafka.transaction import InDoubtError, TransactionalProducer, fence
from saec.settings import Settings
from saec.store import pending, shards
from saec.store.engine import BRIEF, Engine, transaction
from saec.store.ground import GroundWatch
from saec.store.shards import Owned, Seen

_SETTLE_WAIT_S = 1.0
_SETTLE_POLL_S = 0.02
_FENCES_AT_ONCE = 8
_NO_LEADER = "its ledger partition has no leader"
_OPEN = "a transaction is open in its ledger"
_SLOW = "its ledger could not be read in time"


@dataclass(frozen=True, slots=True)
class Waiting:
    """Why a shard could not be taken over now.

    `open_at` is where its ledger ends for read_committed readers, when a transaction is open there
    and no replica is missing that would have to write its end. `costly` says that finding out took
    seconds, in which nothing was dispatched.
    """

    why: str
    open_at: int | None = None
    costly: bool = False


@dataclass(frozen=True, slots=True)
class Taken:
    """How a takeover ended for each shard; one in none was taken by somebody else meanwhile.

    `waiting` shards are to be tried again. `halted` ones wait for a person; it says why.
    """

    owned: dict[int, Owned] = field(default_factory=dict)
    waiting: dict[int, Waiting] = field(default_factory=dict)
    halted: dict[int, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Takeover:
    """What a takeover needs."""

    settings: Settings
    engine: Engine
    ledger: Ledger
    clock: Clock
    stop: threading.Event

    def run(
        self,
        producer: TransactionalProducer,
        wanted: Collection[int],
        *,
        patient: bool = True,
        watch: GroundWatch | None = None,
    ) -> Taken:
        """Take `wanted` over. The producer is initialised and has nothing open or in doubt (1).

        Waits for transactions that are just ending if `patient`. `watch` begins with what is seen
        of the database before anything is done with it.

        Raises:
            HaltError: ledger and PostgreSQL contradict each other.
            SaecError: unknown how far it got; take over again.
        """
        me = producer.transactional_id
        seen, halted = self._look(wanted, watch or self.watch())  # 2
        fenced, waiting = self._fenced(seen, me)  # 3
        with transaction(self.engine, bounds=BRIEF) as connection:
            taken = shards.compare_and_set(connection, me, fenced)  # 4
        ends, unsettled = self._settled(taken, _SETTLE_WAIT_S if patient else 0.0)  # 5
        waiting |= unsettled
        owned = {shard: taken[shard] for shard in ends}
        if not owned:
            return Taken(waiting=waiting, halted=halted)
        self._check_reaches(owned, ends)
        attempt = self._write_sentinels(producer, owned)  # 6
        starts = {
            shard: max(mine.ledger_offset, ends[shard].start) for shard, mine in owned.items()
        }
        entries = self.ledger.read(starts, attempt)  # 7
        read = {shard: owned[shard] for shard in entries}
        waiting |= dict.fromkeys(owned.keys() - read.keys(), Waiting(_SLOW, costly=True))
        unseen = self._ends_unseen(producer, read, entries)
        waiting |= unseen
        read = {shard: mine for shard, mine in read.items() if shard not in unseen}
        settled = self._settle(me, read, attempt, entries, ends) if read else {}  # 8
        return Taken(settled, waiting, halted)

    def watch(self) -> GroundWatch:
        """What notices that the database went back."""
        return GroundWatch(self._sources.values())

    def _look(
        self, wanted: Collection[int], watch: GroundWatch
    ) -> tuple[dict[int, Seen], dict[int, str]]:
        """Owner and epoch of what may be taken over, and why the rest may not."""
        # First: ingest stores before it answers.
        with ThreadPoolExecutor() as both:  # each has to find a coordinator
            found = both.map(self._answered, self._sources.keys(), self._sources.values())
            answered = dict(zip(self._sources, found, strict=True))
        with transaction(self.engine) as connection:
            stands = watch.compare(connection)
            seen = shards.look(connection, wanted)
        _check_known(wanted, seen)
        for role, topic in self._sources.items():
            _check_reaches_answers(role, wanted, stands.of(topic), answered[role])
        halted = {shard: look.halted for shard, look in seen.items() if look.halted is not None}
        return {shard: look for shard, look in seen.items() if shard not in halted}, halted

    @property
    def _sources(self) -> dict[str, str]:
        topics = self.settings.topics
        return {"requests": topics.requests, "customers": topics.customers}

    def _answered(self, role: str, topic: str) -> dict[int, int]:
        return stretches.committed_offsets(self.settings, role, topic, wait=False)

    def _fenced(
        self, seen: Mapping[int, Seen], me: str
    ) -> tuple[dict[int, Seen], dict[int, Waiting]]:
        """Fence the owners of what was seen; those shards whose owner could not be, wait.

        Raises:
            InDoubtError: not one could be fenced, and nothing is left to take over.
        """
        owners = {look.owner for look in seen.values()} - {None, me}
        failed: dict[str | None, InDoubtError] = {}
        if owners:
            with ThreadPoolExecutor(_FENCES_AT_ONCE) as several:
                fences = {owner: several.submit(self._fence, str(owner)) for owner in owners}
            failed = {owner: error for owner, one in fences.items() if (error := one.result())}
        fenced = {shard: look for shard, look in seen.items() if look.owner not in failed}
        if failed and not fenced:
            raise next(iter(failed.values()))
        late = {s: look.owner for s, look in seen.items() if look.owner in failed}
        return fenced, {s: _unfenced(failed[o]) for s, o in late.items()}

    def _fence(self, owner: str) -> InDoubtError | None:
        try:
            fence(self.settings, owner)
        except InDoubtError as error:
            return error
        return None

    def _settled(
        self, taken: Mapping[int, Owned], wait_s: float
    ) -> tuple[dict[int, Ends], dict[int, Waiting]]:
        """Both ends of each ledger partition where no transaction is open or hanging; the others.

        A sentinel written behind a hanging transaction would commit what hangs there.
        """
        if not taken:
            return {}, {}
        deadline_s = self.clock.monotonic_s() + wait_s
        with self.ledger.look() as look_at:
            while True:
                ends = look_at.ends(taken, every=False)
                settled = {shard: found for shard, found in ends.items() if found.settled}
                late = self.clock.monotonic_s() >= deadline_s or self.stop.is_set()
                if len(settled) == len(taken) or late:
                    return settled, _unsettled(taken, ends)
                self.clock.wait(self.stop, _SETTLE_POLL_S)

    def _check_reaches(self, owned: Mapping[int, Owned], ends: Mapping[int, Ends]) -> None:
        behind = {
            shard: f"the ledger ends at offset {ends[shard].committed}, but was applied up to "
            f"{mine.ledger_offset}: it was deleted or replaced"
            for shard, mine in owned.items()
            if ends[shard].committed < mine.ledger_offset
        }
        if behind:
            raise HaltError(behind)

    def _write_sentinels(
        self, producer: TransactionalProducer, owned: Mapping[int, Owned]
    ) -> uuid.UUID:
        with transaction(self.engine) as connection:
            now_ms = shards.now_ms(connection)
        attempt, me = uuid.uuid4(), producer.transactional_id
        producer.begin()
        for shard, mine in owned.items():
            sentinel = ShardTaken(shard, me, mine.epoch, attempt, mine.batch_no, now_ms)
            write_ledger(producer, self.settings.topics.ledger, sentinel)
        producer.commit()
        return attempt

    def _ends_unseen(
        self,
        producer: TransactionalProducer,
        owned: Mapping[int, Owned],
        entries: Mapping[int, list[LedgerEntry]],
    ) -> dict[int, Waiting]:
        """The shards with a batch to apply whose messages might not be readable yet.

        Only on brokers that may lose the end of a transaction: see `saec.kafka.ends`.
        """
        unapplied = [s for s, mine in owned.items() if _holds_batch_after(mine, entries[s])]
        if not unapplied or not producer.may_lose_ends:
            return {}
        topics = self.settings.topics
        with closing(Reach(self.settings)) as reach:
            written = reach.written(reach.places([*topics.dispatch.values(), topics.status]))
            unreached = reach.unreached(written, _SETTLE_WAIT_S, self.stop)
        if not unreached:
            return {}
        topic, partition = min(unreached)
        why = f"the end of a committed transaction has not reached {topic} partition {partition}"
        return dict.fromkeys(unapplied, Waiting(why))

    def _settle(
        self,
        me: str,
        owned: Mapping[int, Owned],
        attempt: uuid.UUID,
        entries: Mapping[int, list[LedgerEntry]],
        ends: Mapping[int, Ends],
    ) -> dict[int, Owned]:
        """Give up every claim, and apply what happened, in one transaction."""
        with transaction(self.engine, bounds=BRIEF) as connection:
            shards.lock_mine(connection, me, owned)
            claims = pending.read_claims(connection, owned)
            finished: list[Finished] = []
            halted: dict[int, str] = {}
            for shard, mine in owned.items():
                try:
                    finished += resolve(
                        me,
                        mine,
                        attempt,
                        entries[shard],
                        claims[shard],
                        log_start=ends[shard].start,
                    )
                except ContradictionError as error:
                    halted[shard] = str(error)
            if halted:
                raise HaltError(halted)
            applied = {**owned, **claim.apply(connection, owned, finished)}
            pending.delete_all_claims(connection, owned)
            # Everything before the sentinel is settled: the next takeover starts behind it.
            after = {
                shard: Owned(mine.epoch, mine.batch_no, entries[shard][-1].offset + 1)
                for shard, mine in applied.items()
            }
            shards.advance(connection, after)
        return after


def _unfenced(error: InDoubtError) -> Waiting:
    return Waiting(f"its last owner could not be fenced: {error}", costly=True)


def _unsettled(taken: Mapping[int, Owned], ends: Mapping[int, Ends]) -> dict[int, Waiting]:
    """Why those of `taken` wait that are not settled."""
    waiting = {shard: Waiting(_NO_LEADER) for shard in taken.keys() - ends.keys()}
    for shard, found in ends.items():
        if not found.settled:
            waiting[shard] = Waiting(_OPEN, found.committed if found.in_sync else None)
    return waiting


def _holds_batch_after(mine: Owned, entries: Collection[LedgerEntry]) -> bool:
    return any(
        isinstance(entry.record, BatchCommitted) and entry.record.batch_no > mine.batch_no
        for entry in entries
    )


def _check_reaches_answers(
    role: str, wanted: Collection[int], saved: Mapping[int, int], answered: Mapping[int, int]
) -> None:
    """Ingest stores before it answers: a database behind the answers was restored.

    It may lack cancels, and what they stopped would go out; or what customers said of themselves.
    """
    if any(saved.get(partition, 0) < offset for partition, offset in answered.items()):
        why = f"{role} were answered that the database does not know: it went back in time"
        raise HaltError(dict.fromkeys(wanted, why))


def _check_known(wanted: Collection[int], seen: Mapping[int, Seen]) -> None:
    unknown = sorted(set(wanted) - seen.keys())
    if unknown:
        raise ConfigurationError(
            f"the database has no shards for the partitions {unknown} of the ledger: somebody "
            "added partitions to it, or deleted rows of `shards`; see docs/operations.md"
        )
