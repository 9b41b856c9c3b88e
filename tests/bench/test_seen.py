"""What a reader saw is held against what was asked: each kind of error is planted and found."""

import uuid
from array import array
from collections.abc import Sequence
from pathlib import Path

import pytest

from bench.lateness import histogram
from bench.restart import first_after
from bench.seen import Lateness, Readings, judge, waits_ms

DUE_MS = 1_800_000_000_000
A, B, C, OTHER = (str(uuid.UUID(int=number)).encode() for number in range(1, 5))
ASKED = {A: DUE_MS, B: DUE_MS, C: DUE_MS + 500}


def readings(*looks: tuple[float, Sequence[bytes]]) -> Readings:
    """Looks, each at so many ms after the due instant, with the ids that it brought."""
    return Readings(
        [len(ids) for _, ids in looks],
        [round((DUE_MS + after_ms) * 1000) for after_ms, _ in looks],
        b"".join(id_ for _, ids in looks for id_ in ids),
    )


def test_everything_once_and_in_time_is_exact() -> None:
    seen = judge(readings((10, [A]), (510, [B, C])), ASKED)
    assert seen.exact
    assert seen.messages == 3
    assert (seen.seconds, seen.rate) == (0.5, 4)  # two messages in the half second


def test_a_missing_one_is_counted() -> None:
    seen = judge(readings((10, [A]), (510, [C])), ASKED)
    assert (seen.missing, seen.exact) == (1, False)


def test_a_double_is_counted_each_time_and_its_first_time_counts_as_its_lateness() -> None:
    seen = judge(readings((10, [A, B]), (510, [C, A]), (9_000, [A])), ASKED)
    assert (seen.duplicate, seen.missing, seen.exact) == (2, 0, False)
    assert seen.lateness == Lateness(10, 10, 10, 10)


def test_what_nobody_asked_for_is_counted() -> None:
    seen = judge(readings((10, [A, OTHER, OTHER]), (510, [B, C])), ASKED)
    assert (seen.unexpected, seen.duplicate, seen.missing, seen.exact) == (2, 0, 0, False)


def test_an_early_one_is_counted_by_its_own_instant() -> None:
    seen = judge(readings((10, [A, B, C])), ASKED)
    assert (seen.early, seen.exact) == (1, False)  # C is due 490 ms later


def test_nothing_at_all_is_all_missing() -> None:
    seen = judge(readings(), ASKED)
    assert (seen.missing, seen.rate, seen.lateness, seen.exact) == (3, 0, None, False)


def test_lateness_is_that_of_each_message() -> None:
    asked = {str(uuid.UUID(int=n)).encode(): DUE_MS + n for n in range(1_000)}
    late = readings(*((n + (n == 7) * 90 + 2.5, [id_]) for n, id_ in enumerate(asked)))
    seen = judge(late, asked)
    assert seen.lateness == Lateness(p50_ms=2.5, p99_ms=2.5, p999_ms=92.5, max_ms=92.5)


@pytest.mark.parametrize(("share", "of_100"), [("p50_ms", 50), ("p99_ms", 99), ("max_ms", 99)])
def test_shares_are_of_all_messages(share: str, of_100: int) -> None:
    assert getattr(Lateness.of(range(100)), share) == of_100


def test_what_a_reader_wrote_is_what_is_judged(tmp_path: Path) -> None:
    (tmp_path / "ids").write_bytes(A + B + C)
    (tmp_path / "looks").write_bytes(array("q", (1, DUE_MS * 1000, 2, DUE_MS * 1000 + 500_000)))
    assert list(Readings.load(tmp_path).records()) == [
        (A, DUE_MS * 1000),
        (B, DUE_MS * 1000 + 500_000),
        (C, DUE_MS * 1000 + 500_000),
    ]


def test_lateness_beside_others_is_of_what_came_due_while_they_were_read() -> None:
    at = [str(uuid.UUID(int=100 + n)).encode() for n in range(4)]
    asked = dict(zip(at, (DUE_MS, DUE_MS + 100, DUE_MS + 200, DUE_MS + 300), strict=True))
    others = {A: DUE_MS, B: DUE_MS}
    looks = readings((50, [at[0], A]), (150, [at[1]]), (250, [B, at[2]]), (700, [at[3]]))
    assert waits_ms(looks, asked, others) == [50, 50]  # the 2nd and the 3rd
    assert waits_ms(looks, asked, {}) == [50, 50, 50, 400]


def test_the_first_record_after_a_restart_is_the_first_one_not_seen_before_it() -> None:
    looks = readings((10, [A, B]), (20, [C]), (900, [OTHER]))
    assert first_after(looks, 3) == (DUE_MS + 900) * 1000
    assert first_after(looks, 2) == (DUE_MS + 20) * 1000
    with pytest.raises(ValueError, match="nothing"):
        first_after(looks, 4)


def test_a_histogram_counts_whole_milliseconds() -> None:
    assert histogram([0.2, 3.9, 3.1, 12.0]) == [(0, 1), (3, 2), (12, 1)]
