"""Settings of one trial: typed, strict, with the published values as defaults.

`Settings` holds everything that changes a trial's result; `SpeedSettings` holds what is meant to
change only how fast it is reached. Sizes of the data (feature dimensions) come from the store.
"""

from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from prvr_model.errors import SettingsError

# Order in which scales are added; None is the block without a Gaussian. Source: MSC, encoders.
PUBLISHED_WIDTHS: tuple[float | None, ...] = (None, 0.5, 1.0, 5.0, 10.0, 3.0, 0.1, 8.0)
PUBLISHED_MERGE_SCHEDULE = (80, 52, 32)
PUBLISHED_LEVELS = (32, 20, 12, 8, 5)
PUBLISHED_NUM_FRAMES = 128

# Lists as YAML and JSON give them; strict validation alone would take tuples only.
FROM_LIST = BeforeValidator(lambda value: tuple(value) if isinstance(value, list) else value)
IntList: TypeAlias = Annotated[tuple[int, ...], FROM_LIST]
WidthList: TypeAlias = Annotated[tuple[float | None, ...], FROM_LIST]
PresetName: TypeAlias = Literal["tvr", "activitynet", "charades", "qvhighlights"]
BestEpochMetric: TypeAlias = Literal[
    "SumR",
    "verified/R1",
    "verified/R5",
    "verified/R10",
    "verified/R100",
    "verified/SumR",
    "verified/nDCG10",
    "verified/mAP",
]


class Section(BaseModel):
    """Base of all settings: frozen, strict types, unknown keys refused, NaN refused."""

    model_config = ConfigDict(
        frozen=True, strict=True, extra="forbid", allow_inf_nan=False, validate_default=True
    )


class ModelSettings(Section):
    """Sizes of the network and how frames become clips."""

    hidden_size: int = Field(384, ge=4)
    num_heads: int = Field(4, ge=1)
    num_frames: int = Field(PUBLISHED_NUM_FRAMES, ge=2)
    max_caption_tokens: int = Field(77, ge=1)
    clips: Literal["op_tome", "uniform"] = "op_tome"
    num_clips: int = Field(32, ge=2)
    merge_schedule: Literal["published"] | IntList = "published"
    merge_ratio: float | None = Field(None, gt=0, le=1)
    num_scales: int = Field(8, ge=1)
    gaussian_widths: WidthList = PUBLISHED_WIDTHS
    mixing_temperature: float = Field(0.6, gt=0)
    dropout: float = Field(0.31, ge=0, lt=1)
    input_dropout: float = Field(0.31, ge=0, lt=1)
    initializer_std: float = Field(0.02, gt=0)
    clip_score_weight: float = Field(0.4, ge=0)
    frame_score_weight: float = Field(0.6, ge=0)

    @model_validator(mode="after")
    def _sizes_fit(self) -> Self:
        if self.hidden_size % self.num_heads:
            raise ValueError(
                f"hidden_size {self.hidden_size} is not a multiple of num_heads {self.num_heads}"
            )
        if self.num_clips > self.num_frames:
            raise ValueError(f"num_clips {self.num_clips} exceeds num_frames {self.num_frames}")
        if self.num_scales > len(self.gaussian_widths):
            raise ValueError(
                f"num_scales {self.num_scales} exceeds the {len(self.gaussian_widths)} "
                "gaussian_widths"
            )
        if self.clips == "op_tome":
            self.merge_targets  # noqa: B018  (raises where the schedule cannot be run)
        return self

    @property
    def widths(self) -> tuple[float | None, ...]:
        """Gaussian width of each block; None for the plain one."""
        return self.gaussian_widths[: self.num_scales]

    @property
    def merge_targets(self) -> tuple[int, ...]:
        """Number of tokens after each round of OP-ToMe.

        Source: MSC, order-preserving token merging. `merge_ratio`, where given, derives the
        rounds from the ratio and `num_clips`; else `merge_schedule` names them.
        """
        if self.merge_ratio is not None:
            if self.merge_schedule != "published":
                raise ValueError("give merge_ratio or an explicit merge_schedule, not both")
            return ratio_targets(self.num_frames, self.num_clips, self.merge_ratio)
        if self.merge_schedule != "published":
            return _checked_targets(self.num_frames, self.num_clips, self.merge_schedule)
        published = (PUBLISHED_NUM_FRAMES, PUBLISHED_MERGE_SCHEDULE[-1])
        if (self.num_frames, self.num_clips) != published:
            raise ValueError(
                f"the published merge_schedule goes from {published[0]} frames to {published[1]} "
                f"clips, not from {self.num_frames} to {self.num_clips}; set merge_ratio "
                "(0.75 is nearest to the published one) or list the merge_schedule"
            )
        return PUBLISHED_MERGE_SCHEDULE


