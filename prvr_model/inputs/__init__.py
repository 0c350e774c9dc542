"""From the rows of a store to batches: resampling, token merging, caching, prefetch.

Offers `prepared_split` (what is computed once per store and setting), `batching` (orders, draws and
batches), `prefetch` and `resampling`.
"""
