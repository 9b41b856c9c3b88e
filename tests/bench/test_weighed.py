"""What a command took is what it took, also where it takes less than who started it."""

import sys

import pytest

from bench.audit import part
from bench.audit.weighed import Weighed, weighed

MB = 1_000_000


def python(code: str) -> Weighed:
    return weighed([sys.executable, "-c", code], {})


@pytest.mark.parametrize(("size", "ours"), [(700 * MB, 0), (40 * MB, 300 * MB)])
def test_memory_is_that_of_the_child(size: int, ours: int) -> None:
    held = bytearray(ours)
    held[::4096] = b"x" * len(held[::4096])
    done = python(f"import time; x = bytearray({size}); x[::4096] = x[::4096]; time.sleep(0.5)")
    assert size < done.peak_mb * MB < size + 40 * MB
    assert done.seconds > 0.5
    assert len(held) == ours


def test_temporary_files_are_seen_while_they_are_there() -> None:
    done = python(
        "import tempfile, time; f = tempfile.NamedTemporaryFile()\n"
        f"f.write(b'x' * {5 * MB}); f.flush(); time.sleep(1)"
    )
    assert 5 <= done.temporary_mb < 6


def test_processor_time_output_and_code() -> None:
    done = python(
        "import time, sys\nwhile time.process_time() < 0.4: pass\nprint('x'); sys.exit(3)"
    )
    assert (done.said, done.code) == ("x\n", 3)
    assert 0.4 <= done.cpu_s < 1


@pytest.mark.parametrize(
    ("name", "code", "said"),
    [
        (part.AUDIT, 1, "{}"),
        (part.TUNED, 1, '{"records": 7}'),
        (part.TUNED, 0, '{"records": 6}'),
        (part.DEFAULTS, 0, '{"records": 8}'),
    ],
)
def test_a_side_that_finds_something_or_reads_another_number_fails(
    name: str, code: int, said: str
) -> None:
    part._check(name, Weighed(1, 1, 1, 1, 0, '{"records": 7}'), 7)
    with pytest.raises(RuntimeError, match=name):
        part._check(name, Weighed(1, 1, 1, 1, code, said), 7)
