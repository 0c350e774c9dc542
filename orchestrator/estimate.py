"""A rough time of an epoch from the sizes alone, before anything was timed."""

from orchestrator.data_source import DataSize
from prvr_model.settings import ModelSettings, Settings, SpeedSettings

# Work that a thread and a GPU get done in training, losses, dropout and evaluation included, in
# floating-point operations a second. The thread's was measured at hidden sizes 64 and 96; wider
# models do better. The GPU's is a guess at a recent card: GPUs differ by more than that.
_CPU_THREAD_RATE = 18e9
_GPU_RATE = 8e12
# A step on a CPU takes this long however small it is: it calls a few thousand operators.
_CPU_STEP_S = 0.015
# Backward costs twice the forward pass.
_TRAINING_PASSES = 3


def seconds_per_epoch(settings: Settings, size: DataSize, speed: SpeedSettings) -> float:
    """Seconds of one epoch, evaluation included; right within a factor of two or three."""
    per_video = forward_operations(settings.model, size)
    videos = _TRAINING_PASSES * size.train_videos + size.val_videos
    on_cpu = speed.device == "cpu"
    rate = _CPU_THREAD_RATE * speed.threads if on_cpu else _GPU_RATE
    steps = -(-size.train_videos // settings.training.batch_videos)
    return videos * per_video / rate + steps * _CPU_STEP_S * on_cpu


def forward_operations(model: ModelSettings, size: DataSize) -> float:
    """Floating-point operations of a video's forward pass, both branches."""
    return sum(
        _branch_operations(length, model, size.video_dim)
        for length in (model.num_clips, model.num_frames)
    )


def _branch_operations(length: int, model: ModelSettings, video_dim: int) -> float:
    hidden = model.hidden_size
    # Three projections and a feed-forward layer four times as wide, then scores and their use.
    block = 2 * length * (3 + 8) * hidden**2 + 4 * length**2 * hidden
    return 2 * length * video_dim * hidden + model.num_scales * block
