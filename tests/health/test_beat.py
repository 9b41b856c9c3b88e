"""What a process says of itself: whole, its own, and gone with it. And what is made of that."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from saec.health import beat
from saec.health.__main__ import examine
from saec.health.beat import Beat, BeatError
from saec.health.heart import Heart
from saec.health.judge import STANDS_AFTER_S, Verdict, judge
from saec.settings import Settings
from tests.test_outage import MovedClock

ROLE = "dispatch"
ME = os.getpid()


class Turning:
    """A loop that a test turns."""

    turns = 0
    waits: str | None = None
    trouble: str | None = None


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings whose processes speak in a directory of this test."""
    return Settings(runtime_dir=tmp_path)


def said(turned_s: float = 0.0, waits: str | None = None, trouble: str | None = None) -> Beat:
    return Beat(7, "", turned_s, waits, trouble)


@pytest.mark.parametrize(
    ("beats", "verdict"),
    [
        ([], Verdict(False, "dispatch: no such process runs here, or not with this topic prefix")),
        ([said(1_000)], Verdict(True, "dispatch: at work")),
        ([said(1_000 - STANDS_AFTER_S)], Verdict(True, "dispatch: at work")),
        ([said(879)], Verdict(False, "dispatch, process 7: stands for 121 s")),
        (
            [said(879, "waits for Kafka: x")],
            Verdict(False, "dispatch, process 7: stands for 121 s"),
        ),
        ([said(1_000, trouble="no")], Verdict(False, "dispatch, process 7: no")),
        ([said(1_000), said(1_000, trouble="no")], Verdict(False, "dispatch, process 7: no")),
        (
            [said(1_000), said(1_000, "waits for Kafka: x")],
            Verdict(True, "dispatch, process 7: waits for Kafka: x"),
        ),
    ],
)
def test_what_beats_come_to(beats: list[Beat], verdict: Verdict) -> None:
    assert judge(ROLE, beats, 1_000.0) == verdict


def test_a_loop_that_stands_is_not_alive_though_its_process_goes_on_saying_so(
    settings: Settings,
) -> None:
    clock, loop = MovedClock(), Turning()
    heart = Heart(settings, ROLE, clock)
    heart.watch(loop)
    for _ in range(3):
        clock.now_s += STANDS_AFTER_S
        loop.turns += 1
        heart.beat()
        assert examine(settings, ROLE, clock.now_s).healthy
    clock.now_s += STANDS_AFTER_S
    heart.beat()
    assert examine(settings, ROLE, clock.now_s).healthy
    clock.now_s += 1
    heart.beat()
    assert examine(settings, ROLE, clock.now_s) == Verdict(
        False, f"dispatch, process {ME}: stands for 121 s"
    )


def test_what_the_loop_waits_for_and_its_trouble_are_handed_on(settings: Settings) -> None:
    clock, loop = MovedClock(), Turning()
    heart = Heart(settings, ROLE, clock)
    heart.starting("waits for PostgreSQL: no answer")
    heart.beat()
    assert examine(settings, ROLE, clock.now_s) == Verdict(
        True, f"dispatch, process {ME}: waits for PostgreSQL: no answer"
    )
    heart.watch(loop)
    heart.beat()
    assert examine(settings, ROLE, clock.now_s) == Verdict(True, "dispatch: at work")
    loop.trouble = "none of 4 shards assigned is dispatched"
    heart.beat()
    assert not examine(settings, ROLE, clock.now_s).healthy


def test_it_says_so_from_its_start_to_its_end_to_its_user_alone(settings: Settings) -> None:
    clock = MovedClock()
    with Heart(settings, ROLE, clock):
        (file,) = beat.directory(settings).glob("*.json")
        assert file.name == f"saec.dispatch.{ME}.json"
        assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)
        assert examine(settings, ROLE, clock.now_s).healthy
        assert not examine(settings, "requests", clock.now_s).healthy
        other = settings.model_copy(update={"topic_prefix": "other."})
        assert not examine(other, ROLE, clock.now_s).healthy
    assert list(beat.directory(settings).iterdir()) == []
    assert not examine(settings, ROLE, clock.now_s).healthy


def test_what_a_killed_process_left_counts_for_nothing_and_is_swept(settings: Settings) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        beat.write(settings, ROLE, Beat(child.pid, beat.started(child.pid), 1_000.0))
        assert examine(settings, ROLE, 1_000.0).healthy
        child.kill()
    assert examine(settings, ROLE, 1_000.0).line.startswith("dispatch: no such process")
    beat.sweep(settings)
    assert list(beat.directory(settings).iterdir()) == []


def test_a_process_that_has_the_id_of_a_killed_one_is_another(settings: Settings) -> None:
    beat.write(settings, ROLE, Beat(ME, "before", 1_000.0))
    assert not examine(settings, ROLE, 1_000.0).healthy


def test_a_directory_that_others_may_write_to_is_not_used(settings: Settings) -> None:
    beat.directory(settings).chmod(0o777)
    with pytest.raises(BeatError, match="not a directory of this user alone"):
        beat.write(settings, ROLE, Beat(ME, beat.started(ME), 1_000.0))
    verdict = examine(settings, ROLE, 1_000.0)
    assert not verdict.healthy
    assert "set SAEC_RUNTIME_DIR" in verdict.line


def test_the_directory_of_another_user_is_not_used(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = beat.directory(settings)
    monkeypatch.setattr(os, "geteuid", lambda: 4_242)
    mine.rename(mine.with_name("saec-4242"))
    with pytest.raises(BeatError, match="not a directory of this user alone"):
        beat.directory(settings)


def test_a_link_in_its_place_is_not_followed(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / f"saec-{os.geteuid()}").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BeatError, match="not a directory of this user alone"):
        beat.directory(settings)


def test_a_process_that_cannot_say_how_it_is_works_on(tmp_path: Path) -> None:
    settings = Settings(runtime_dir=tmp_path / "missing")
    with Heart(settings, ROLE, MovedClock()) as heart:
        heart.beat()
    assert "cannot be made" in examine(settings, ROLE, 1_000.0).line


def test_what_cannot_be_read_is_told(settings: Settings) -> None:
    (beat.directory(settings) / f"saec.dispatch.{ME}.json").write_text("[", "utf-8")
    verdict = examine(settings, ROLE, 1_000.0)
    assert not verdict.healthy
    assert "cannot be read" in verdict.line


@pytest.mark.parametrize(("variable", "value"), [("SAEC_SHARDS", "s3cret"), ("HOME", "/missing")])
def test_the_command_needs_no_part(variable: str, value: str, tmp_path: Path) -> None:
    asked = subprocess.run(
        [sys.executable, "-m", "saec.health", ROLE],
        env=os.environ | {"SAEC_RUNTIME_DIR": str(tmp_path), variable: value},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (asked.returncode, asked.stderr) == (1, "")
    (line,) = asked.stdout.splitlines()
    assert line.startswith("dispatch: ")
    assert "s3cret" not in line
