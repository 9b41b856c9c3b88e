"""How far around an instant is read, and how much at most.

Every instant here was stamped by a clock, and clocks differ. Invariant: what is read depends on
these figures and on how much flows meanwhile, never on how much the topics hold.
"""

CLOCKS_MS = 60_000
"""Between two machines. `saec doctor` warns of one second; a minute is what requests are allowed
to be behind (SAEC_GRACE_S). A minute of one shard's ledger is a few megabytes at the most."""

CLOSE_MS = 1_000
"""Tried first. The records of a batch are stamped by one clock between its first and its last
record in the ledger, and an answer mostly follows within a second."""

MOST_RECORDS = 100_000
"""Read in search of one thing, where no second instant bounds it."""
