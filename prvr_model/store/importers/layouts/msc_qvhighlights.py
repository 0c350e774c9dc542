"""The layout of MSC for QVHighlights: SlowFast beside CLIP-B/32, a row for each two seconds.

<root>/[<collection>/]FeatureData/qvhighlight_slowfast_clip.h5         (T, 2816) by YouTube id
<root>/[<collection>/]TextData/qvhighlight_slowfast_clip_text.h5       (L, 512) by caption id
<root>/[<collection>/]TextData/<collection>{train,val,test}.caption.txt

Source: files as their authors released them.
"""

from prvr_model.store.importers.collection import Collection
from prvr_model.store.importers.released import Release, first_match, text_file, video_file


def _evidence(collection: Collection) -> str | None:
    path = first_match(collection.features, "*_slowfast_clip.h5")
    return f"{path} is there" if path else None


def _stem(collection: Collection) -> str:
    # The files are named in the singular, whatever the collection's name.
    name = collection.name
    return name.removesuffix("s") if name.startswith("qvhighlight") else name


LAYOUT = Release(
    kind="msc-qvhighlights",
    videos=lambda collection: video_file(f"{_stem(collection)}_slowfast_clip.h5"),
    texts=lambda collection: text_file(f"{_stem(collection)}_slowfast_clip_text.h5"),
    evidence=_evidence,
    seconds_per_row=2.0,
).layout
