"""How much memory and processor each process takes, and how much everybody else does.

Invariant: memory is the highest resident size seen; processor time is that spent from the first
look at a process to the last one, of PostgreSQL that of all its sessions. Whatever else was busy on
the machine counts as `others`: a run beside busy others says little.
"""

import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import psutil

OTHERS = "others"
_EVERY_S = 0.25


@dataclass
class Weight:
    """What one process took. `cpu_share` 1.0 is a whole core."""

    peak_mb: float = 0.0
    cpu_s: float = 0.0
    cpu_share: float = 0.0


@dataclass
class _Watched:
    process: psutil.Process
    since_s: float
    first: dict[int, float] = field(default_factory=dict)
    last: dict[int, float] = field(default_factory=dict)
    weight: Weight = field(default_factory=Weight)


class _Machine:
    """What the machine and the benchmark itself had spent at an instant."""

    def __init__(self) -> None:
        self._since_s = time.monotonic()
        self._busy_s = _busy_s()
        self._own_s = time.process_time()

    def others(self, known_s: float) -> Weight:
        """What was spent since by nobody of ours."""
        passed_s = time.monotonic() - self._since_s
        own_s = time.process_time() - self._own_s
        spent_s = max(0.0, _busy_s() - self._busy_s - own_s - known_s)
        return Weight(0.0, round(spent_s, 2), round(spent_s / max(passed_s, 1e-9), 3))


class Meter:
    """Looks at processes a few times a second, in a thread, while in its block."""

    def __init__(self, parts: dict[str, int] | None = None) -> None:
        self._over = threading.Event()
        self._watched: dict[str, _Watched] = {}
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._machine = _Machine()
        for name, pid in (parts or {}).items():
            self.watch(name, pid)

    def __enter__(self) -> "Meter":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def watch(self, name: str, pid: int) -> None:
        """Look at this process from now on, with its children."""
        watched = _Watched(psutil.Process(pid), time.monotonic())
        with self._lock:
            self._watched[name] = watched
            _look(watched, begin=True)

    def restart(self) -> None:
        """Count processor time anew, from now on; the peaks stay."""
        with self._lock:
            for watched in self._watched.values():
                watched.since_s, watched.first, watched.last = time.monotonic(), {}, {}
                _look(watched, begin=True)
            self._machine = _Machine()

    def weights(self) -> dict[str, Weight]:
        """Of each process, as of now; the meter may go on."""
        with self._lock:
            for watched in self._watched.values():
                _look(watched)
            found = {name: replace(watched.weight) for name, watched in self._watched.items()}
            others = self._machine.others(sum(weight.cpu_s for weight in found.values()))
            return {**found, OTHERS: others}

    def _run(self) -> None:
        while not self._over.wait(_EVERY_S):
            with self._lock:
                for watched in self._watched.values():
                    _look(watched)


def _busy_s() -> float:
    times = psutil.cpu_times()
    return float(sum(times) - times.idle - getattr(times, "iowait", 0.0) - times.guest)


def _look(watched: _Watched, *, begin: bool = False) -> None:
    with suppress(psutil.NoSuchProcess):
        family: list[Any] = [watched.process, *watched.process.children()]
        for one in family:
            with suppress(psutil.NoSuchProcess):
                times = one.cpu_times()
                spent_s = times.user + times.system
                watched.first.setdefault(one.pid, spent_s if begin else 0.0)
                watched.last[one.pid] = spent_s
        peak_mb = watched.process.memory_info().rss / 1_000_000
        weight = watched.weight
        weight.peak_mb = round(max(weight.peak_mb, peak_mb), 1)
        weight.cpu_s = round(sum(watched.last[pid] - watched.first[pid] for pid in watched.last), 2)
        weight.cpu_share = round(weight.cpu_s / max(time.monotonic() - watched.since_s, 1e-9), 3)
