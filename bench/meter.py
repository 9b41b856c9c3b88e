"""How much memory and processor each process takes.

Invariant: memory is the highest resident size seen; processor time is that spent from the first
look at a process to the last one, of PostgreSQL that of all its sessions.
"""

import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import psutil

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


class Meter:
    """Looks at processes a few times a second, in a thread, while in its block."""

    def __init__(self, parts: dict[str, int] | None = None) -> None:
        self._over = threading.Event()
        self._watched: dict[str, _Watched] = {}
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, daemon=True)
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

    def weights(self) -> dict[str, Weight]:
        """Of each process, as of now."""
        with self._lock:
            for watched in self._watched.values():
                _look(watched)
            return {name: watched.weight for name, watched in self._watched.items()}

    def _run(self) -> None:
        while not self._over.wait(_EVERY_S):
            with self._lock:
                for watched in self._watched.values():
                    _look(watched)


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
