"""What is to be reached, on two cores with broker and database on the same machine.

Invariant: a target names a figure or a ratio as the parts of the suite name it.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Target:
    """What must be reached, and what is aimed at. Higher is better if the aim is higher."""

    must: float
    aim: float

    def judge(self, value: float) -> str:
        """In one word."""
        sign = 1 if self.aim > self.must else -1
        if value * sign >= self.aim * sign:
            return "aim"
        return "must" if value * sign >= self.must * sign else "missed"


MEMORY_MB = Target(200, 120)
_IDLE_PERCENT = Target(2, 0.5)
_PEER = Target(4, 8)
_WORN_CLAIM = Target(5, 2)
_BESIDE_READING = Target(0.25, 0.5)

TARGETS = {
    "1 worker / raw producer": Target(0.40, 0.55),
    "2 workers / raw producer": Target(0.50, 0.65),
    "campaign / burst": Target(1.0, 1.5),
    "1 consumer / COPY": Target(0.35, 0.6),
    "2 consumers / COPY": Target(0.5, 0.75),
    "10M pending, p50_ms": Target(20, 10),
    "10M pending, p99_ms": Target(60, 30),
    "10M pending, max_ms": Target(300, 100),
    "p99, 10M pending / 0 pending": Target(1.3, 1.1),
    "p99, campaign / no campaign": Target(2, 1.5),
    "10M pending, first_dispatch_s": Target(2, 1),
    "first dispatch, 10M pending / 0 pending": Target(1.2, 1.05),
    "10M pending, requests 1, % of a core": _IDLE_PERCENT,
    "10M pending, customers 1, % of a core": _IDLE_PERCENT,
    "10M pending, dispatch 1, % of a core": _IDLE_PERCENT,
    "claim, open transaction / clean": _WORN_CLAIM,
    "claim, never vacuumed / clean": _WORN_CLAIM,
    "burst, SAEC / procrastinate": _PEER,
    "burst, SAEC / pgqueuer": _PEER,
    "burst, SAEC / graphile-worker": _PEER,
    "saec audit / plain, defaults": _BESIDE_READING,
    "saec audit / plain, tuned": _BESIDE_READING,
    "SAEC / bare FastAPI, 64 connections": Target(0.7, 0.85),
    "saec audit, peak_mb": Target(512, 256),
}
