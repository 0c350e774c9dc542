"""InfoNCE over the batch, both directions, several captions per video.

Source: the MSC paper, losses. No temperature.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


def infonce(
    scores: Float[Tensor, "captions videos"],
    video_of_caption: Int[Tensor, "captions"],
) -> Float[Tensor, ""]:
    """Negative log-likelihood of each caption's video and of each video's captions.

    Args:
        scores: Raw dot products U.
        video_of_caption: Column of each caption's video; every video has a caption.

    Returns:
        Sum of the means over captions and over videos; 0 for a single video.
    """
    own = own_pairs(scores, video_of_caption)
    text_to_video = scores.logsumexp(dim=1) - scores.gather(1, video_of_caption[:, None])[:, 0]
    own_scores = scores.masked_fill(~own, -torch.inf)
    video_to_text = scores.logsumexp(dim=0) - own_scores.logsumexp(dim=0)
    return text_to_video.mean() + video_to_text.mean()


def own_pairs(
    scores: Float[Tensor, "captions videos"], video_of_caption: Int[Tensor, "captions"]
) -> Bool[Tensor, "captions videos"]:
    """Whether a caption belongs to a video."""
    columns = torch.arange(scores.shape[1], device=scores.device)
    return video_of_caption[:, None] == columns
