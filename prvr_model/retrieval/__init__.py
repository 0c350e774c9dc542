"""Scoring and what is measured on it: recalls, ranks, collapse diagnostics.

Offers `evaluation`, `metrics` and `caption_embedder` (query vectors of an exported model).
"""
