"""Whatever is copied arrives unchanged."""

from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from saec.errors import StoreUnavailableError
from saec.store.copying import copy_rows
from saec.store.engine import Engine, StoreConflictError, rows, transaction

COLUMNS = ("number", "line", "raw", "flag", "id", "texts", "numbers")
TABLE = """
    CREATE TEMPORARY TABLE copied (ordinal serial, number bigint, line text, raw bytea,
        flag boolean, id uuid, texts text[], numbers bigint[]) ON COMMIT DROP
"""
EXAMPLES = 100

# PostgreSQL has no NUL in texts, and UTF-8 no lone surrogates: the contracts refuse both.
texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
awkward = st.text(st.sampled_from('\\\n\r\t"{},. NULLnrtx0á🎉\x08\x0b\x0c\x7f\u2028'))
lines = texts | awkward | st.sampled_from(["\\.", "\\N", "NULL", "", "{}", '"', "\\\\x00", "\r\n"])
bigints = st.integers(-(2**63), 2**63 - 1)
rows_of_any = st.lists(
    st.tuples(
        st.none() | bigints,
        st.none() | lines,
        st.none() | st.binary(),
        st.none() | st.booleans(),
        st.none() | st.uuids().map(lambda made: UUID(int=made.int)),
        st.none() | st.lists(lines, max_size=4) | st.tuples(lines),
        st.none() | st.lists(bigints, max_size=4),
    ),
    max_size=5,
)


def round_trip(engine: Engine, given_rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """The rows as they come back, in the order they were given."""
    with transaction(engine) as connection:
        connection.exec_driver_sql(TABLE)
        copy_rows(connection, "copied", COLUMNS, given_rows)
        select = f"SELECT {', '.join(COLUMNS)} FROM copied ORDER BY ordinal"
        return [tuple(map(_plain, row)) for row in rows(connection, select)]


def _plain(value: Any) -> Any:
    """Without the driver's own type for bytes."""
    return bytes(value) if isinstance(value, memoryview) else value


@settings(max_examples=EXAMPLES)
@given(given_rows=rows_of_any)
def test_any_row_arrives_unchanged(migrated: Engine, given_rows: list[tuple[Any, ...]]) -> None:
    expected = [
        tuple(list(value) if isinstance(value, tuple) else value for value in row)
        for row in given_rows
    ]
    assert round_trip(migrated, given_rows) == expected


def test_ten_thousand_rows_arrive_in_order(migrated: Engine) -> None:
    given_rows = [(n, f"linha {n}\n🎉", None, None, None, [str(n)], None) for n in range(10_000)]
    assert round_trip(migrated, given_rows) == given_rows


def test_large_values_arrive_unchanged(migrated: Engine) -> None:
    raw, line = bytes(range(256)) * 4_000, "á\t" * 500_000
    given_rows = [(n, line, raw, None, None, [line], None) for n in range(2)]
    assert round_trip(migrated, given_rows) == given_rows


@pytest.mark.parametrize("value", [1.5, object(), {"a": 1}, {"a"}])
def test_other_types_are_refused_by_name(migrated: Engine, value: Any) -> None:
    refused = f"cannot COPY a {type(value).__name__}"
    with pytest.raises((TypeError, StoreUnavailableError), match=refused):
        round_trip(migrated, [(1, *[None] * 6), (value, *[None] * 6)])


def test_an_error_of_copy_is_an_error_of_the_store(migrated: Engine) -> None:
    unlike = [("no number", *[None] * 6)]
    with pytest.raises(StoreUnavailableError) as caught:
        round_trip(migrated, unlike)
    assert "no number" not in str(caught.value)
    with pytest.raises(StoreConflictError), transaction(migrated) as connection:
        copy_rows(connection, "positions", ["topic", "partition", "next_offset"], [("t", 0, 1)] * 2)


def test_a_connection_lost_in_the_middle_is_an_error_of_the_store(migrated: Engine) -> None:
    with pytest.raises(StoreUnavailableError):
        lose_the_connection_and_copy(migrated)
    with transaction(migrated) as connection:
        assert rows(connection, "SELECT count(*) FROM positions") == [(0,)]


def lose_the_connection_and_copy(engine: Engine) -> None:
    with transaction(engine) as connection:
        ((pid,),) = rows(connection, "SELECT pg_backend_pid()")
        with transaction(engine) as other:
            # Waits until the session has ended.
            rows(other, "SELECT pg_terminate_backend(%(pid)s, 10000)", pid=pid)
        copy_rows(connection, "positions", ["topic", "partition", "next_offset"], [("t", 0, 1)])
