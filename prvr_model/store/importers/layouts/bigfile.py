"""The layout of MS-SL, GMMFormer, HLFormer, RAL and BGM-Net: video rows in one binary file.

<root>/[<collection>/]FeatureData/<feature>/      see `bigfile_features`
<root>/[<collection>/]TextData/roberta_<collection>_query_feat.hdf5   (L, D) or (1, L, D)
<root>/[<collection>/]TextData/<collection>{train,val,test}.caption.txt

Source: files as their authors released them.
"""

from prvr_model.store.importers.bigfile_features import is_bigfile, open_bigfile
from prvr_model.store.importers.collection import Collection
from prvr_model.store.importers.found_files import Wanted
from prvr_model.store.importers.released import Release, roberta_file


def _evidence(collection: Collection) -> str | None:
    folders = sorted(path for path in collection.features.iterdir() if is_bigfile(path))
    return f"{folders[0]} holds feature.bin and its index" if folders else None


LAYOUT = Release(
    kind="bigfile",
    videos=lambda _: Wanted("folder with feature.bin", "--video-features", is_bigfile),
    texts=roberta_file,
    evidence=_evidence,
    open_videos=open_bigfile,
).layout
