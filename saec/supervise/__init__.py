"""SAEC's processes as children of one command: `saec up`, `saec demo`.

Invariant: no child outlives the command, however the command ends.
"""
