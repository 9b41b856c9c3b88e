"""Lines of a log stay whole."""

import io
import logging
import sys
from collections.abc import Iterator

import pytest
import structlog

from saec.logs import configure_logs


class Pieces(io.StringIO):
    """A stderr that remembers what each write brought."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[str] = []

    def write(self, text: str) -> int:
        self.written.append(text)
        return len(text)


@pytest.fixture(autouse=True)
def logs_as_before() -> Iterator[None]:
    root = logging.getLogger()
    before = root.handlers[:], root.level
    yield
    structlog.reset_defaults()
    logging.captureWarnings(capture=False)
    root.handlers[:], root.level = before


def test_a_line_is_one_write_so_that_none_comes_in_between(monkeypatch: pytest.MonkeyPatch) -> None:
    pieces = Pieces()
    monkeypatch.setattr(sys, "stderr", pieces)
    configure_logs("tests")
    structlog.get_logger("saec").info("ours", number=1)
    logging.getLogger("librdkafka").warning("theirs")
    assert [text.count("\n") for text in pieces.written] == [1, 1]
    assert all(text.startswith("{") and text.endswith("}\n") for text in pieces.written)
