"""Scoring, what is measured on it, and search: recalls, ranks, moments, collapse, galleries.

Offers `evaluation`, `metrics`, `moments` and `caption_embedder` (query vectors of an exported
model); `gallery` with `gallery_format`, `gallery_encoding` and `gallery_writer`; `search` and
`ivf` (a quicker one, by an inverted file).
"""
