"""The story of one request, from where its traces stand in PostgreSQL and Kafka."""

from saec.history.story import Story, story

__all__ = ["Story", "story"]
