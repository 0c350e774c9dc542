"""The probe of a sweep: which trial is timed, and how it runs in a process on this machine."""

import subprocess
from collections.abc import Sequence

from orchestrator.base.errors import ProbeError
from orchestrator.base.our_code import PROBE, environment_with_our_code, module_command
from orchestrator.preflight.estimate import seconds_per_epoch
from orchestrator.spec.data import DataSize
from prvr_model.settings import Settings, SpeedSettings
from prvr_model.training.probe_messages import PROBE_START_LIMIT_S, ProbeRequest, ProbeResult

# A single video has no negatives.
_LEAST_VIDEOS = 2


def probe_request(
    drawn: Sequence[Settings], size: DataSize, speed: SpeedSettings, workers: int
) -> ProbeRequest:
    """The probe of a sweep: of drawn trials the one whose cost is nearest to the mean.

    Args:
        drawn: Settings of points drawn from the space.
        size: Sizes of the data.
        speed: How trials run.
        workers: Workers of a trial; one of them is probed, with its share of a batch.

    Raises:
        ProbeError: There is nothing to train on.
    """
    if size.train_videos < _LEAST_VIDEOS:
        raise ProbeError(f"the data has no split train of {_LEAST_VIDEOS} videos or more")
    costs = [seconds_per_epoch(settings, size, speed) for settings in drawn]
    mean = sum(costs) / len(costs)
    chosen = min(zip(drawn, costs, strict=True), key=lambda pair: abs(pair[1] - mean))[0]
    batch = min(chosen.training.batch_videos, size.train_videos)
    return ProbeRequest(
        settings=chosen,
        speed=speed,
        batch_videos=max(_LEAST_VIDEOS, -(-batch // workers)),
        val_videos=max(1, size.val_videos),
        captions_per_video=size.captions_per_video,
        tokens_per_caption=size.tokens_per_caption,
        video_dim=size.video_dim,
        text_dim=size.text_dim,
    )


def probe_here(request: ProbeRequest) -> ProbeResult:
    """Probe this machine in a process of its own, which ends with the probe.

    Raises:
        ProbeError: The probe failed, or gave no answer in time; says why.
    """
    threads = str(request.speed.threads)
    environment = {**environment_with_our_code(), "OMP_NUM_THREADS": threads}
    limit_s = PROBE_START_LIMIT_S + 2 * request.limit_s
    try:
        done = subprocess.run(
            module_command(PROBE),
            input=request.model_dump_json(),
            env=environment,
            capture_output=True,
            text=True,
            timeout=limit_s,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ProbeError(f"no answer within {limit_s:.0f} s") from error
    if done.returncode:
        raise ProbeError(last_line(done.stderr) or f"it ended with exit code {done.returncode}")
    return ProbeResult.model_validate_json(done.stdout)


def last_line(text: str) -> str:
    """The last line of an error's text that is not empty: the error's class and message."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""
