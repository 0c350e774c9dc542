"""How well the winner finds the moment within a video, on data whose moments are known."""

from collections.abc import Iterator

from orchestrator.report.document import Block, Table
from orchestrator.report.formatting import interval_text, number, signed
from orchestrator.statistics.crossed import Interval
from orchestrator.study.moment_scores import JUDGED_IOU, MomentGain, MomentScores

_ROWS = {
    "window": "window: a clip with refined ends",
    "clip": "the best clip as it is",
    "middle": "the middle third, knowing nothing",
    "whole": "the whole video, knowing nothing",
}
_SHORT = {"clip": "the best clip", "middle": "the middle third", "whole": "the whole video"}
_IOUS = ("0.3", "0.5", "0.7")
_DEPTHS = (1, 5, 10)


def moment_blocks(trial: int, moments: MomentScores) -> Iterator[Block]:
    """Tables of moments on test for a trial."""
    metrics = moments.metrics
    rows = [
        [
            label,
            *(number(metrics.get(f"{what}/R1_iou_{iou}")) for iou in _IOUS),
            *(number(metrics.get(f"{what}/R5_iou_{iou}")) for iou in _IOUS),
            number(metrics.get(f"{what}/mIoU")),
        ]
        for what, label in _ROWS.items()
    ]
    heads = [f"R@{depth}, IoU {iou}" for depth in (1, 5) for iou in _IOUS]
    yield Table(
        f"Moments on test, in the right video (trial {trial}, {moments.captions} captions)",
        ("what", *heads, "mean IoU"),
        rows,
        notes=[_gains(moments)],
    )
    corpus = [
        [f"first {depth}", *(number(metrics.get(f"corpus/R{depth}_iou_{iou}")) for iou in _IOUS)]
        for depth in _DEPTHS
    ]
    yield Table(
        "Moments on test, in the ranked corpus: the right video is among the first and its best "
        "window meets the moment",
        ("videos", *(f"IoU {iou}" for iou in _IOUS)),
        corpus,
    )


def _gains(moments: MomentScores) -> str:
    gains = "; ".join(map(_gain, moments.gains))
    return (
        f"R@1 at IoU {JUDGED_IOU} of the window, in points: {gains}. Intervals are for this model "
        "on new videos."
    )


def _gain(gain: MomentGain) -> str:
    text = f"{signed(gain.difference)} over {_SHORT.get(gain.over, gain.over)}"
    if gain.interval is None:
        return text
    shown = "is not shown to be better" if gain.interval[0] <= 0 else "is better"
    return f"{text} ({interval_text(Interval(*gain.interval))}: it {shown})"
