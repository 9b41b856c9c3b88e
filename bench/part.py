"""A part of the suite: a command with sizes of its own."""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bench.lab import Lab
from bench.outcome import Outcome

Options = argparse.Namespace
_NO_SIZES = {"command", "results"}


@dataclass(frozen=True)
class Part:
    """Its options have the sizes of the real thing as defaults; a small run is a matter of them."""

    name: str
    what: str
    example: str
    add_options: Callable[[argparse.ArgumentParser], None]
    run: Callable[[Lab, Options], Outcome]


def sizes(given: Options) -> dict[str, Any]:
    """The sizes of a run, for the results file."""
    return {name: value for name, value in vars(given).items() if name not in _NO_SIZES}


def numbers(text: str) -> tuple[int, ...]:
    """Several numbers, as `0,1000000`."""
    return tuple(int(one) for one in text.split(","))