class LossSettings(Section):
    """Loss weights and their parameters; a weight of 0 leaves the term out."""

    infonce_clip_weight: float = Field(0.02, ge=0)
    infonce_frame_weight: float = Field(0.04, ge=0)
    triplet_weight: float = Field(1.0, ge=0)
    margin: float = Field(0.2, ge=0)
    # First epoch, counted from 0, that draws hard negatives; null: random ones throughout.
    hard_negative_epoch: int | None = Field(20, ge=0)
    hard_negative_pool: int = Field(20, ge=1)
    # Leaves videos that verified labels of the train split name for a caption out of its negatives,
    # and the caption out of theirs.
    ignore_relevant: bool = False
    tcpl_distance_weight: float = Field(15.0, ge=0)
    tcpl_angle_weight: float = Field(30.0, ge=0)
    cross_branch: Literal["off", "fixed", "adaptive"] = "adaptive"
    cbva_weight: float = Field(0.1, ge=0)
    tau: float = Field(0.8, ge=-1, le=1)
    levels: Literal["published"] | IntList = "published"
    num_levels: int | None = Field(None, ge=1)
    smallest_level: int = Field(5, ge=1)

    @property
    def uses_cbva(self) -> bool:
        """Whether the CBVA term is computed at all."""
        return self.cross_branch != "off" and self.cbva_weight > 0

    def segment_levels(self, num_clips: int) -> tuple[int, ...]:
        """Numbers of segments from least to most connected video, e.g. (32, 20, 12, 8, 5).

        Source: the MSC paper, CBVA. `fixed` always has one segment per clip.

        Raises:
            ValueError: The levels do not start at `num_clips` or do not descend.
        """
        if self.cross_branch == "fixed":
            return (num_clips,)
        if self.num_levels is not None:
            if self.levels != "published":
                raise ValueError("give num_levels or an explicit list of levels, not both")
            return spaced_levels(num_clips, self.num_levels, self.smallest_level)
        if self.levels != "published":
            return _checked_levels(num_clips, self.levels)
        if num_clips != PUBLISHED_LEVELS[0]:
            raise ValueError(
                f"the published levels {PUBLISHED_LEVELS} are for {PUBLISHED_LEVELS[0]} clips, "
                f"not for {num_clips}; set losses.num_levels (5 as published) or list losses.levels"
            )
        return PUBLISHED_LEVELS


class OptimizerSettings(Section):
    """BertAdam and its schedule."""

    learning_rate: float = Field(2.5e-4, gt=0)
    warmup_share: float = Field(0.01, ge=0, lt=1)
    # Horizon of the schedule, apart from the epochs run, so that a longer budget continues exactly.
    schedule_epochs: int = Field(100, ge=1)
    weight_decay: float = Field(0.01, ge=0)
    beta1: float = Field(0.9, ge=0, lt=1)
    beta2: float = Field(0.999, ge=0, lt=1)
    epsilon: float = Field(1e-6, gt=0)
    # Largest norm of each parameter's gradient, parameter by parameter.
    gradient_clip: float = Field(1.0, gt=0)


