"""Makes features from videos and sentences: decoding, encoders, and the store that comes of them.

Offers `encoder`. The same code encodes a store's captions and the sentence that somebody types.
"""
