"""Operations of a training step's products, as a function of its sizes.

Products with weights, in attention and of scores, forward and backward; the losses' own are below a
percent. `test_step_operations` compares it with a count of the products that are executed.
"""

from dataclasses import dataclass

from prvr_model.settings import ModelSettings


@dataclass(frozen=True)
class StepSizes:
    """Sizes of a step.

    Args:
        videos: Videos of the batch.
        captions: Captions of the batch.
        caption_rows: Rows of their tokens that are encoded, padding included.
        caption_length: Tokens of a caption with its padding.
        dim: Dimension of features, of frames and of tokens.
    """

    videos: int
    captions: int
    caption_rows: int
    caption_length: float
    dim: int


def step_operations(model: ModelSettings, sizes: StepSizes) -> float:
    """Floating-point operations of the products of a step with dropout; a product's sum is two."""
    hidden, heads = model.hidden_size, model.num_heads
    lengths = (model.num_frames, model.num_clips)
    rows = sizes.videos * sum(lengths)
    video_blocks = sum(sizes.videos * n * _block(n, hidden) for n in lengths) * model.num_scales
    caption_blocks = sizes.caption_rows * _block(sizes.caption_length, hidden)
    # Forward once, backward by the weights, and once more for what comes through the mask.
    projections = 3 * (rows + sizes.caption_rows) * sizes.dim * hidden
    # Scores and sums of each row, by each head, forward; backward five times.
    mixing = 7 * rows * model.num_scales * heads * hidden
    scores = 3 * sizes.captions * rows * hidden
    alignment = 3 * rows * hidden**2
    summaries = 3 * 2 * sizes.videos * model.num_scales * _summary(model)
    return 2.0 * (
        video_blocks + caption_blocks + projections + mixing + scores + alignment + summaries
    )


def _block(length: float, hidden: int) -> float:
    """Of a row of a block: three projections, a wide layer twice, and scores and sums of heads."""
    return 3 * (3 + 8) * hidden**2 + 6 * length * hidden


def _summary(model: ModelSettings) -> float:
    """Of a video's summary of one scale: value, a layer of equal width, and the weights' layers."""
    hidden = model.hidden_size
    return 4 * hidden**2 + hidden * (model.num_frames + model.num_clips) / 2
