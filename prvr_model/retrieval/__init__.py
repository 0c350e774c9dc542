"""Scoring, what is measured on it, and search: recalls, ranks, moments, collapse, galleries.

Offers `evaluation`, `metrics`, `relevance` (which videos are correct), `query_slices` (parts of the
captions), `moments` (windows in seconds), `moment_evaluation`, `frozen` (what the features retrieve
untrained, by rows or by `segments`), `sanity` (the verdict on a store) and `caption_embedder`
(query vectors of an exported model); `gallery` with `gallery_format`, `gallery_encoding` and
`gallery_writer`; `search`, `ivf` (a quicker one, by an inverted file) and `found_videos` (with
moments); and `costs` (what using a model costs).
"""
