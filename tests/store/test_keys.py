"""Keys as they are stored: what is refused, who is usable, and what a revocation changes."""

import secrets
from collections.abc import Iterator
from dataclasses import replace

import pytest

from saec.keys import Scope
from saec.store import keys
from saec.store.engine import Connection, Engine, StoreConflictError, count, rows, transaction
from saec.store.keys import KeyRow
from saec.store.tables import metadata


@pytest.fixture
def connection(migrated: Engine) -> Iterator[Connection]:
    """A transaction on a migrated database that is rolled back."""
    with transaction(migrated) as opened:
        yield opened
        count(opened, "ROLLBACK; BEGIN")


def key(**changed: object) -> KeyRow:
    row = KeyRow(
        key_id=secrets.token_hex(6),
        secret_hash=secrets.token_bytes(32),
        name="the billing job",
        requester="billing",
        scopes=(Scope.SCHEDULE, Scope.READ),
        rate=None,
        created_at_ms=1_000,
        expires_at_ms=None,
        revoked_at_ms=None,
    )
    return replace(row, **changed)  # type: ignore[arg-type]


def store(engine: Engine, *made: KeyRow) -> None:
    """All of them, or none."""
    with transaction(engine) as connection:
        for row in made:
            keys.insert_key(connection, row)


def test_the_row_has_the_columns_of_the_table_in_order() -> None:
    assert list(KeyRow.__slots__) == [column.name for column in metadata.tables["keys"].columns]


def test_what_is_stored_is_read_back_oldest_first(connection: Connection) -> None:
    full = key(
        scopes=tuple(Scope), rate=7, created_at_ms=1, expires_at_ms=2_000, revoked_at_ms=3_000
    )
    stored = [key(created_at_ms=2), full]
    for row in stored:
        keys.insert_key(connection, row)
    assert keys.read_keys(connection) == stored[::-1]


@pytest.mark.parametrize(
    "changed",
    [
        {"key_id": "0123456789a"},
        {"key_id": "0123456789AB"},
        {"key_id": "0123456789ab\n"},
        {"secret_hash": b"x" * 31},
        {"secret_hash": b"x" * 33},
        {"scopes": ()},
        {"rate": 0},
        {"rate": -1},
    ],
)
def test_what_is_no_key_cannot_be_stored(migrated: Engine, changed: dict[str, object]) -> None:
    row = key(**changed)
    with pytest.raises(StoreConflictError) as refused:
        store(migrated, row)
    assert row.secret_hash.hex() not in str(refused.value)


@pytest.mark.parametrize("scopes", ["{write}", "{read,write}", "{read,null}", "{}"])
def test_an_unknown_scope_cannot_be_stored(migrated: Engine, scopes: str) -> None:
    sql = "INSERT INTO keys VALUES ('0123456789ab', sha256('x'), 'a', 'b', %(scopes)s, null, 1)"
    with pytest.raises(StoreConflictError, match="scopes_known"), transaction(migrated) as opened:
        count(opened, sql, scopes=scopes)


@pytest.mark.parametrize("same", ["key_id", "secret_hash"])
def test_an_id_and_a_secret_belong_to_one_key(migrated: Engine, same: str) -> None:
    first = key()
    second = key(**{same: getattr(first, same)})
    with pytest.raises(StoreConflictError):
        store(migrated, first, second)


def test_usable_is_what_is_neither_revoked_nor_expired(connection: Connection) -> None:
    usable = [key(), key(expires_at_ms=5_001)]
    others = [
        key(expires_at_ms=5_000),
        key(revoked_at_ms=4_000),
        key(expires_at_ms=9_000, revoked_at_ms=9_000),
    ]
    for row in (*usable, *others):
        keys.insert_key(connection, row)
    found = keys.read_usable(connection, 5_000)
    assert {row.key_id for row in found} == {row.key_id for row in usable}
    assert all(row in usable for row in found)


def test_revoking_is_for_ever_and_the_first_time_counts(connection: Connection) -> None:
    row, other = key(), key(created_at_ms=1_001)
    keys.insert_key(connection, row)
    keys.insert_key(connection, other)
    revoked = replace(row, revoked_at_ms=5_000)
    assert keys.revoke_key(connection, row.key_id, 5_000) == revoked
    assert keys.revoke_key(connection, row.key_id, 6_000) == revoked
    assert keys.read_keys(connection) == [revoked, other]
    assert keys.read_usable(connection, 0) == [other]


def test_a_key_that_is_unknown_cannot_be_revoked(connection: Connection) -> None:
    assert keys.revoke_key(connection, "0123456789ab", 5_000) is None


def test_a_row_does_not_show_its_hash() -> None:
    row = key()
    assert repr(row.secret_hash) not in repr(row)
    assert row.key_id in repr(row)


def test_a_requesters_requests_are_found_newest_first_without_sorting(
    connection: Connection,
) -> None:
    said = rows(
        connection,
        "EXPLAIN SELECT request_id FROM requests WHERE requester = 'billing'"
        " AND (accepted_at_ms, request_id) < (5, '6d1f0c1e-2a55-4c3e-9a39-0f1f1d6d8f10')"
        " ORDER BY accepted_at_ms DESC, request_id DESC LIMIT 50",
    )
    plan = "\n".join(line for (line,) in said)
    assert "Scan Backward using requests_newest_idx" in plan
    assert "Sort" not in plan
