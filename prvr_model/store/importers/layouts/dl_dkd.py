"""The layout of DL-DKD: CLIP-B/32 frames and pooled captions in HDF5, beside a BigFile.

    <root>/[<collection>/]FeatureData/new_clip_vit_32_<collection>_vid_features.hdf5     (T, 512)
    <root>/[<collection>/]TextData/clip_ViT_B_32_<collection>_query_feat.hdf5    (512) or (1, 512)
    <root>/[<collection>/]TextData/<collection>{train,val,test}.caption.txt

This is the pair of its teacher. That of its student, a BigFile and RoBERTa, is layout `bigfile`.
"""

from prvr_model.store.importers.collection import Collection
from prvr_model.store.importers.released import Release, first_match, text_file, video_file


def _evidence(collection: Collection) -> str | None:
    path = first_match(collection.features, "new_clip_vit_32_*")
    return f"{path} is there" if path else None


LAYOUT = Release(
    kind="dl-dkd",
    videos=lambda found: video_file(f"new_clip_vit_32_{found.name}_vid_features.hdf5"),
    texts=lambda found: text_file(f"clip_ViT_B_32_{found.name}_query_feat.hdf5"),
    evidence=_evidence,
).layout
