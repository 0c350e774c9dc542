"""The old name of `retrieval.caption_embedder`.

Versions that were registered before there were rooms carry a script that imports it.
"""

from prvr_model.retrieval.caption_embedder import CaptionEmbedder

__all__ = ["CaptionEmbedder"]
