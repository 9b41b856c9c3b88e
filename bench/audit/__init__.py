"""Audit: a long history in the topics, and how fast it is reconciled."""
