"""The search that is made at the end of every run finds what it looks for."""

from pathlib import Path

import pytest

from tests.privacy import spilled


@pytest.mark.parametrize(
    "text",
    [
        '{"error": "invalid ana@example.com"}',
        '{"error": "host not found: s3cret@127.0.0.1"}',
        "+5511987654321",
        r'{"body": "Ol\u00e1 n\u00ba 7"}',
        "Olá",
        "segredo-da-ana",
        "XANTIPA",
    ],
)
def test_it_is_found_in_any_log(tmp_path: Path, text: str) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    logs = (tmp_path / "a" / "1.log", tmp_path / "a" / "b" / "log")
    for log in logs:
        log.write_text(f'{{"event": "ready"}}\n{text}\n', "utf-8")
    assert len(spilled(tmp_path)) == 2
    for log in logs:
        log.write_text('{"event": "ready", "at": "/x/saec/round.py:12", "topic": "t0a.email"}\n')
    assert spilled(tmp_path) == []
