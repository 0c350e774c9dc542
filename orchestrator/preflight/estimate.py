"""A rough time and memory of an epoch from the sizes alone, before anything was measured."""

from collections.abc import Iterable

from orchestrator.cluster.capacity import TRIAL_BASE_BYTES, MemoryNeed, TrialNeeds
from orchestrator.spec.data import DataSize, data_size
from orchestrator.spec.search_space import drawn_settings
from orchestrator.spec.sections import TrialResources
from orchestrator.spec.sweep_spec import SweepSpec
from prvr_model.settings import ModelSettings, Settings, SpeedSettings

DRAWN_TRIALS = 32
"""Points of a space over which times and memory are taken."""
# Work that a thread and a GPU get done in training, losses, dropout and evaluation included, in
# floating-point operations a second. The thread's was measured at hidden sizes 64 and 96; wider
# models do better. The GPU's is a guess at a recent card: GPUs differ by more than that.
_CPU_THREAD_RATE = 18e9
_GPU_RATE = 8e12
# A step takes this long however small it is: it calls a few thousand operators. On a CPU it was
# measured; for a GPU it is a guess at what starting as many kernels takes.
_CPU_STEP_S, _GPU_STEP_S = 0.015, 0.03
# Backward costs twice the forward pass.
_TRAINING_PASSES = 3
# Memory of a process on a GPU beyond that on a CPU, for CUDA's libraries; a guess.
_CUDA_BYTES = 2**30
_FLOAT_BYTES = 4
# Weights, gradients and two moments, and what an update holds for a moment; with the two numbers
# below it gives the peaks of benchmark `train_step` at 8, 32 and 64 videos within 4 %.
_COPIES_OF_WEIGHTS = 5.5
# Those four, and weights and moments twice more while a checkpoint is made; measured at 30 million
# parameters.
_COPIES_WHILE_SAVING = 9.5
# Numbers kept for backward: for each row, scale and hidden unit, and for each score of attention.
_KEPT_A_UNIT = 13.3
_KEPT_A_SCORE = 2.4
# Floor of what a model's layers outside of its blocks hold, in squares of the hidden size.
_OTHER_SQUARES = 25
# A block: three projections and a feed-forward layer four times as wide.
_BLOCK_SQUARES = 3 + 8


def seconds_per_epoch(settings: Settings, size: DataSize, speed: SpeedSettings) -> float:
    """Seconds of one epoch, evaluation included; right within a factor of two or three."""
    per_video = forward_operations(settings.model, size)
    videos = _TRAINING_PASSES * size.train_videos + size.val_videos
    on_cpu = speed.device == "cpu"
    rate = _CPU_THREAD_RATE * speed.threads if on_cpu else _GPU_RATE
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
    return max(needs, key=lambda need: need.total_bytes)


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
    model = settings.model
    gallery = size.val_videos * sum(_lengths(model)) * model.hidden_size
    if speed.device != "cpu":
        # The rest lies on the GPU.
        return MemoryNeed(TRIAL_BASE_BYTES + _CUDA_BYTES, is_estimate=True)
    weights = _num_parameters(model, size)
    units = model.num_scales * sum(_lengths(model)) * model.hidden_size
    scores = model.num_scales * model.num_heads * sum(length**2 for length in _lengths(model))
    video = _KEPT_A_UNIT * units + _KEPT_A_SCORE * scores
    batch = min(settings.training.batch_videos, size.train_videos)
    return MemoryNeed(
        TRIAL_BASE_BYTES + round(_FLOAT_BYTES * (_COPIES_OF_WEIGHTS * weights + gallery)),
        round(_FLOAT_BYTES * video),
        -(-batch // workers),
        TRIAL_BASE_BYTES + round(_FLOAT_BYTES * _COPIES_WHILE_SAVING * weights),
        is_estimate=True,
    )


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
