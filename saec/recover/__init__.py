"""Brings a database that went back in time up to what Kafka knows: `saec recover`."""
