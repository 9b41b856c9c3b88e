"""What an outside reader saw, held against what was asked for.

Invariant: every id that was read counts once: as expected, as a double, or as nobody's.
"""

import math
from array import array
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ID_BYTES = 36


@dataclass(frozen=True)
class Readings:
    """Raw: how many records each look brought, when (µs), and the ids of all of them in order."""

    counts: Sequence[int]
    at_us: Sequence[int]
    ids: bytes

    @classmethod
    def load(cls, directory: Path) -> "Readings":
        """What a reader left in its directory."""
        looks = array("q")
        looks.frombytes((directory / "looks").read_bytes())
        return cls(looks[::2], looks[1::2], (directory / "ids").read_bytes())

    def records(self) -> Iterable[tuple[bytes, int]]:
        """(id, when it was read in µs) of each record."""
        place = 0
        for count, at_us in zip(self.counts, self.at_us, strict=True):
            for _ in range(count):
                yield self.ids[place : place + ID_BYTES], at_us
                place += ID_BYTES


@dataclass(frozen=True)
class Lateness:
    """From when messages were due to when they were read."""

    p50_ms: float
    p99_ms: float
    p999_ms: float
    max_ms: float

    @classmethod
    def of(cls, waits_ms: Iterable[float]) -> "Lateness":
        """Of at least one message."""
        ordered = sorted(waits_ms)

        def share(part: float) -> float:
            return round(ordered[min(len(ordered) - 1, int(len(ordered) * part))], 1)

        return cls(share(0.5), share(0.99), share(0.999), round(ordered[-1], 1))


@dataclass(frozen=True)
class Seen:
    """What came of what was asked for.

    `rate` leaves out the first look: what was there then had taken an unknown time. `early` is
    what was read before it was due.
    """

    messages: int
    missing: int
    duplicate: int
    unexpected: int
    early: int
    seconds: float
    rate: float
    lateness: Lateness | None

    @property
    def exact(self) -> bool:
        """Everything once, nothing else, nothing early."""
        return not (self.missing or self.duplicate or self.unexpected or self.early)

    def fields(self) -> dict[str, Any]:
        """For the results file."""
        return asdict(self)


def judge(readings: Readings, expected: Mapping[bytes, int]) -> Seen:
    """Compare; `expected` tells when each id is due, in epoch milliseconds."""
    times = Counter[bytes]()
    waits_ms: list[float] = []
    for id_, at_us in readings.records():
        times[id_] += 1
        if times[id_] == 1 and id_ in expected:
            waits_ms.append(at_us / 1000 - expected[id_])
    known = sum(count for id_, count in times.items() if id_ in expected)
    seconds = (readings.at_us[-1] - readings.at_us[0]) / 1e6 if readings.at_us else 0.0
    after_first = times.total() - readings.counts[0] if readings.counts else 0
    return Seen(
        messages=len(waits_ms),
        missing=len(expected) - len(waits_ms),
        duplicate=known - len(waits_ms),
        unexpected=times.total() - known,
        early=sum(wait_ms < 0 for wait_ms in waits_ms),
        seconds=round(seconds, 3),
        rate=round(after_first / seconds) if seconds else 0,
        lateness=Lateness.of(waits_ms) if waits_ms else None,
    )


def waits_ms(
    readings: Readings, asked: Mapping[bytes, int], others: Mapping[bytes, int]
) -> list[float]:
    """How late each of `asked` was read; with `others` of those due while others were read."""
    came_ms = [at_us / 1000 for id_, at_us in readings.records() if id_ in others]
    first_ms, last_ms = (min(came_ms), max(came_ms)) if came_ms else (0.0, math.inf)
    return [
        at_us / 1000 - asked[id_]
        for id_, at_us in readings.records()
        if id_ in asked and first_ms <= asked[id_] <= last_ms
    ]
