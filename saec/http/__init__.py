"""The endpoint for those who cannot publish to Kafka: the same contract over HTTP.

Invariant: it only publishes to the request topic, and only reads PostgreSQL. What it answers is
what the topics and the tables say; it keeps nothing of its own.
"""
