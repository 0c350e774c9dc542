"""The layout of DreamPRVR and Holmes: an HDF5 file in a folder of its feature's name.

<root>/[<collection>/]FeatureData/<feature>/feature.hdf5          (T, D), often float64
<root>/[<collection>/]TextData/roberta_<collection>_query_feat.hdf5
<root>/[<collection>/]TextData/<collection>{train,val,test}.caption.txt

Source: files as their authors released them.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from prvr_model.store.importers.collection import Collection
from prvr_model.store.importers.features import FeatureSource
from prvr_model.store.importers.found_files import Wanted
from prvr_model.store.importers.hdf5_features import open_hdf5
from prvr_model.store.importers.problems import Problems
from prvr_model.store.importers.released import Release, first_match, roberta_file

_FILE = "feature.hdf5"


def _evidence(collection: Collection) -> str | None:
    path = first_match(collection.features, f"*/{_FILE}")
    return f"{path} is there" if path else None


@contextmanager
def _open(path: Path, problems: Problems) -> Iterator[FeatureSource | None]:
    file = path / _FILE if path.is_dir() else path
    with open_hdf5(file, problems) as features:
        yield features


LAYOUT = Release(
    kind="hdf5",
    videos=lambda _: Wanted(
        f"folder with {_FILE}", "--video-features", lambda path: (path / _FILE).is_file()
    ),
    texts=roberta_file,
    evidence=_evidence,
    open_videos=_open,
).layout
