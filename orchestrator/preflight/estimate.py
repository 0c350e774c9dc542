"""A rough time and memory of an epoch from the sizes alone, before anything was measured."""

from collections.abc import Iterable

from orchestrator.cluster.capacity import MemoryNeed, TrialNeeds
from orchestrator.spec.data import DataSize, data_size
from orchestrator.spec.search_space import drawn_settings
from orchestrator.spec.sections import TrialResources
from orchestrator.spec.sweep_spec import SweepSpec
from prvr_model.settings import ModelSettings, Settings, SpeedSettings

DRAWN_TRIALS = 32
"""Points of a space over which times and memory are taken."""
# Work that a thread and a GPU get done in training, losses, dropout and evaluation included, in
# floating-point operations a second. The thread's was measured at hidden sizes 64 and 96; wider
# models do better, and processors without instructions for bfloat16 far worse. The GPU's is a guess
# at a recent card: GPUs differ by more than that.
_CPU_THREAD_RATE = {"float32": 30e9, "bfloat16": 45e9}
# How many times longer compiled encoders take on a processor.
_COMPILED_ON_CPU = 2
_GPU_RATE = 8e12
# A step takes this long however small it is: it calls a few thousand operators. On a CPU it was
# measured; for a GPU it is a guess at what starting as many kernels takes.
_CPU_STEP_S, _GPU_STEP_S = 0.015, 0.03
ROUGH_FACTOR = 3
"""How many times longer or shorter than estimated an epoch may take."""
# Backward costs twice the forward pass.
_TRAINING_PASSES = 3
# Memory of a process on a GPU beyond that on a CPU, for CUDA's libraries; a guess.
_CUDA_BYTES = 2**30
_FLOAT_BYTES = 4
# The numbers below put the estimate 0 to 20 % above the peak of each trial of benchmark
# `memory_estimate`. First, a process that has imported torch and Ray and trained one step.
_BASE_BYTES = 730 * 10**6
# Weights, gradients and two moments, and what an update holds for a moment.
_COPIES_OF_WEIGHTS = 5.5
# Those four, and weights and moments twice more while a checkpoint is made; measured at 30 million
# parameters.
_COPIES_WHILE_SAVING = 9.5
# Numbers kept for backward: for each row, scale and hidden unit; for each score of attention; and
# for each number of a row of features. More than the arrays have: freed pieces of other sizes lie
# between them.
_KEPT_A_UNIT = {"float32": 13.9, "bfloat16": 5.1}
_KEPT_A_SCORE = {"float32": 1.4, "bfloat16": 0.3}
_KEPT_A_FEATURE = 5.6
# Of the prepared features, what a process holds beside the mapped files.
_SHARE_OF_FEATURES = 0.5
# Floor of what a model's layers outside of its blocks hold, in squares of the hidden size.
_OTHER_SQUARES = 25
# A block: three projections and a feed-forward layer four times as wide.
_BLOCK_SQUARES = 3 + 8


