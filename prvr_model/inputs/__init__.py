"""From the rows of a store to batches: resampling, token merging, caching, prefetch.

Offers `prepared_split` (what is computed once per store and setting), `batching` (orders, draws and
batches), `raw_videos` (one video's inputs), `prefetch`, `threads`, `torch_threads`, `allocator`,
`processor` (what it multiplies fast) and `resampling`.
"""
