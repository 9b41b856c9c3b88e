"""A command from its start to its end: how long it took, its processor time and memory.

Invariant: memory is the kernel's own highest resident size of the process (`wait4`), which the
kernel never puts below that of the benchmark itself, some 100 MB. What it writes to its temporary
directory is looked at several times a second.
"""

import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from bench.child import ROOT

_EVERY_S = 0.1


@dataclass(frozen=True)
class Weighed:
    """What it took, and what it said."""

    seconds: float
    cpu_s: float
    peak_mb: float
    temporary_mb: float
    code: int
    said: str


def weighed(command: Sequence[str], environment: Mapping[str, str]) -> Weighed:
    """Run a command to its end. What it writes to stderr is passed on."""
    with (
        tempfile.TemporaryDirectory(prefix="saec-bench-weighed-") as directory,
        tempfile.TemporaryFile() as output,
    ):
        over, most = threading.Event(), [0]
        watch = threading.Thread(target=_watch, args=(Path(directory), over, most), daemon=True)
        watch.start()
        began_s = time.monotonic()
        process = subprocess.Popen(
            list(command), cwd=ROOT, env={**environment, "TMPDIR": directory}, stdout=output
        )
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - began_s
        process.returncode = os.waitstatus_to_exitcode(status)
        over.set()
        watch.join()
        output.seek(0)
        return Weighed(
            round(seconds, 3),
            round(usage.ru_utime + usage.ru_stime, 2),
            round(usage.ru_maxrss * 1024 / 1e6, 1),
            round(most[0] / 1e6, 1),
            process.returncode,
            output.read().decode(),
        )


def _watch(directory: Path, over: threading.Event, most: list[int]) -> None:
    while not over.wait(_EVERY_S):
        most[0] = max(most[0], _size(directory))


def _size(directory: Path) -> int:
    """What its files take on the disk."""
    size = 0
    for path in directory.rglob("*"):
        with suppress(FileNotFoundError):
            size += path.stat().st_blocks * 512
    return size
