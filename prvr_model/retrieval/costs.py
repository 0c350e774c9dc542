"""What using a model costs: its weights, a video in a gallery, a query.

The first two follow from the settings and the data's dimensions; a query is timed.
"""

import time
from collections.abc import Callable
from statistics import median

import torch

from prvr_model.inputs.prepared_split import PreparedSplit
from prvr_model.network.model import MscModel
from prvr_model.network.similarity import unit_rows
from prvr_model.reporting import BYTES_PER_VIDEO, PARAMETERS
from prvr_model.settings import ModelSettings

# A value of a gallery as `gallery build` makes it: float32, and a byte for the screen of a scan.
_VALUE_BYTES = 5
# How many times as wide the feed-forward layer of a block is.
_EXPANSION = 4
# Videos that a query is timed against: enough to be read from memory, not from a cache. The time
# is given for a gallery of so many.
_TIMED_VIDEOS, _VIDEOS = 256, 10_000
_REPEATS = 5


def bytes_per_video(model: ModelSettings) -> int:
    """Bytes of a video's vectors in a gallery with default options."""
    return (model.num_clips + model.num_frames) * model.hidden_size * _VALUE_BYTES


def num_parameters(model: ModelSettings, video_dim: int, text_dim: int) -> int:
    """Number of a model's weights, none of which is made: a plan asks for hundreds of models."""
    hidden, scales = model.hidden_size, len(model.widths)
    rows = _projection(video_dim, hidden, model.num_frames)
    tokens = _projection(text_dim, hidden, model.max_caption_tokens)
    # The blocks of both branches and of captions; then, of both branches, what mixes the scales.
    blocks = (2 * scales + 1) * _block(hidden, _EXPANSION * hidden)
    mixing = 2 * (_block(hidden, hidden) + _linear(hidden, hidden))
    mixing += sum(_linear(hidden, length) for length in (model.num_clips, model.num_frames))
    # The mixing token, the pooling of captions, and the projection of CBVA.
    rest = 2 * hidden + _linear(hidden, hidden)
    return 2 * rows + tokens + blocks + mixing + rest


def _linear(inputs: int, outputs: int) -> int:
    return (inputs + 1) * outputs


def _projection(features: int, hidden: int, positions: int) -> int:
    """Two norms, a projection, and a vector for each position."""
    return 2 * (features + hidden) + _linear(features, hidden) + positions * hidden


def _block(hidden: int, inner: int) -> int:
    """Queries, keys and values, two norms, and a feed-forward layer."""
    feed_forward = _linear(hidden, inner) + _linear(inner, hidden)
    return 3 * _linear(hidden, hidden) + 4 * hidden + feed_forward


def known_costs(model: ModelSettings, video_dim: int, text_dim: int) -> dict[str, float]:
    """The costs that follow from the settings and the data's dimensions, by metric."""
    return {
        PARAMETERS: float(num_parameters(model, video_dim, text_dim)),
        BYTES_PER_VIDEO: float(bytes_per_video(model)),
    }


def weights_of(model: MscModel) -> int:
    """Number of a model's weights."""
    return sum(parameter.numel() for parameter in model.parameters())


@torch.no_grad()
def ms_per_query(model: MscModel, split: PreparedSplit) -> float:
    """Milliseconds of one query of 10,000 videos: its caption encoded, all rows compared.

    Measured on the model's device with made-up vectors of `_TIMED_VIDEOS` videos, whose share is
    scaled up; the median of some. It compares models on one machine: a gallery's scan is faster.

    Args:
        model: The model.
        split: Where the caption is from.
    """
    sizes, device = model.settings, model.mixing_token.device
    end = int(split.token_offsets[1])
    tokens = torch.from_numpy(split.tokens[:end].copy())[None].to(device)
    valid = torch.ones(1, end, dtype=torch.bool, device=device)
    rows = _TIMED_VIDEOS, sizes.num_clips + sizes.num_frames, sizes.hidden_size
    vectors = torch.full(rows, sizes.hidden_size**-0.5, device=device)
    was_training = model.training
    model.eval()
    query = unit_rows(model.encode_captions(tokens, valid))[0]
    encoding_s = _seconds(lambda: model.encode_captions(tokens, valid), device)
    scan_s = _seconds(lambda: (vectors @ query).amax(dim=1), device)
    model.train(was_training)
    return 1000 * (encoding_s + scan_s * _VIDEOS / _TIMED_VIDEOS)


def _seconds(work: Callable[[], object], device: torch.device) -> float:
    took = []
    for _ in range(_REPEATS):
        begin = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        took.append(time.perf_counter() - begin)
    return median(took)