def seconds_per_epoch(settings: Settings, size: DataSize, speed: SpeedSettings) -> float:
    """Seconds of one epoch, evaluation included; right within `ROUGH_FACTOR`."""
    per_video = forward_operations(settings.model, size)
    videos = _TRAINING_PASSES * size.train_videos + size.val_videos
    on_cpu = speed.device == "cpu"
    rate = _GPU_RATE
    if on_cpu:
        rate = _CPU_THREAD_RATE[speed.precision] * speed.threads
        rate /= _COMPILED_ON_CPU if speed.compile else 1
    steps = -(-size.train_videos // settings.training.batch_videos)
    return videos * per_video / rate + steps * (_CPU_STEP_S if on_cpu else _GPU_STEP_S)


def forward_operations(model: ModelSettings, size: DataSize) -> float:
    """Floating-point operations of a video's forward pass, both branches."""
    return sum(_branch_operations(length, model, size.video_dim) for length in _lengths(model))


def evaluation_operations(
    model: ModelSettings, size: DataSize, videos: int, captions: int
) -> float:
    """Floating-point operations of an evaluation: encoding both sides, and their scores."""
    hidden, tokens = model.hidden_size, min(size.tokens_per_caption, model.max_caption_tokens)
    caption = 2 * tokens * (size.text_dim + _BLOCK_SQUARES * hidden) * hidden
    scores = 2 * videos * captions * sum(_lengths(model)) * hidden
    return videos * forward_operations(model, size) + captions * caption + scores


def worker_memory(
    settings: Iterable[Settings], size: DataSize, speed: SpeedSettings, resources: TrialResources
) -> MemoryNeed:
    """Memory of a worker of the largest of some trials, or what the user says it is."""
    if resources.memory_gib is not None:
        return MemoryNeed(round(resources.memory_gib * 2**30))
    needs = (_memory(trial, size, speed, resources.workers) for trial in settings)
    return max(needs, key=lambda need: need.peak_bytes)


def sweep_memory(spec: SweepSpec) -> MemoryNeed:
    """Memory of a worker of the largest trial that a sweep may draw, before any was probed.

    Raises:
        StoreError: The store is missing or damaged.
    """
    drawn = drawn_settings(spec, DRAWN_TRIALS)
    return worker_memory(drawn, data_size(spec.data), spec.speed, spec.resources)


def trial_needs(resources: TrialResources, memory: MemoryNeed | None) -> TrialNeeds:
    """What a trial occupies."""
    return TrialNeeds(resources.workers, resources.cpus, resources.gpus, memory)


def _memory(settings: Settings, size: DataSize, speed: SpeedSettings, workers: int) -> MemoryNeed:
    model, rows = settings.model, sum(_lengths(settings.model))
    features = _feature_bytes(model, size)
    base = _BASE_BYTES + round(_SHARE_OF_FEATURES * features)
    if speed.device != "cpu":
        # The rest lies on the GPU.
        return MemoryNeed(base + _CUDA_BYTES, is_estimate=True, shared_bytes=features)
    weights = _num_parameters(model, size)
    gallery = size.val_videos * rows * model.hidden_size
    units = model.num_scales * rows * model.hidden_size
    scores = model.num_scales * model.num_heads * sum(length**2 for length in _lengths(model))
    precision = speed.precision
    kept = _KEPT_A_UNIT[precision] * units + _KEPT_A_SCORE[precision] * scores
    kept += _KEPT_A_FEATURE * rows * size.video_dim
    batch = min(settings.training.batch_videos, size.train_videos)
    return MemoryNeed(
        base + round(_FLOAT_BYTES * (_COPIES_OF_WEIGHTS * weights + gallery)),
        round(_FLOAT_BYTES * kept),
        -(-batch // workers),
        base + round(_FLOAT_BYTES * _COPIES_WHILE_SAVING * weights),
        is_estimate=True,
        shared_bytes=features,
    )


def _feature_bytes(model: ModelSettings, size: DataSize) -> int:
    """Prepared features of both splits: frames and clips of videos, tokens of captions."""
    videos = size.train_videos + size.val_videos
    tokens = min(size.tokens_per_caption, model.max_caption_tokens) * size.captions_per_video
    numbers = sum(_lengths(model)) * size.video_dim + tokens * size.text_dim
    return round(_FLOAT_BYTES * videos * numbers)


def _num_parameters(model: ModelSettings, size: DataSize) -> float:
    hidden = model.hidden_size
    squares = 2 * model.num_scales * _BLOCK_SQUARES + _OTHER_SQUARES
    return squares * hidden**2 + (2 * size.video_dim + size.text_dim) * hidden


def _lengths(model: ModelSettings) -> tuple[int, int]:
    """Rows of a video in the two branches."""
    return model.num_clips, model.num_frames


def _branch_operations(length: int, model: ModelSettings, video_dim: int) -> float:
    hidden = model.hidden_size
    # Projections and feed-forward layer, then scores and their use.
    block = 2 * length * _BLOCK_SQUARES * hidden**2 + 4 * length**2 * hidden
    return 2 * length * video_dim * hidden + model.num_scales * block
