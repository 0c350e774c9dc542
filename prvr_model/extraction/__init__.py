"""Makes features from videos and sentences: decoding, encoders, and the store that comes of them.

Offers `encoder`, `decoding` (how videos are sampled), `extract` (videos and captions into a store),
`parts` (what of it is done), `pipeline`, `videos` and `thumbnails`. The same code encodes a store's
captions and the sentence that somebody types.
"""
