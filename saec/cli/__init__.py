"""The command `saec`: what requesters, senders and operators do by hand.

Invariant: a result goes to stdout, everything else to stderr; an error says what to do next.
"""

from saec.cli.app import main

__all__ = ["main"]
