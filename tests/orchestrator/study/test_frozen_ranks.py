"""Ranks by frozen features: of one space alone, once for a home, and no obstacle."""

import json
from pathlib import Path

import numpy as np
import pytest

from orchestrator import cli
from orchestrator.base.errors import OutcomesError
from orchestrator.study.frozen_ranks import keep_frozen_ranks, kept_frozen_ranks
from prvr_model.retrieval import frozen
from prvr_model.retrieval.evaluation import evaluate_frozen
from prvr_model.store.reader import FeatureStore
from prvr_model.store.writer import StoreWriter
from tests.orchestrator.command_line import TINY_SPACE
from tests.orchestrator.helpers import small_spec
from tests.prvr_model.retrieval.planted import planted


def unexpected(*_: object, **__: object) -> None:
    raise AssertionError("ranked again")


def test_they_are_computed_once_for_a_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = FeatureStore.open(planted(tmp_path / "s", mismatch=0.5, splits=("train", "val")))
    spec, fingerprint = small_spec(), store.manifest.fingerprint
    assert kept_frozen_ranks(spec, fingerprint, tmp_path) is None
    keep_frozen_ranks(spec, store, tmp_path, print)
    kept = kept_frozen_ranks(spec, fingerprint, tmp_path)
    assert kept is not None
    assert kept.forms == frozen.FORMS
    for form in frozen.FORMS:
        ranks = frozen.frozen_ranks(store.split("val"), form=form)
        assert kept.ranks[f"val/{form}"].tolist() == ranks.tolist()
        recalls = kept.recalls("val", form)
        assert recalls is not None
        assert recalls["R5"] == pytest.approx(100 * (ranks <= 5).mean())
        assert recalls["SumR"] == pytest.approx(sum(recalls[f"R{k}"] for k in (1, 5, 10, 100)))
        by_labels = evaluate_frozen(store.split("val"), form).metrics
        assert recalls["verified/mAP"] == pytest.approx(by_labels["verified/mAP"])
        assert recalls["verified/SumR"] == pytest.approx(by_labels["verified/SumR"])
        assert recalls["own/SumR"] == recalls["SumR"]
    assert kept.recalls("test", "maximum") is None
    monkeypatch.setattr(frozen, "frozen_ranks", unexpected)
    keep_frozen_ranks(spec, store, tmp_path, pytest.fail)
    # Another relevance has ranks of its own.
    verified = small_spec("settings.evaluation.relevance=verified")
    said: list[str] = []
    keep_frozen_ranks(verified, store, tmp_path, said.append)
    assert said[1:] == ["the frozen features were not ranked: AssertionError: ranked again"]
    assert kept_frozen_ranks(verified, fingerprint, tmp_path) is None


def test_two_spaces_or_two_relevances_have_none(tmp_path: Path) -> None:
    with StoreWriter(tmp_path / "two", name="two", video_dim=2, text_dim=3) as writer:
        writer.add_video("val", "v", np.ones((1, 2), "f"))
        writer.add_caption("val", "c", "v", "text", np.ones((1, 3), "f"))
    keep_frozen_ranks(small_spec(), FeatureStore.open(tmp_path / "two"), tmp_path, pytest.fail)
    varied = small_spec(
        "search.parameters.evaluation.relevance={type: categorical, "
        "choices: [annotation, same_text]}"
    )
    store = FeatureStore.open(planted(tmp_path / "s"))
    keep_frozen_ranks(varied, store, tmp_path, pytest.fail)
    assert kept_frozen_ranks(varied, store.manifest.fingerprint, tmp_path) is None
    assert not (tmp_path / "frozen").exists()


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    store = FeatureStore.open(planted(tmp_path / "s"))
    keep_frozen_ranks(small_spec(), store, tmp_path, print)
    file, _ = sorted((tmp_path / "frozen").iterdir())
    file.write_bytes(file.read_bytes()[:-8])
    with pytest.raises(OutcomesError, match=f"{file.name} cannot be read"):
        kept_frozen_ranks(small_spec(), store.manifest.fingerprint, tmp_path)


@pytest.mark.soak
def test_a_launch_reports_them(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = planted(home / "store", num_videos=12, splits=("train", "val", "test"))
    (home / "tiny.yaml").write_text(TINY_SPACE)
    launch = ["launch", f"{home}/tiny.yaml", "--set", f"data={store}", "--executor", "inline"]
    assert cli.run([*launch, "--home", str(home)]) == 0
    capsys.readouterr()
    assert cli.run(["report", "tiny", "--home", str(home), "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in found["yardstick"]["rows"]] == [
        f"frozen:{form}" for form in frozen.FORMS
    ]
    assert found["yardstick"]["statement"] in found["answer"]
    page = (home / "tiny/report.html").read_text()
    test = found["yardstick"]["rows"][1]["test"]["SumR"]
    assert f"{test:.1f}" in page.partition("Test, scored once")[2]
