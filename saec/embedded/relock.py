"""Makes kafka.lock again: `python -m saec.embedded.relock`, when Kafka's version changes.

Invariant: what it prints was downloaded from Maven Central in this very run.
"""

import argparse
import os
import re
import sys
import tempfile
from pathlib import Path

from saec.embedded.errors import DownloadError
from saec.embedded.jars import download_unverified
from saec.embedded.lockfile import BROKER, CONSOLE_TOOLS, KAFKA_VERSION, Jar, sha256_of

HEADER = f"""\
# Apache Kafka {KAFKA_VERSION} as the embedded stack runs it.
# A line is: group:artifact:version sha256 size-in-bytes
#
# [{BROKER}] is org.apache.kafka:kafka_2.13:{KAFKA_VERSION} with org.slf4j:slf4j-simple:1.7.36 and
# all that they need; [{CONSOLE_TOOLS}] is what Kafka's console tools need beyond that, downloaded
# only when one is used.
#
# Made by, in a pom.xml with these two dependencies (Maven is needed only for this):
#   mvn dependency:list -DoutputFile=jars.txt
#   python -m saec.embedded.relock jars.txt > kafka.lock
"""
TOOLS = (f"org.apache.kafka:kafka-tools:{KAFKA_VERSION}",)

_LISTED = re.compile(r"^\s+([\w.-]+):([\w.-]+):jar:([\w.-]+):(?:compile|runtime)", re.MULTILINE)


def relock(listing: str) -> str:
    """The text of kafka.lock for what `mvn dependency:list` wrote.

    Raises:
        DownloadError: a mirror is set; its files would be locked for everybody.
    """
    if "SAEC_MAVEN_URL" in os.environ:
        raise DownloadError("unset SAEC_MAVEN_URL: what is locked has to come from Maven Central")
    broker = sorted(":".join(found) for found in _LISTED.findall(listing))
    lines = [HEADER]
    with tempfile.TemporaryDirectory() as directory:
        for section, names in ((BROKER, broker), (CONSOLE_TOOLS, TOOLS)):
            lines.append(f"[{section}]")
            lines.extend(_locked_line(name, Path(directory)) for name in names)
            lines.append("")
    return "\n".join(lines)


def _locked_line(coordinates: str, directory: Path) -> str:
    group, artifact, version = coordinates.split(":")
    path = directory / f"{artifact}-{version}.jar"
    download_unverified(Jar(group, artifact, version, sha256="", size_bytes=0), path)
    return f"{coordinates} {sha256_of(path)} {path.stat().st_size}"


def main() -> None:
    """Print the new file."""
    parser = argparse.ArgumentParser(
        prog="python -m saec.embedded.relock",
        description=HEADER,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("listing", type=Path, help="what `mvn dependency:list` wrote")
    sys.stdout.write(relock(parser.parse_args().listing.read_text("utf-8")))


if __name__ == "__main__":
    main()
