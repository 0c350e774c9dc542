"""The layout of MSC: caption files, and one HDF5 file each for videos and captions.

    <root>/[<collection>/]FeatureData/<collection>_clip_L14.h5        (T, D) by video id
    <root>/[<collection>/]TextData/<collection>_clip_L14.h5           (L, D) by caption id
    <root>/[<collection>/]TextData/<collection>{train,val,test}.caption.txt

ActivityNet's captions have `v_` before the video id, its features do not. Source: files as their
authors released them.
"""

from pathlib import Path

from prvr_model.store.importers.collection import Collection
from prvr_model.store.importers.found_files import is_hdf5_name
from prvr_model.store.importers.released import Release, first_match, text_file, video_file

# Names by which other layouts are known.
_OTHERS = ("*_slowfast_clip.*", "new_clip_vit_32_*")


def _evidence(collection: Collection) -> str | None:
    if path := first_match(collection.features, "*_clip_L14.h5"):
        return f"{path} is there"
    files = [path for path in collection.features.iterdir() if is_hdf5_name(path)]
    if len(files) == 1 and not _is_others(files[0]):
        return f"{files[0]} is the only HDF5 file there"
    return None


def _is_others(path: Path) -> bool:
    return any(path.match(pattern) for pattern in _OTHERS)


LAYOUT = Release(
    kind="msc",
    videos=lambda collection: video_file(f"{collection.name}_clip_L14.h5"),
    texts=lambda collection: text_file(f"{collection.name}_clip_L14.h5"),
    evidence=_evidence,
).layout
