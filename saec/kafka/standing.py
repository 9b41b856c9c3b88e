"""Tells of source partitions that stand still behind an open transaction of whoever writes there.

Records of others behind it, cancels too, are not read for as long as it is open. What is seen
comes from the client's statistics. Invariant: a partition is told when its readable end has not
moved for `STANDS_S` with records behind it, every ten minutes, and when it moves again.
"""

import json
from dataclasses import dataclass
from typing import Any

import structlog

from saec.outage import TELL_AGAIN_S

EVERY_MS = 5_000
"""How often the client tells its statistics."""
STANDS_S = 20.0

_log = structlog.get_logger("saec.ingest")


@dataclass(slots=True)
class _Stand:
    """A readable end, and since when it is there."""

    at: int
    since_s: float
    told_s: float | None = None


class Standing:
    """What of one topic's partitions stands still; `heard` takes the client's statistics."""

    def __init__(self, topic: str) -> None:
        self._topic = topic
        self._stands: dict[str, _Stand] = {}

    def heard(self, statistics: str) -> None:
        """Look at the assigned partitions, as the client saw them last."""
        said = json.loads(statistics)
        now_s = said["ts"] / 1_000_000
        topic = said.get("topics", {}).get(self._topic, {})
        partitions = topic.get("partitions", {})
        active = {n: seen for n, seen in partitions.items() if seen.get("fetch_state") == "active"}
        for gone in self._stands.keys() - active.keys():
            del self._stands[gone]
        for number, seen in active.items():
            self._look(number, seen, now_s)

    def _look(self, number: str, seen: dict[str, Any], now_s: float) -> None:
        readable, end = seen.get("ls_offset", -1), seen.get("hi_offset", -1)
        stand = self._stands.get(number)
        if not 0 <= readable < end or stand is None or stand.at != readable:
            if stand is not None and stand.told_s is not None:
                _log.info("records are read again", **self._described(number, stand, end, now_s))
            self._stands[number] = _Stand(readable, now_s)
            return
        due_s = stand.since_s + STANDS_S if stand.told_s is None else stand.told_s + TELL_AGAIN_S
        if now_s >= due_s:
            stand.told_s = now_s
            _log.warning(
                "records wait behind an open transaction",
                **self._described(number, stand, end, now_s),
            )

    def _described(self, number: str, stand: _Stand, end: int, now_s: float) -> dict[str, Any]:
        return {
            "topic": self._topic,
            "partition": int(number),
            "at": stand.at,
            "waiting": end - stand.at,
            "lasts_s": round(now_s - stand.since_s, 1),
        }
