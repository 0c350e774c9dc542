"""The old name of `retrieval.caption_embedder`.

Model versions that were registered before this package had rooms carry a script that imports it.
"""

from prvr_model.retrieval.caption_embedder import CaptionEmbedder

__all__ = ["CaptionEmbedder"]
