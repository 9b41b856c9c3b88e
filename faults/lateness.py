"""How long something due waited after each fault: the time without dispatch, as readers see it.

Invariant: a wait is counted from when a message was due (or asked for, if that was later) to when
a read_committed reader had it; of a fault counts the worst until the next fault, or 30 s. What is
felt of a restore counts as the restore's alone.
"""

from collections.abc import Iterable

from faults.asked import Asked
from faults.restore import RESTORE
from faults.schedule import Struck
from faults.wire import Record, dispatched

_WINDOW_MS = 30_000
_BEFORE_MS = 10_000


def of_faults(
    records: Iterable[Record], asked: Asked, struck: Iterable[Struck]
) -> dict[str, list[float]]:
    """Kind of fault -> the worst wait after each one, in seconds."""
    waits = sorted(_waits(records, asked))
    ordered = sorted(struck, key=lambda one: one.at_ms)
    restores = [fault for fault in ordered if fault.kind == RESTORE]
    found: dict[str, list[float]] = {}
    for number, fault in enumerate(ordered):
        if fault.what.startswith("could not") or fault.what.endswith("(nobody came)"):
            continue
        if fault.kind != RESTORE and any(_overlap(fault, restore) for restore in restores):
            continue
        following = ordered[number + 1].at_ms if number + 1 < len(ordered) else fault.at_ms
        until_ms = min(max(following, fault.ended_ms), fault.at_ms + _WINDOW_MS)
        worst = max((wait for due, wait in waits if fault.at_ms <= due < until_ms), default=0)
        found.setdefault(fault.kind, []).append(round(worst / 1000, 2))
    return found


def _overlap(fault: Struck, restore: Struck) -> bool:
    return restore.at_ms - _BEFORE_MS < fault.ended_ms and fault.at_ms < restore.ended_ms


def _waits(records: Iterable[Record], asked: Asked) -> Iterable[tuple[int, int]]:
    """(from when, for how long), in ms, of each message."""
    for record in records:
        request = asked.requests.get(dispatched(record)["request_id"])
        if request is not None:
            wanted_ms = asked.wanted_ms(request)
            yield wanted_ms, record.read_ms - wanted_ms
