"""kafka.lock says what it should."""

import re
from pathlib import Path

import pytest

from saec.embedded import relock
from saec.embedded.errors import DownloadError
from saec.embedded.lockfile import BROKER, CONSOLE_TOOLS, KAFKA_VERSION, read_lock

LISTING = """
The following files have been resolved:
   org.apache.kafka:kafka_2.13:jar:4.2.2:compile
   at.yawk.lz4:lz4-java:jar:1.10.1:runtime
   junit:junit:jar:4.13:test
"""


def test_every_jar_has_a_checksum_and_a_file_name_of_its_own() -> None:
    jars = read_lock(BROKER) + read_lock(CONSOLE_TOOLS)
    assert len(read_lock(BROKER)) == 46
    assert len({jar.file_name for jar in jars}) == len(jars)
    assert all(re.fullmatch("[0-9a-f]{64}", jar.sha256) for jar in jars)
    assert all(jar.size_bytes > 0 for jar in jars)


def test_kafka_itself_is_locked_in_the_one_version_that_is_named() -> None:
    versions = {jar.version for jar in read_lock(BROKER) if jar.group == "org.apache.kafka"}
    assert versions == {KAFKA_VERSION}


def test_relocking_keeps_what_runs_and_drops_what_only_tests_need(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        relock, "download_unverified", lambda _jar, path: Path(path).write_bytes(b"a jar")
    )
    text = relock.relock(LISTING)
    assert "at.yawk.lz4:lz4-java:1.10.1 " in text
    assert f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION} " in text
    assert "junit" not in text
    assert text.startswith(relock.HEADER)


def test_a_mirror_is_not_locked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAEC_MAVEN_URL", "http://127.0.0.1:9/maven")
    with pytest.raises(DownloadError, match="Maven Central"):
        relock.relock(LISTING)
