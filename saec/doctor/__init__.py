"""`saec doctor`: looks at an installation from outside, and says what to do about what it finds.

Invariant: it changes nothing: not a record, not a row, not a group.
"""
