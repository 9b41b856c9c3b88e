"""Faults: whether the promise holds on real parts while everything fails; see docs/reliability.md."""
