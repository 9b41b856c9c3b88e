"""Ways to break the protocol, each of which the harness must report.

Patched into a process by the launcher. Invariant: each takes away one thing, and the rest stays.
"""

import types
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from saec.dispatch import takeover
from saec.ingest import cancels
from saec.ingest.loop import IngestLoop
from saec.ingest.positions import StoredPositions
from saec.ingest.requests import RequestIntake
from saec.kafka import intake, unreadable
from saec.kafka.ledger import Ledger
from saec.kafka.transaction import InDoubtError, TransactionalProducer
from saec.recover import cancels as recover_cancels
from saec.recover.ledger import RollForward
from saec.recover.run import Recovery
from saec.store import cancels as store_cancels
from saec.store import ground, shards

_Patch = Callable[[], None]


def apply(name: str) -> None:
    """Break this process in the named way."""
    MUTATIONS[name]()


def _put(owner: Any, name: str, value: Any) -> None:
    """Replace a function."""
    setattr(owner, name, value)


def _no_fence() -> None:
    _put(takeover, "fence", lambda _settings, _id: None)


def _owner_in_memory() -> None:
    """Only an owner that this very process had is fenced."""
    mine: set[str] = set()
    look, made = shards.look, TransactionalProducer.__init__

    def remembering(self: Any, *args: Any, **kwargs: Any) -> None:
        made(self, *args, **kwargs)
        mine.add(self.transactional_id)

    def forgetful(connection: Any, wanted: Any) -> Any:
        return {
            shard: shards.Seen(seen.owner if seen.owner in mine else None, seen.epoch, seen.halted)
            for shard, seen in look(connection, wanted).items()
        }

    _put(TransactionalProducer, "__init__", remembering)
    _put(shards, "look", forgetful)


def _no_ledger() -> None:
    """A takeover believes that nothing happened since the database was written."""
    read = Ledger.read

    def sentinel_only(self: Any, starts: Any, attempt: Any) -> Any:
        return {shard: found[-1:] for shard, found in read(self, starts, attempt).items()}

    _put(Ledger, "read", sentinel_only)


def _no_owner_and_epoch() -> None:
    _put(shards, "_check", lambda _owned, _found, _me: None)
    _put(shards, "check_mine", lambda _connection, _me, _owned: None)
    unconditional = shards._TAKE.replace("AND shards.epoch = seen.epoch", "")  # noqa: SLF001
    _put(shards, "_TAKE", unconditional)


def _commit_errors_are_success() -> None:
    commit = TransactionalProducer.commit

    def optimistic(self: Any) -> None:
        with suppress(InDoubtError):
            commit(self)

    _put(TransactionalProducer, "commit", optimistic)


def _offsets_before_store() -> None:
    run_once = IngestLoop.run_once

    class Hasty:
        """Commits the offsets of a batch as soon as it is read."""

        def __init__(self, intake: Any) -> None:
            self._intake = intake

        def read(self, **how: bool) -> Any:
            batch = self._intake.read(**how)
            if batch.records:
                self._intake.answer(batch, [])
            return batch

        def __getattr__(self, name: str) -> Any:
            return getattr(self._intake, name)

    def hasty(self: Any) -> int:
        if self._intake is None:
            self._intake = Hasty(self._open_intake())
        return int(run_once(self))

    _put(IngestLoop, "run_once", hasty)


def _cancel_without_lock() -> None:
    unlocked: Any = types.SimpleNamespace(**vars(shards))
    unlocked.lock_any = lambda _connection, _shards: None
    _put(cancels, "shards", unlocked)


def _recover_without_ledger() -> None:
    """`saec recover` believes that nothing was dispatched since the backup."""
    entries = RollForward._entries  # noqa: SLF001

    def sentinel_only(self: Any, held: Any, shard: int) -> Any:
        yield list(entries(self, held, shard))[-1]

    _put(RollForward, "_entries", sentinel_only)


def _recover_without_cancels() -> None:
    """`saec recover` stores the answers to cancels again, and stops nothing."""
    _put(recover_cancels, "_stop", lambda _connection, _stopped: [])


def _recover_without_registry() -> None:
    """`saec recover` saves the positions of the registry without what stands before them."""
    _put(Recovery, "_store_customers", lambda _self, _customers: None)


