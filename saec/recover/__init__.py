"""Brings a database up to what Kafka knows, or makes it anew: `saec recover`, `saec rebuild`."""
