"""The file in which a process says how it is: one a process, in a directory of this user alone.

Invariant: a file is whole whenever it is read, only its owner reads it, and nothing is read from or
written to a directory of somebody else; a file whose process has ended says nothing.
"""

import json
import os
import re
import stat
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from saec.errors import SaecError
from saec.settings import Settings

_FILE = re.compile(r"(?P<group>.+)\.(?P<pid>[1-9][0-9]{0,9})\.json", re.ASCII)


class BeatError(SaecError):
    """The directory or a file of beats cannot be used."""


@dataclass(frozen=True, slots=True)
class Beat:
    """How a process was. `turned_s` is when its loop last turned, on the machine's monotonic clock.

    `waits` says which part it waits for, and `trouble` why it is not at work.
    """

    pid: int
    started: str
    turned_s: float
    waits: str | None = None
    trouble: str | None = None


def directory(settings: Settings) -> Path:
    """Where this user's processes say how they are: of its own, below a place that may be shared.

    Raises:
        BeatError: it cannot be made, or is somebody else's.
    """
    path = Path(settings.runtime_dir or tempfile.gettempdir()) / f"saec-{os.geteuid()}"
    try:
        path.mkdir(mode=0o700, exist_ok=True)
        found = path.lstat()
    except OSError as error:
        raise BeatError(f"{path} cannot be made ({error.strerror}): set SAEC_RUNTIME_DIR") from None
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise BeatError(f"{path} is not a directory of this user alone: set SAEC_RUNTIME_DIR")
    return path


def write(settings: Settings, role: str, beat: Beat) -> None:
    """Replace what this process said before.

    Raises:
        BeatError: it cannot be written.
    """
    path = _path(settings, role, beat.pid)
    new = path.with_suffix(".new")
    try:
        new.unlink(missing_ok=True)
        handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(asdict(beat), file)
        new.replace(path)
    except OSError as error:
        raise BeatError(f"{path} cannot be written ({error.strerror})") from None


def forget(settings: Settings, role: str, pid: int) -> None:
    """A process ends: it says nothing any more."""
    try:
        _path(settings, role, pid).unlink(missing_ok=True)
    except OSError as error:
        raise BeatError(f"a file of {role} cannot be removed ({error.strerror})") from None


def read(settings: Settings, role: str) -> list[Beat]:
    """What the processes of this role and prefix say that run on this machine now.

    Raises:
        BeatError: it cannot be read.
    """
    group = settings.group_id(role)
    found = []
    for path in sorted(directory(settings).iterdir()):
        name = _FILE.fullmatch(path.name)
        if name is None or name["group"] != group or not started(int(name["pid"])):
            continue
        try:
            beat = Beat(**json.loads(path.read_text("utf-8")))
        except FileNotFoundError:
            continue  # it has just ended
        except (OSError, ValueError, TypeError):
            raise BeatError(f"{path} cannot be read: is it of another release?") from None
        if beat.started == started(beat.pid):
            found.append(beat)
    return found


def sweep(settings: Settings) -> None:
    """Remove what processes left that were killed."""
    for path in directory(settings).iterdir():
        name = _FILE.fullmatch(path.name)
        if name is not None and not started(int(name["pid"])):
            path.unlink(missing_ok=True)


def started(pid: int) -> str:
    """What tells a process from another one that has its id later; empty when none has it."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return ""
    except PermissionError:
        pass
    try:
        # Behind its name, which may hold anything: the state, and as the 20th the start.
        fields = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
    except OSError:
        return "running"  # not Linux
    return "" if fields[0] in "ZX" else fields[19]


def _path(settings: Settings, role: str, pid: int) -> Path:
    return directory(settings) / f"{settings.group_id(role)}.{pid}.json"