def _restore_unnoticed() -> None:
    """A consumer goes on from where its group is, whatever the database knows."""
    start_offset = intake.start_offset

    def trusting(name: str, group: int | None, saved: int | None, oldest: int) -> int:
        return start_offset(name, group, group if saved is None else max(saved, group or 0), oldest)

    _put(intake, "start_offset", trusting)


def _positions_lifted() -> None:
    """Ingest stores and answers, whatever its positions and the server are by then."""
    _put(StoredPositions, "_compare", lambda _self, _connection, _partitions: None)


def _claims_anywhere() -> None:
    """A claim and a commit do not look whether the database is the one of the takeover."""

    def trusting(self: Any, connection: Any) -> Any:
        return ground.look(connection, self._topics)

    _put(ground.GroundWatch, "compare", trusting)


def _early_cancels_forgotten() -> None:
    """A request does not look for cancels that were read before it."""
    _put(store_cancels, "hold_unknown", lambda _connection, _ids: {})


def _late_twice() -> None:
    """Whoever stores a request that was stopped before says so twice."""
    schedule_answers = RequestIntake._schedule_answers  # noqa: SLF001

    def doubling(self: Any, schedules: Any, verdicts: Any) -> Any:
        for said in schedule_answers(self, schedules, verdicts):
            yield said
            if (dict(said.headers).get("ce_id") or b"").endswith(b"/late"):
                yield said

    _put(RequestIntake, "_schedule_answers", doubling)


def _unreadable_stops() -> None:
    """A reader stays where the client cannot read."""
    _put(unreadable, "end_of", lambda _place: None)


MUTATIONS: dict[str, _Patch] = {
    "no-fence": _no_fence,
    "no-ledger": _no_ledger,
    "no-owner-epoch": _no_owner_and_epoch,
    "commit-errors-are-success": _commit_errors_are_success,
    "offsets-before-store": _offsets_before_store,
    "cancel-without-lock": _cancel_without_lock,
    "owner-in-memory": _owner_in_memory,
    "recover-without-ledger": _recover_without_ledger,
    "recover-without-cancels": _recover_without_cancels,
    "recover-without-registry": _recover_without_registry,
    "restore-unnoticed": _restore_unnoticed,
    "positions-lifted": _positions_lifted,
    "claims-anywhere": _claims_anywhere,
    "early-cancels-forgotten": _early_cancels_forgotten,
    "late-twice": _late_twice,
    "unreadable-stops": _unreadable_stops,
}


@dataclass(frozen=True, slots=True)
class Focus:
    """Under which faults, at which steps, a mutation shows: in minutes, not in hours."""

    kinds: tuple[str, ...]
    steps: tuple[tuple[str, str], ...]


_ZOMBIES = Focus(
    ("stop at a step",), (("dispatch", "read"), ("dispatch", "compose"), ("dispatch", "emit/begin"))
)
_RESTARTS = Focus(("restart a worker",), ())
_RESTORES = Focus(("restore a backup",), ())
_IN_PLACE = Focus(("put tables back",), ())
FOCUS: dict[str, Focus] = {
    **dict.fromkeys(
        (
            "recover-without-ledger",
            "recover-without-cancels",
            "recover-without-registry",
            "restore-unnoticed",
        ),
        _RESTORES,
    ),
    **dict.fromkeys(("positions-lifted", "claims-anywhere"), _IN_PLACE),
    **dict.fromkeys(("early-cancels-forgotten", "late-twice", "unreadable-stops"), _RESTARTS),
    "no-fence": _ZOMBIES,
    "owner-in-memory": _ZOMBIES,
    "no-ledger": Focus(
        ("die at a step",),
        (("dispatch", "emit/commit"), ("dispatch", "emit"), ("dispatch", "apply")),
    ),
    "no-owner-epoch": Focus(
        ("stop at a step",), (("dispatch", "read"), ("dispatch", "emit"), ("dispatch", "apply"))
    ),
    "commit-errors-are-success": Focus(("hang at a step",), (("dispatch", "emit/commit"),)),
    "offsets-before-store": Focus(
        ("die at a step",), (("requests", "store"), ("requests", "store/store commit"))
    ),
    "cancel-without-lock": Focus(
        ("hang at a step",),
        (("dispatch", "claim/store commit"), ("dispatch", "apply/store commit")),
    ),
}
