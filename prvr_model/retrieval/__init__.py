"""Scoring and what is measured on it: recalls, ranks, collapse diagnostics.

Offers `evaluation`, `metrics`, `moments` (windows in seconds), `moment_evaluation`, `frozen` (what
the features retrieve untrained), `sanity` (the verdict on a store) and
`caption_embedder` (query vectors of an exported model).
"""
