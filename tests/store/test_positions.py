"""A saved position never goes back."""

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from saec.store.engine import Engine, count, transaction
from saec.store.positions import read_positions, save_positions

EXAMPLES = 60

saves = st.lists(st.dictionaries(st.integers(0, 3), st.integers(0, 2**62)), max_size=6)


@pytest.fixture
def empty(migrated: Engine) -> Engine:
    """A database without positions."""
    empty_positions(migrated)
    return migrated


def empty_positions(engine: Engine) -> None:
    with transaction(engine) as connection:
        count(connection, "TRUNCATE positions")


def save(engine: Engine, topic: str, next_offsets: dict[int, int]) -> None:
    with transaction(engine) as connection:
        save_positions(connection, topic, next_offsets)


def read(engine: Engine, topic: str) -> dict[int, int]:
    with transaction(engine) as connection:
        return read_positions(connection, topic)


@settings(max_examples=EXAMPLES)
@given(saved=saves)
def test_the_greatest_position_of_each_partition_stands(
    migrated: Engine, saved: list[dict[int, int]]
) -> None:
    empty_positions(migrated)
    expected: dict[int, int] = {}
    for next_offsets in saved:
        save(migrated, "t", next_offsets)
        expected |= {p: max(expected.get(p, 0), at) for p, at in next_offsets.items()}
        assert read(migrated, "t") == expected


def test_a_stopped_process_that_wakes_up_takes_nothing_back(empty: Engine) -> None:
    save(empty, "t", {0: 10, 1: 5})
    save(empty, "t", {0: 3, 1: 6})
    assert read(empty, "t") == {0: 10, 1: 6}


def test_topics_are_apart(empty: Engine) -> None:
    save(empty, "a", {0: 1})
    save(empty, "b", {0: 2, 1: 3})
    assert read(empty, "a") == {0: 1}
    assert read(empty, "b") == {0: 2, 1: 3}
    assert read(empty, "c") == {}


def test_a_position_is_saved_with_its_transaction_or_not_at_all(empty: Engine) -> None:
    with suppress(ZeroDivisionError), transaction(empty) as connection:
        save_positions(connection, "t", {0: 1})
        raise ZeroDivisionError
    assert read(empty, "t") == {}
