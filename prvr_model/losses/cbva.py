"""Cross-branch video alignment (CBVA): frames agree with the segment that holds them.

Source: MSC, losses, CBVA. Everything is computed in logarithms; the released form divides
exponentials without a guard.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F


def segment_means(
    clips: Float[Tensor, "videos clips hidden"],
    clip_sizes: Float[Tensor, "videos clips"],
    segment_of_clip: Int[Tensor, "videos clips"],
) -> Float[Tensor, "videos clips hidden"]:
    """Size-weighted mean of each segment's clips; segments that a video lacks are zero."""
    columns = torch.arange(clips.shape[1], device=clips.device)
    # Not one_hot: on some devices it copies the largest index to the host.
    members = (segment_of_clip[:, :, None] == columns).to(clips.dtype)
    weights = members * clip_sizes[:, :, None]
    shares = weights / weights.sum(dim=1, keepdim=True).clamp_min(1)
    return shares.transpose(1, 2) @ clips


def cbva(
    frames: Float[Tensor, "videos frames hidden"],
    clips: Float[Tensor, "videos clips hidden"],
    clip_sizes: Float[Tensor, "videos clips"],
    segment_of_clip: Int[Tensor, "videos clips"],
    frame_to_clip: Int[Tensor, "videos frames"],
) -> Float[Tensor, ""]:
    """Contrast of a frame's own segment with the others, and of a segment's own frames.

    Args:
        frames: Projected frames.
        clips: Projected clips.
        clip_sizes: Frames in each clip.
        segment_of_clip: Segment of each clip, numbered from 0 without gaps.
        frame_to_clip: Clip of each frame.

    Returns:
        Mean over videos; a video with a single segment adds 0.
    """
    segments = segment_means(clips, clip_sizes, segment_of_clip)
    columns = torch.arange(segments.shape[1], device=segments.device)
    valid = columns <= segment_of_clip.amax(dim=1, keepdim=True)
    own = segment_of_clip.gather(1, frame_to_clip)[:, :, None] == columns
    by_frame = _contrast(frames @ segments.detach().transpose(1, 2), own, valid[:, None])
    by_segment = _contrast(
        segments @ frames.detach().transpose(1, 2), own.transpose(1, 2), valid[:, :, None]
    )
    segment_mean = (by_segment * valid).sum(dim=1) / valid.sum(dim=1)
    return (by_frame.mean(dim=1) + segment_mean).mean()


def _contrast(
    products: Float[Tensor, "videos rows columns"],
    own: Bool[Tensor, "videos rows columns"],
    valid: Bool[Tensor, "videos #rows #columns"],
) -> Float[Tensor, "videos rows"]:
    """`-log(P / (P + N))`, P and N the mean exponentials over own and other columns."""
    others = valid & ~own
    return F.softplus(_log_mean_exp(products, others) - _log_mean_exp(products, own & valid))


def _log_mean_exp(
    values: Float[Tensor, "videos rows columns"], chosen: Bool[Tensor, "videos rows columns"]
) -> Float[Tensor, "videos rows"]:
    """Logarithm of the mean exponential over the chosen columns; very negative for none."""
    # A finite floor: with minus infinity a row without chosen columns has NaN as its gradient.
    floor = torch.finfo(values.dtype).min / 4
    count = chosen.sum(dim=-1).clamp_min(1)
    return values.masked_fill(~chosen, floor).logsumexp(dim=-1) - count.to(values.dtype).log()
