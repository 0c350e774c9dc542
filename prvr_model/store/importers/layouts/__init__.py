"""The layouts that users have, a module each, which offers a `LAYOUT`.

Offers `LAYOUTS` (their names, and what each looks like in a line) and `AUTO`. A new layout is a
module of its name here and a line in that table; imports find the module by the name.
"""

AUTO = "auto"
"""In place of a layout's name: the only one that fits."""

LAYOUTS = {
    "msc": "FeatureData/*_clip_L14.h5 and TextData/*_clip_L14.h5",
    "msc-qvhighlights": "FeatureData/*_slowfast_clip.h5 and TextData/*_slowfast_clip_text.h5",
    "bigfile": "FeatureData/FEATURE/feature.bin and TextData/roberta_*_query_feat.hdf5",
    "hdf5": "FeatureData/FEATURE/feature.hdf5 and TextData/roberta_*_query_feat.hdf5",
    "dl-dkd": "FeatureData/new_clip_vit_32_*.hdf5 and TextData/clip_ViT_B_32_*.hdf5",
    "moment-detr": "highlight_*_release.jsonl and folders *_features of .npz files",
    "table": "a CSV, JSON-lines or Parquet file of captions and folders of .npy or .npz files",
}