class TrainingSettings(Section):
    """How long and on what batches a trial trains."""

    epochs: int = Field(100, ge=1)
    batch_videos: int = Field(128, ge=2)
    # Epochs without a better evaluation.best_epoch_by after which a trial is complete; null: never.
    patience_epochs: int | None = Field(11, ge=1)
    seed: int = Field(1, ge=0, lt=2**31)


class EvaluationSettings(Section):
    """What counts as a correct video."""

    # annotation: the video that a caption was written for, as the field reports;
    # same_text: every video of the split that has a caption of the same text;
    # verified: the videos that the store's verified labels name, for captions that have any.
    relevance: Literal["annotation", "same_text", "verified"] = "annotation"
    # Validation metric whose best epoch gives the weights and by which patience counts. An
    # objective by verified labels sets it.
    best_epoch_by: BestEpochMetric = "SumR"


# Settings that older versions did not have, whose default means what these did: at that value they
# are no part of a trial's identity.
ADDED_SETTINGS = ("losses.ignore_relevant", "evaluation.best_epoch_by")


class Settings(Section):
    """Everything that changes a trial's result, apart from the data."""

    model: ModelSettings = ModelSettings()
    losses: LossSettings = LossSettings()
    optimizer: OptimizerSettings = OptimizerSettings()
    training: TrainingSettings = TrainingSettings()
    evaluation: EvaluationSettings = EvaluationSettings()

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        if self.losses.cross_branch != "off":
            self.losses.segment_levels(self.model.num_clips)
        if self.training.epochs > self.optimizer.schedule_epochs:
            raise ValueError(
                f"training.epochs {self.training.epochs} exceeds optimizer.schedule_epochs "
                f"{self.optimizer.schedule_epochs}: the learning rate would be negative"
            )
        return self

    @property
    def segment_levels(self) -> tuple[int, ...]:
        """Numbers of CBVA segments for this number of clips."""
        return self.losses.segment_levels(self.model.num_clips)


class SpeedSettings(Section):
    """What is meant to change only speed; fields that change a number say so."""

    device: str = "cpu"
    # CPU threads of a trial. Sums are split by thread, so the last bits depend on it.
    threads: int = Field(1, ge=1)
    checkpoint_every_epochs: int = Field(1, ge=1)
    # Captions scored at once in evaluation; bounds its memory.
    evaluation_block: int = Field(1024, ge=1)
    # Precision of the encoders, which do nearly all the work; losses, scores and metrics stay
    # float32. bfloat16 rounds to 8 bits, so every number changes in its third digit.
    precision: Literal["float32", "bfloat16"] = "float32"
    # Compiles the encoders with torch.compile: takes minutes at a trial's start, changes last bits.
    compile: bool = False
    # Batches that are made while the device works on the one before; 0: none.
    prefetch_batches: int = Field(0, ge=0)
    # Videos of a worker encoded at once in training; None: all. Saves memory for a second forward
    # pass. Losses stay those of the batch; only rounding and dropout draws differ.
    micro_batch_videos: int | None = Field(None, ge=1)
    # A trial that runs out of memory fails, or continues with micro-batches of half the size.
    on_out_of_memory: Literal["fail", "micro_batches"] = "fail"


PRESETS: Mapping[PresetName, Mapping[str, Any]] = {
    "tvr": {
        "model.dropout": 0.2,
        "model.input_dropout": 0.2,
        "model.mixing_temperature": 0.09,
        "losses.margin": 0.1,
        "losses.infonce_clip_weight": 0.05,
        "losses.tau": 0.8,
        "optimizer.learning_rate": 3e-4,
    },
    "activitynet": {"losses.tau": 0.8},
    "charades": {
        "model.dropout": 0.25,
        "model.input_dropout": 0.25,
        "losses.tau": 0.85,
        "optimizer.learning_rate": 2e-4,
    },
    "qvhighlights": {"losses.tau": 0.7},
}


