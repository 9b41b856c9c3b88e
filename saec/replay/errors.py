"""How a replay can fail, beyond parts that do not answer."""

from saec.errors import SaecError


class ReplayRefusedError(SaecError):
    """What was asked for is not done. The text says why, and what to ask for instead.

    Nothing was copied.
    """


class ReplayStoppedError(SaecError):
    """A replay ended before its end. The same replay run again goes on where it was."""
