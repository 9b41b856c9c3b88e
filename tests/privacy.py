"""Looks for personal data where it must not be: in what processes logged while they were tested."""

import re
from collections.abc import Iterator
from pathlib import Path

PERSONAL = re.compile(
    r"[\w.+-]+@[\w-]+\.\w+"  # an e-mail address, or a password and its host
    r"|\+55\d{8,}"  # a phone number
    r"|Ol(á|\\u00e1|\\xc3\\xa1)"  # how the messages of the tests begin
    r"|segredo-da-ana"
    r"|Xantipa|Quixabeira",
    re.IGNORECASE,
)
# What the parts themselves write, below the folders of their data.
_PARTS = {"postgres", "kafka", "data"}


def spilled(directory: Path) -> list[str]:
    """The lines with personal data in the logs below a directory, each with its file."""
    return [f"{path}: {line}" for path, line in _lines(directory) if PERSONAL.search(line)]


def _lines(directory: Path) -> Iterator[tuple[Path, str]]:
    for path in (*directory.rglob("*.log"), *directory.rglob("log")):
        inside = path.relative_to(directory)
        if path.is_file() and not _PARTS & set(inside.parts):
            for line in path.read_text("utf-8", "replace").splitlines():
                yield inside, line
