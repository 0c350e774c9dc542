"""Writes what `make demo` begins with: an encoder, captions and a sweep for four real videos.

    python -m tests.demonstration FOLDER

The encoder is tiny and has random weights, so what the sweep finds means nothing; the way from
pixels to a registered model is that of real data.
"""

import argparse
import json
from pathlib import Path

from tests.small_videos import real_videos
from tests.tiny_encoder import write_tiny_clip

_CAPTIONS = {
    "bigbuckbunny": ("A rabbit leaves its burrow.", "a cartoon animal on a green meadow"),
    "bikes": ("People ride their bikes past a square.", "cyclists and walkers in a town"),
    "carphone_pristine": ("A man talks in a moving car.", "trees pass by behind a car's window"),
    "carphone_distorted": ("A blurred man speaks in a car.", "a bad picture of a man with a tie"),
}
_SPLITS = ("train", "train", "val", "test")
_SWEEP = """\
name: demo
question: Does the way from videos to a registered model work?
data: {store}
settings:
  model.hidden_size: 16
  model.num_heads: 2
  model.num_frames: 16
  model.num_clips: 8
  model.merge_ratio: 0.75
  model.num_scales: 2
  losses.num_levels: 2
  losses.smallest_level: 4
  losses.hard_negative_epoch: null
  training.batch_videos: 2
  optimizer.schedule_epochs: 2
search:
  sampler: grid
  seed: 1
  parameters:
    optimizer.learning_rate: {{type: categorical, choices: [1e-3]}}
early_stopping: {{method: none, max_epochs: 2}}
resources: {{workers: 1, cpus: 1, gpus: 0}}
"""


def main() -> None:
    """Write the folder that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder: Path = parser.parse_args().folder.resolve()
    (folder / "videos").mkdir(parents=True, exist_ok=True)
    lines = []
    for split, (name, captions) in zip(_SPLITS, _CAPTIONS.items(), strict=True):
        lines += [{"video": name, "caption": text, "split": split} for text in captions]
    (folder / "captions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    for video in real_videos():
        (folder / "videos" / video.name).write_bytes(video.read_bytes())
    write_tiny_clip(folder / "tiny-clip")
    (folder / "sweep.yaml").write_text(_SWEEP.format(store=folder / "clips.store"))


if __name__ == "__main__":
    main()
