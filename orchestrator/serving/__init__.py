"""Answers typed sentences with videos and seconds: a model's galleries, queries, the service."""
