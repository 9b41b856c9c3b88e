"""Jars are verified, whatever the cache or the repository holds."""

import hashlib
import threading
import traceback
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from saec.embedded import jars
from saec.embedded.errors import DownloadError
from saec.embedded.lockfile import BROKER, KAFKA_VERSION, Jar

BYTES = {"alpha": b"the first jar", "beta": b"the second jar"}
LOCKED = tuple(
    Jar("org.example", name, "1.0", hashlib.sha256(data).hexdigest(), len(data))
    for name, data in BYTES.items()
)


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_args: object) -> None:
        """Say nothing."""


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A repository of two jars, served on this machine and locked."""
    root = tmp_path / "repository"
    for name, data in BYTES.items():
        place = root / "org" / "example" / name / "1.0"
        place.mkdir(parents=True)
        (place / f"{name}-1.0.jar").write_bytes(data)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=root)) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        monkeypatch.setenv("SAEC_MAVEN_URL", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("SAEC_CACHE_DIR", str(tmp_path / "cache"))
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        monkeypatch.setattr(jars, "read_lock", lambda _section: LOCKED)
        yield root
        server.shutdown()
        thread.join()


@pytest.fixture
def said() -> list[str]:
    """What was said about progress."""
    return []


def test_absent_jars_are_downloaded_and_only_once(repository: Path, said: list[str]) -> None:
    paths = jars.ensure_jars(BROKER, said.append)
    assert [path.read_bytes() for path in paths] == list(BYTES.values())
    assert [path.name for path in paths[0].parent.iterdir() if path.name.startswith(".")] == []
    assert said[-1].endswith("2 of 2 jars")
    said.clear()
    assert jars.ensure_jars(BROKER, said.append) == paths
    assert said == []


def test_a_damaged_jar_in_the_cache_is_downloaded_again(repository: Path, said: list[str]) -> None:
    damaged, whole = jars.ensure_jars(BROKER, said.append)
    damaged.write_bytes(BYTES["alpha"].swapcase())
    before = whole.stat().st_mtime_ns
    jars.ensure_jars(BROKER, said.append)
    assert damaged.read_bytes() == BYTES["alpha"]
    assert whole.stat().st_mtime_ns == before


def test_a_repository_with_other_bytes_is_refused_and_nothing_is_kept(
    repository: Path, said: list[str]
) -> None:
    served = repository / "org" / "example" / "alpha" / "1.0" / "alpha-1.0.jar"
    served.write_bytes(b"something else")
    with pytest.raises(DownloadError, match=r"org\.example:alpha:1\.0 .* SHA-256 differs"):
        jars.ensure_jars(BROKER, said.append)
    assert not (jars.cache_dir() / f"kafka-{KAFKA_VERSION}" / "alpha-1.0.jar").exists()


def test_an_absent_jar_is_named(repository: Path, said: list[str]) -> None:
    (repository / "org" / "example" / "beta" / "1.0" / "beta-1.0.jar").unlink()
    with pytest.raises(DownloadError, match=r"org\.example:beta:1\.0 .*404"):
        jars.ensure_jars(BROKER, said.append)


def test_without_a_connection_the_message_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, closed_port: int
) -> None:
    monkeypatch.setenv("SAEC_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("SAEC_MAVEN_URL", f"http://127.0.0.1:{closed_port}")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with pytest.raises(DownloadError, match=r"Could not download .*SAEC_MAVEN_URL") as failure:
        jars.ensure_jars(BROKER, lambda _text: None)
    assert str(closed_port) in str(failure.value)
    assert list((tmp_path / f"kafka-{KAFKA_VERSION}").iterdir()) == []


def test_an_error_shows_no_password_of_a_mirror(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAEC_MAVEN_URL", "http://somebody:hunter2@127.0.0.1:9/maven")
    with pytest.raises(DownloadError) as caught:
        jars.ensure_jars(BROKER, lambda _: None)
    told = "".join(traceback.format_exception(caught.value))
    assert "127.0.0.1:9/maven" in str(caught.value)
    assert "hunter2" not in told
    assert "somebody" not in told
