"""A run of the main job on real parts, with a verdict on it.

Invariant: what is expected is computed from what was submitted alone; what was dispatched is read
back from the topics.
"""
