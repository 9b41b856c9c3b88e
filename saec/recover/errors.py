"""How a recovery can fail, beyond parts that do not answer."""

from saec.errors import SaecError


class RecoverError(SaecError):
    """A recovery cannot begin or go on. The text says why, and what to do.

    It is safe to run it again.
    """
