"""What `python -m bench all` takes."""

import argparse

import pytest

from bench import __main__ as commands


def given(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    commands._add_all(parser)
    return parser.parse_args(words)


def test_every_part_at_its_own_size_unless_told() -> None:
    assert list(given().parts) == list(commands.PARTS)
    burst = commands._given_for(commands.PARTS[0], given().set)
    assert burst.messages == 200_000


def test_some_parts_at_other_sizes() -> None:
    told = given("--parts", "burst,idle", "--set", "burst.messages=7", "--set", "idle.rounds=2")
    assert [part.name for part in told.parts] == ["burst", "idle"]
    burst, idle = (commands._given_for(part, told.set) for part in told.parts)
    assert (burst.messages, burst.rounds, idle.rounds) == (7, 3, 2)


@pytest.mark.parametrize("words", [("--parts", "x"), ("--set", "x.y=1")])
def test_a_part_that_is_not_there_is_refused(words: tuple[str, str]) -> None:
    with pytest.raises(SystemExit):
        given(*words)
