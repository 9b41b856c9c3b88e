"""The file of an audit is for its user alone, and nobody else can have laid it out."""

import hashlib
import os
from pathlib import Path

import pytest

from saec.audit import kept
from saec.audit.books import Books, BooksError


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One that others may look into, as the umask of most has it."""
    made = tmp_path / "shared"
    made.mkdir(mode=0o755)
    return made


def test_nobody_else_may_read_it(folder: Path) -> None:
    path = folder / "books.duckdb"
    with Books(path, memory_mb=64) as books:
        books.note("a", 1)
        assert mode(path) == 0o600
    path.chmod(0o644)
    with Books(path, memory_mb=64):
        assert mode(path) == 0o600


def test_a_file_that_another_user_laid_out_is_not_gone_on_with(folder: Path) -> None:
    path = folder / "books.duckdb"
    with Books(path, memory_mb=64):
        pass
    (folder / "link.duckdb").symlink_to(path)
    with pytest.raises(BooksError, match="no file of yours"):
        Books(folder / "link.duckdb", memory_mb=64)
    if os.geteuid() != 0:
        pytest.skip("only root can give a file to somebody else")
    os.chown(path, 12_345, 12_345)
    with pytest.raises(BooksError, match="no file of yours"):
        Books(path, memory_mb=64)
    os.chown(path, 0, 0)
    os.chown(folder, 12_345, 12_345)
    with pytest.raises(BooksError, match="belongs to another user"):
        Books(path, memory_mb=64)


def test_digests_of_addresses_have_a_key_of_their_own(folder: Path) -> None:
    """All Brazilian mobile numbers can be tried in no time."""
    with Books(folder / "one.duckdb", memory_mb=64) as books:
        one = books.digest_key
        assert books.digest_key == one
    with Books(folder / "one.duckdb", memory_mb=64) as books:
        assert books.digest_key == one
    with Books(folder / "other.duckdb", memory_mb=64) as books:
        other = books.digest_key
    made = {kept._of_customer(key, "42", "+5511987654321") for key in (one, other)}
    plain = hashlib.md5(b"42\n+5511987654321", usedforsecurity=False).hexdigest()
    assert len(made | {plain}) == 3
