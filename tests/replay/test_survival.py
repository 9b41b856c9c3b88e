"""The command, killed in the middle again and again, and started twice: one copy, in order."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import pytest

from saec.kafka import stretches
from saec.settings import Settings
from tests.cli.conftest import environment
from tests.replay.kit import assert_in_order, make_topic, numbered, put, seen

COUNT, KILLS, TIMEOUT_S = 3_000, 4, 60.0
Process = subprocess.Popen[str]


def start(settings: Settings, *args: str) -> Process:
    return subprocess.Popen(
        [sys.executable, "-c", "from saec.cli import main; main()", "replay", *args],
        env=os.environ | environment(settings) | {"NO_COLOR": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Where the tests run in the background, their children ignore Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    )


def end(process: Process) -> str:
    """Wait for a run that is to succeed; what it said."""
    out, err = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 0, err
    return out


def written(settings: Settings, topic: str) -> int:
    """How far the topic goes, with what is open or aborted."""
    return sum(len(stretch) for stretch in stretches.bounds(settings, topic).values())


def wait_until(condition: Callable[[], bool]) -> None:
    until_s, never = time.monotonic() + TIMEOUT_S, threading.Event()
    while not condition():
        assert time.monotonic() < until_s
        never.wait(0.002)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("partitions", [2, 3])
def test_killed_again_and_again_it_makes_one_copy(installation: Settings, partitions: int) -> None:
    source, target = make_topic(installation, 2), make_topic(installation, partitions)
    put(installation, source, numbered(COUNT))
    seen_so_far = []
    for _ in range(KILLS):
        before = written(installation, target)
        process = start(installation, source, "--to", target, "--rate", "400")
        wait_until(lambda at=before: written(installation, target) > at + 100)  # type: ignore[misc]
        process.send_signal(signal.SIGKILL)
        process.communicate()
        seen_so_far.append(len(seen(installation, target)))
    put(installation, source, numbered(500))  # which does not belong to it any more
    said = end(start(installation, source, "--to", target))
    copies = seen(installation, target)
    assert 0 < seen_so_far[-1] < COUNT, "the kills were not in the middle"
    assert f"{COUNT - seen_so_far[-1]:,} records copied" in said
    assert sorted(int(copy.value or b"") for copy in copies) == list(range(COUNT))
    assert_in_order(copies)
    assert "0 records copied" in end(start(installation, source, "--to", target))
    assert len(seen(installation, target)) == COUNT


@pytest.mark.timeout(900)
def test_a_run_that_hangs_and_wakes_up_beside_its_successor(installation: Settings) -> None:
    source, target = make_topic(installation, 2), make_topic(installation, 2)
    put(installation, source, numbered(COUNT))
    command = (source, "--to", target, "--rate", "1500")
    zombie = start(installation, *command)
    wait_until(lambda: written(installation, target) > 100)
    zombie.send_signal(signal.SIGSTOP)
    end(start(installation, *command))
    zombie.send_signal(signal.SIGCONT)
    out, err = zombie.communicate(timeout=TIMEOUT_S)
    assert (zombie.returncode, out) == (3, "")
    assert "another run of it was started" in err
    assert "Traceback" not in err
    copies = seen(installation, target)
    assert sorted(int(copy.value or b"") for copy in copies) == list(range(COUNT))
    assert_in_order(copies)


def test_ctrl_c_says_how_to_go_on(installation: Settings) -> None:
    source, target = make_topic(installation, 2), make_topic(installation, 2)
    put(installation, source, numbered(COUNT))
    process = start(installation, source, "--to", target, "--rate", "400")
    wait_until(lambda: written(installation, target) > 100)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=TIMEOUT_S)
    assert (process.returncode != 0, out) == (True, "")
    assert "The same command goes on from what was copied." in err
    assert "Traceback" not in err
    end(start(installation, source, "--to", target))
    assert len(seen(installation, target)) == COUNT