def build_settings(preset: PresetName | None, overrides: Mapping[str, Any]) -> Settings:
    """Settings of a preset with values replaced by dotted path.

    Args:
        preset: Published values to start from; None: the defaults.
        overrides: Values by dotted path, e.g. `{"losses.tau": 0.7}`; they win over the preset.

    Raises:
        SettingsError: Unknown paths or values that cannot be used, all of them.
    """
    values: dict[str, Any] = dict(PRESETS[preset]) if preset else {}
    values.update(overrides)
    nested: dict[str, Any] = {}
    for path, value in values.items():
        section, _, key = path.partition(".")
        nested.setdefault(section, {})[key] = value
    return parse_settings(nested)


def parse_settings(nested: Mapping[str, Any]) -> Settings:
    """Settings of a nested mapping (as `Settings.model_dump` gives), strictly checked.

    Raises:
        SettingsError: Every problem with its dotted path.
    """
    try:
        return Settings.model_validate(nested)
    except ValidationError as error:
        problems = [
            (_dotted(detail["loc"]), detail["msg"].removeprefix("Value error, "))
            for detail in error.errors()
        ]
        raise SettingsError(problems) from error


def _dotted(location: tuple[int | str, ...]) -> str:
    # pydantic names the members of a union with brackets; a user knows the setting only.
    return ".".join(str(part) for part in location if "[" not in str(part))


def flat_settings(settings: Settings) -> dict[str, Any]:
    """Settings by dotted path, in the order of their declaration."""
    return {
        f"{section}.{key}": value
        for section, fields in settings.model_dump().items()
        for key, value in fields.items()
    }


def setting_paths() -> tuple[str, ...]:
    """Every dotted path that a search space or an override can name."""
    return tuple(flat_settings(Settings()))


def ratio_targets(num_frames: int, num_clips: int, ratio: float) -> tuple[int, ...]:
    """Tokens after each round when a share `ratio` of the possible merges is made each round.

    Source: MSC, order-preserving token merging; the published schedule is near ratio 0.75.
    """
    targets = []
    tokens = num_frames
    while tokens > num_clips:
        tokens -= min(tokens - num_clips, max(1, round(ratio * (tokens // 2))))
        targets.append(tokens)
    return tuple(targets)


def spaced_levels(num_clips: int, num_levels: int, smallest: int) -> tuple[int, ...]:
    """`num_levels` segment counts from `num_clips` to `smallest`, geometrically spaced.

    Source: MSC, CBVA; the published (32, 20, 12, 8, 5) is a named exception to the rounding.
    """
    if num_levels == 1:
        return (num_clips,)
    if smallest >= num_clips:
        raise ValueError(
            f"losses.smallest_level {smallest} must be below model.num_clips {num_clips}"
        )
    if (num_clips, num_levels, smallest) == (PUBLISHED_LEVELS[0], len(PUBLISHED_LEVELS), 5):
        return PUBLISHED_LEVELS
    shrink = smallest / num_clips
    levels = tuple(round(num_clips * shrink ** (k / (num_levels - 1))) for k in range(num_levels))
    return _checked_levels(num_clips, levels)


def _checked_targets(num_frames: int, num_clips: int, targets: tuple[int, ...]) -> tuple[int, ...]:
    tokens = num_frames
    for target in targets:
        lowest = tokens - tokens // 2
        if not lowest <= target < tokens:
            raise ValueError(
                f"merge_schedule {targets}: a round takes {tokens} tokens to {lowest}..{tokens - 1}"
                f", not to {target}"
            )
        tokens = target
    if tokens != num_clips:
        raise ValueError(f"merge_schedule {targets} ends at {tokens}, not at num_clips {num_clips}")
    return targets


def _checked_levels(num_clips: int, levels: tuple[int, ...]) -> tuple[int, ...]:
    descends = all(b < a for a, b in pairwise(levels))
    if not levels or levels[0] != num_clips or not descends or levels[-1] < 1:
        raise ValueError(
            f"losses levels {levels} must fall strictly from model.num_clips {num_clips} to 1 "
            "or more; use fewer levels or a smaller losses.smallest_level"
        )
    return levels
