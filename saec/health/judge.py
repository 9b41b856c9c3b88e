"""What the beats of a role's processes come to. Pure.

Invariant: a process that waits for PostgreSQL or Kafka is healthy, so an outage restarts nobody;
the bound is so far above every bound of a turn that a busy machine does not reach it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from saec.health.beat import Beat

# A turn ends within the bounds of its calls: 65 s for the longest transaction, then a pause of 5 s.
STANDS_AFTER_S = 120.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether all is well, and one line."""

    healthy: bool
    line: str


def judge(role: str, beats: Sequence[Beat], now_s: float) -> Verdict:
    """The verdict at this moment of the machine's monotonic clock."""
    if not beats:
        return Verdict(False, f"{role}: no such process runs here, or not with this topic prefix")
    for one in beats:
        if (stands_s := now_s - one.turned_s) > STANDS_AFTER_S:
            return Verdict(False, f"{role}, process {one.pid}: stands for {stands_s:.0f} s")
    for one in beats:
        if one.trouble is not None:
            return Verdict(False, f"{role}, process {one.pid}: {one.trouble}")
    for one in beats:
        if one.waits is not None:
            return Verdict(True, f"{role}, process {one.pid}: {one.waits}")
    return Verdict(True, f"{role}: at work")
