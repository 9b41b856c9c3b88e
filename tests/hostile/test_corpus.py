"""What the fuzzer found worth keeping, once more; without the fuzzer."""

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fuzz.target import check
from saec.contracts.decode import decode_customer, decode_request
from tests.contracts.values import MAX_BYTES, accepted

CORPUS = Path(__file__).parents[2] / "fuzz/corpus"
KEPT = sorted(CORPUS.iterdir())


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.name)
def test_what_was_kept_breaks_nothing(path: Path) -> None:
    check(path.read_bytes())


def test_the_corpus_is_worth_replaying() -> None:
    """Small, and with events that are accepted in both encodings, from both topics."""
    inputs = [path.read_bytes() for path in KEPT]
    assert sum(map(len, inputs)) < 200_000
    read = [data for data in inputs if data and accepted(lambda data=data: _decode(data))]
    kinds = {(data[0] >= 128, b"\xc3\x01" in data[:5]) for data in read}
    assert kinds == {(False, False), (False, True), (True, False), (True, True)}


def _decode(data: bytes) -> object:
    if data[0] < 128:
        return decode_request(data[1:], None, MAX_BYTES)
    return decode_customer(data[1:3], data[3:], None, MAX_BYTES)


@given(st.binary(max_size=400))
@example(b"")
def test_any_bytes_break_nothing(data: bytes) -> None:
    check(data)


@given(st.data())
def test_any_change_of_what_was_kept_breaks_nothing(data: st.DataObject) -> None:
    value = bytearray(data.draw(st.sampled_from(KEPT)).read_bytes())
    for _ in range(data.draw(st.integers(1, 6))):
        start = data.draw(st.integers(0, len(value)))
        end = data.draw(st.integers(start, min(len(value), start + 8)))
        value[start:end] = data.draw(st.binary(max_size=8))
    check(bytes(value))
