"""What a person sees while a part works."""

import sys
import time

_EVERY_S = 5.0


def say(text: str) -> None:
    """One line, at once."""
    sys.stdout.write(f"{time.strftime('%H:%M:%S')} {text}\n")
    sys.stdout.flush()


class Progress:
    """Says how far something long is, every few seconds."""

    def __init__(self, what: str, of: int) -> None:
        self._what = what
        self._of = of
        self._told_s = time.monotonic()

    def at(self, done: int) -> None:
        """So much is done."""
        now_s = time.monotonic()
        if now_s >= self._told_s + _EVERY_S:
            self._told_s = now_s
            say(f"  {self._what}: {done:,} of {self._of:,}")
