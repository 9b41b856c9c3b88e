"""Counts work in calls: seconds depend on how busy the machine is, calls do not."""

import sys
from collections.abc import Callable


def calls(work: Callable[[], object], events: tuple[str, ...] = ("call", "c_call")) -> int:
    """How many functions are called meanwhile: in Python (`call`), and in C (`c_call`)."""
    made = 0

    def count(_frame: object, event: str, _argument: object) -> None:
        nonlocal made
        made += event in events

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(before)
    return made
