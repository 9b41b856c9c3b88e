"""The parts of production on a bare machine: PostgreSQL and Apache Kafka from package registries.

Owns everything below one data directory and the jars in the user's cache directory. Invariant: no
part outlives the process that started it, however that process ends.
"""

from saec.embedded.stack import Addresses, EmbeddedStack

__all__ = ["Addresses", "EmbeddedStack"]
