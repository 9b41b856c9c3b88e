"""kafka.lock: which jars Apache Kafka is made of, with their checksums.

Invariant: a jar that is not named here, or differs from its checksum, is never run.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

BROKER = "broker"
CONSOLE_TOOLS = "console-tools"
KAFKA_VERSION = "4.2.2"


@dataclass(frozen=True)
class Jar:
    """One jar of Maven Central, and what its bytes must be."""

    group: str
    artifact: str
    version: str
    sha256: str
    size_bytes: int

    @property
    def file_name(self) -> str:
        """The name it is cached by; the artifacts of kafka.lock are unique."""
        return f"{self.artifact}-{self.version}.jar"

    @property
    def coordinates(self) -> str:
        """`group:artifact:version`, as Maven writes it."""
        return f"{self.group}:{self.artifact}:{self.version}"

    def matches(self, path: Path) -> bool:
        """True when the file is there and is this very jar."""
        if not path.is_file() or path.stat().st_size != self.size_bytes:
            return False
        return sha256_of(path) == self.sha256


def read_lock(section: str) -> tuple[Jar, ...]:
    """The jars of one section of the committed kafka.lock."""
    text = resources.files("saec.embedded").joinpath("kafka.lock").read_text("utf-8")
    return tuple(_parse(text.splitlines(), section))


def sha256_of(path: Path) -> str:
    """The file's SHA-256, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _parse(lines: Iterable[str], section: str) -> Iterator[Jar]:
    current = ""
    for line in lines:
        if line.startswith("["):
            current = line.strip("[] ")
        elif line and not line.startswith("#") and current == section:
            coordinates, sha256, size = line.split()
            group, artifact, version = coordinates.split(":")
            yield Jar(group, artifact, version, sha256, int(size))
