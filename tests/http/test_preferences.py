"""`Prefer: wait=N` is understood as RFC 7240 writes it; what is not, is passed over."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saec.http.preferences import LONGEST_WAIT_S, applied, wait_s
from tests.http.kit import asked


def waits(*headers: str) -> int | None:
    return wait_s(asked(headers=[("Prefer", header) for header in headers]))


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        (["wait=10"], 10),
        (["wait=0"], 0),
        (["Wait = 10 "], 10),
        (['wait="10"'], 10),
        (["wait=10; foo=bar"], 10),
        (["respond-async, wait=7"], 7),
        (["respond-async", "wait=7"], 7),
        (["wait=5, wait=9"], 5),
        (["wait=5", "wait=9"], 5),
        (["handling=lenient;x=y,wait=5"], 5),
        (["wait=61"], LONGEST_WAIT_S),
        (["wait=999999999"], LONGEST_WAIT_S),
    ],
)
def test_what_is_understood(given: list[str], seconds: int) -> None:
    assert waits(*given) == seconds


@pytest.mark.parametrize(
    "given",
    [
        "",
        "wait",
        "wait=",
        "wait=-1",
        "wait=1.5",
        "wait=10s",
        "wait=1e3",
        "wait=²",
        "wait=9999999999",
        "await=10",
        "wait10",
        "wait==10",
        "wait=10 wait=10",
        "respond-async",
        "wait=" + "9" * 8_000,
        "wait" + " " * 8_000,
        "," * 8_000,
    ],
)
def test_what_is_not_is_passed_over(given: str) -> None:
    assert waits(given) is None
    assert waits(given, "wait=3") == 3


def test_without_the_header_nobody_waits() -> None:
    assert waits() is None


@given(st.text(st.characters(max_codepoint=255)))
def test_whatever_it_says_the_wait_is_bounded(given: str) -> None:
    assert waits(given) in {None, *range(LONGEST_WAIT_S + 1)}


def test_what_was_followed_is_said() -> None:
    assert applied(None) == {}
    assert applied(0) == {"Preference-Applied": "wait=0"}
    assert applied(60) == {"Preference-Applied": "wait=60"}
