"""What a probe is asked and what it answers, as JSON that any process can read."""

from typing import Annotated, TypeAlias

from pydantic import Field

from prvr_model.settings import FROM_LIST, Section, Settings, SpeedSettings

Seconds: TypeAlias = Annotated[tuple[float, ...], FROM_LIST]


class ProbeRequest(Section):
    """A trial to be timed, and the sizes of its data; the data itself is not needed."""

    settings: Settings
    speed: SpeedSettings
    # Videos of a worker's share of a batch, the most that a step is tried with.
    batch_videos: int = Field(ge=2)
    # Upper bound of the videos that a step's evaluation is tried with.
    val_videos: int = Field(ge=1)
    captions_per_video: float = Field(gt=0)
    tokens_per_caption: float = Field(gt=0)
    video_dim: int = Field(ge=1)
    text_dim: int = Field(ge=1)
    # Seconds from the first step on; no step begins that would not end within them.
    limit_s: float = Field(15.0, gt=0)


class ProbeStage(Section):
    """Steps that were timed at one size, each with an evaluation; the first, a warm-up, is out."""

    videos: int
    val_videos: int
    val_captions: int
    steps_s: Seconds
    evaluations_s: Seconds
    # Everything else between two steps, mostly checkpoints, since each step is an epoch.
    others_s: Seconds


class ProbeResult(Section):
    """What a probe measured; stages are ordered by size, the last is the largest that fitted."""

    stages: Annotated[tuple[ProbeStage, ...], FROM_LIST]
    # Name of the GPU, or of the processor.
    hardware: str
    # Peak memory of the process and of the GPU, and the GPU's total; None without a GPU.
    memory_bytes: int
    # Whether a processor has instructions for products of bfloat16; None: not asked.
    multiplies_bfloat16: bool | None = None
    gpu_memory_bytes: int | None = None
    gpu_total_bytes: int | None = None


# To import torch, start CUDA, write the made-up data and build the model, on a busy machine.
PROBE_START_LIMIT_S = 90.0
