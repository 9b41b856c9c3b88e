"""A model of the two protocols, small enough to look at every state: see faults/checker.py."""
