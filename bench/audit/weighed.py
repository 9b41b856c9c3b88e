"""A command from its start to its end: how long it took, its processor time and memory.

Invariant: memory is the kernel's own highest resident size of the process (`wait4`). The kernel
never puts that below the benchmark's own; what takes less is looked at several times a second
instead, as is what is written to the temporary directory.
"""

import os
import resource
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench.child import ROOT

_EVERY_S = 0.1
_MAXRSS_BYTES = 1024


@dataclass(frozen=True)
class Weighed:
    """What it took, and what it said."""

    seconds: float
    cpu_s: float
    peak_mb: float
    temporary_mb: float
    code: int
    said: str


def weighed(
    command: Sequence[str],
    environment: Mapping[str, str],
    started: Callable[[int], None] = lambda _: None,
) -> Weighed:
    """Run a command to its end. What it writes to stderr is passed on; `started` hears its id."""
    own_peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _MAXRSS_BYTES
    with (
        tempfile.TemporaryDirectory(prefix="saec-bench-weighed-") as directory,
        tempfile.TemporaryFile() as output,
    ):
        began_s = time.monotonic()
        process = subprocess.Popen(
            list(command), cwd=ROOT, env={**environment, "TMPDIR": directory}, stdout=output
        )
        started(process.pid)
        with _looking(process.pid, Path(directory)) as seen:
            _, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - began_s
        process.returncode = os.waitstatus_to_exitcode(status)
        peak = usage.ru_maxrss * _MAXRSS_BYTES
        output.seek(0)
        return Weighed(
            round(seconds, 3),
            round(usage.ru_utime + usage.ru_stime, 2),
            round((peak if peak > own_peak else seen.resident) / 1e6, 1),
            round(seen.temporary / 1e6, 1),
            process.returncode,
            output.read().decode(),
        )


@dataclass
class _Seen:
    """The most that was seen, in bytes."""

    resident: int = 0
    temporary: int = 0


@contextmanager
def _looking(pid: int, directory: Path) -> Iterator[_Seen]:
    """Look at a process and its directory until the end of the block."""
    seen, over = _Seen(), threading.Event()

    def run() -> None:
        while not over.wait(_EVERY_S):
            seen.temporary = max(seen.temporary, _size(directory))
            with suppress(psutil.Error):
                seen.resident = max(seen.resident, psutil.Process(pid).memory_info().rss)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()


def _size(directory: Path) -> int:
    """What its files take on the disk."""
    size = 0
    for path in directory.rglob("*"):
        with suppress(FileNotFoundError):
            size += path.stat().st_blocks * 512
    return size
