"""Whether the promise holds on real parts while everything fails: docs/reliability.md."""
