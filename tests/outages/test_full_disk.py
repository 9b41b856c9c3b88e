"""A disk of PostgreSQL that really is full: a small file system of its own below the tables.

To mount one takes root. Elsewhere this is skipped, and tests/outages/test_database.py says the same
with the error that PostgreSQL would give.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.outages.grounds import Grounds
from tests.outages.scene import Scene
from tests.stack import Installations
from tests.survival.processes import Fleet

SIZE_MB = 64
REQUESTS = 60


@contextmanager
def small_disk(directory: Path) -> Iterator[Path]:
    """A file system of a few megabytes."""
    directory.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE_MB}m", "saec-tests", str(directory)]
    if shutil.which("mount") is None or subprocess.call(mount, stderr=subprocess.DEVNULL) != 0:
        pytest.skip("no file system can be mounted here")
    try:
        yield directory
    finally:
        subprocess.run(["umount", "--lazy", str(directory)], check=True)


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[tuple[Scene, Path]]:
    """Processes at work on parts of their own, and the disk that their tables are on."""
    # A short path, for the socket; which others may enter, as PostgreSQL does not run as root.
    with tempfile.TemporaryDirectory(prefix="saec-full-") as name:
        directory, log = Path(name), tmp_path / "processes.log"
        directory.chmod(0o755)
        with small_disk(directory / "disk") as disk:
            grounds = Grounds(directory / "parts")
            try:
                yield from at_work(grounds, disk, log)
            finally:
                grounds.close()


def at_work(grounds: Grounds, disk: Path, log: Path) -> Iterator[tuple[Scene, Path]]:
    owner = grounds.cluster.stat()
    tables = disk / "tables"
    tables.mkdir()
    os.chown(tables, owner.st_uid, owner.st_gid)
    grounds.stack.sql(f"CREATE TABLESPACE small LOCATION '{tables}'")
    installations = Installations(grounds.stack)
    with installations.make(shards=2, partitions=1) as settings, log.open("wb") as output:
        database = settings.database_url.rpartition("/")[2]
        grounds.cut_sessions(database)
        grounds.stack.sql(f'ALTER DATABASE "{database}" SET TABLESPACE small')
        fleet = Fleet(settings, output, each=1, extra_env={"SAEC_GRACE_S": "3600"})
        yield Scene(grounds, settings, fleet, log), disk
        assert not any(fleet.stop()), log.read_text()[-20_000:]


def fill(path: Path) -> None:
    """Take all the room that is left."""
    with path.open("wb", buffering=0) as filler:
        try:
            while True:
                filler.write(bytes(4096))
        except OSError:
            return


def test_a_full_disk(scene: tuple[Scene, Path]) -> None:
    at_work, disk = scene
    at_work.start()
    at_work.register()
    mark, filler = at_work.mark(), disk / "filler"
    with at_work.asking(REQUESTS, 4.0):
        fill(filler)
        line = at_work.wait_for("batch abandoned", "requests", mark)
        assert "No space left on device (53100)" in line["error"]
        filler.unlink()
    assert at_work.settle().dispatched > 0
    at_work.told(mark)
