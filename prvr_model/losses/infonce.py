"""InfoNCE over the batch, both directions, several captions per video.

Source: the MSC paper, losses. No temperature.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


def infonce(
    scores: Float[Tensor, "captions videos"],
    video_of_caption: Int[Tensor, "captions"],
    ignored: Bool[Tensor, "captions videos"] | None = None,
) -> Float[Tensor, ""]:
    """Negative log-likelihood of each caption's video and of each video's captions.

    With v(i) the video of caption i, P_j the captions of video j and I the ignored pairs:

        mean_i [lse_{j: (i,j) not in I} U_ij - U_{i,v(i)}]
        + mean_j [lse_{i: (i,j) not in I} U_ij - lse_{i in P_j} U_ij]

    Args:
        scores: Raw dot products U.
        video_of_caption: Column of each caption's video; every video has a caption.
        ignored: Pairs I that are neither positive nor negative, none of a caption and its own
            video; None: there are none. Deliberate difference from the paper.

    Returns:
        Sum of the means over captions and over videos; 0 for a single video.
    """
    own = own_pairs(scores, video_of_caption)
    counted = scores if ignored is None else scores.masked_fill(ignored, -torch.inf)
    text_to_video = counted.logsumexp(dim=1) - scores.gather(1, video_of_caption[:, None])[:, 0]
    own_scores = scores.masked_fill(~own, -torch.inf)
    video_to_text = counted.logsumexp(dim=0) - own_scores.logsumexp(dim=0)
    return text_to_video.mean() + video_to_text.mean()


def own_pairs(
    scores: Float[Tensor, "captions videos"], video_of_caption: Int[Tensor, "captions"]
) -> Bool[Tensor, "captions videos"]:
    """Whether a caption belongs to a video."""
    columns = torch.arange(scores.shape[1], device=scores.device)
    return video_of_caption[:, None] == columns
