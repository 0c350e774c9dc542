"""Single queries of a report: found as an obvious version finds them, and how they are shown."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from orchestrator.report.document import Document
from orchestrator.report.example_blocks import example_blocks
from orchestrator.report.examples import BY_MOMENTS, Example, find_examples
from orchestrator.report.findings import Findings
from orchestrator.report.html import render_html
from orchestrator.report.markdown import render_markdown
from orchestrator.report.publishing import render, report
from orchestrator.spec.data import open_data
from orchestrator.study.frozen_ranks import keep_frozen_ranks
from tests.orchestrator.report.sweeps import LADDER, SEARCH, run, spec_of
from tests.prvr_model.retrieval.planted import planted


@pytest.fixture(scope="module")
def ladder(tmp_path_factory: pytest.TempPathFactory) -> Findings:
    home = tmp_path_factory.mktemp("ladder")
    run(home, LADDER, "ablation.seeds=3")
    return report(home, "small")


def slow_ranks(found: Findings, row: str) -> np.ndarray:
    """Geometric mean over seeds of the ranks at the best epoch of a row's runs."""
    ranks = []
    for own in found.data.runs:
        if own.trial.variant == row:
            folder = Path(own.trial.folder.removeprefix("file://")) / "ranks"
            file = folder / f"epoch-{own.trial.best_epoch:04d}.safetensors"
            ranks.append(load_file(file)["ranks"].astype(float))
    assert len(ranks) == 3
    return np.prod(ranks, axis=0) ** (1 / 3)


def test_an_ablation_s_queries_are_ranked_against_its_baseline(ladder: Findings) -> None:
    found, store = ladder.examples, ladder.data.store
    assert found is not None
    assert store is not None
    assert (found.other, found.seeds) == ("baseline", (1, 2, 3))
    split = store.split("val")
    own, other = (slow_ranks(ladder, row) for row in (found.winner, "baseline"))
    ranks = {name: (own[k], other[k]) for k, name in enumerate(split.caption_ids)}
    shown = (*found.gained, *found.lost, *found.best, *found.worst)
    for query in shown:
        assert (query.rank, query.other_rank) == pytest.approx(ranks[query.caption_id])
    assert len(found.best) == len(found.worst) == len(found.gained) + len(found.lost) == 10
    for group in (found.gained, found.lost, found.best, found.worst):
        assert len({query.video for query in group}) == len(group)
    assert min(own) == pytest.approx(found.best[0].rank)
    assert max(own) == pytest.approx(found.worst[0].rank)
    factors = [query.rank / (query.other_rank or 0) for query in found.gained]
    assert factors == sorted(factors)
    assert factors[0] == pytest.approx(min(own / other))
    lost = [query.rank / (query.other_rank or 0) for query in found.lost]
    assert lost == sorted(lost, reverse=True)
    assert lost[0] == pytest.approx(max(own / other))


def test_formats_show_all_some_or_none(ladder: Findings) -> None:
    page, text, latex = (render(ladder, wanted) for wanted in ("html", "md", "tex"))  # type: ignore[arg-type]
    assert ladder.examples is not None
    worst = [query.caption for query in ladder.examples.worst]
    assert all(caption in page for caption in worst)
    part = text.partition("Worst: ")[2]
    assert [caption in part for caption in worst] == [True] * 3 + [False] * 7
    assert "And 7 more in the HTML report." in part
    assert "Single queries" not in latex


@pytest.mark.parametrize("is_frozen", [True, False])
def test_a_search_is_held_against_frozen_features_or_the_runner_up(
    tmp_path: Path, is_frozen: bool
) -> None:
    data = f"data={planted(tmp_path / 'store', splits=('train', 'val', 'test'))}"
    run(tmp_path, SEARCH, data, "search.trials=3")
    if is_frozen:
        spec = spec_of(SEARCH, data)
        keep_frozen_ranks(spec, open_data(spec.data, tmp_path, print), tmp_path, print)
    found = report(tmp_path, "small")
    assert found.examples is not None
    assert found.winner is not None
    assert found.search is not None
    assert found.examples.winner == f"trial {found.winner.number}"
    runner_up = f"trial {found.search.best[1].number}"
    assert found.examples.other in (
        ["frozen:maximum", "frozen:segments"] if is_frozen else [runner_up]
    )
    assert found.examples.other in found.examples.why
    # Three captions of this store have moments; the best that has one comes before the others.
    assert found.examples.ties == BY_MOMENTS


def test_without_ranks_or_data_there_are_none(ladder: Findings) -> None:
    assert find_examples(replace(ladder.data, store=None)) is None
    assert find_examples(replace(ladder.data, videos=None)) is None


def test_ties_go_to_the_shortest_moment_for_its_video(ladder: Findings) -> None:
    assert ladder.data.videos is not None
    count = ladder.data.videos.num_queries
    videos = np.arange(count)
    moments: list[Any] = [[] for _ in videos]
    first = np.flatnonzero(
        slow_ranks(ladder, ladder.examples.winner if ladder.examples else "") == 1
    )
    one, two = first[:2]
    moments[one], moments[two] = [(0, 30)], [(5, 6), (7, 8)]
    split = SimpleNamespace(
        caption_video=videos,
        caption_ids=[f"q{k}" for k in videos],
        caption_texts=["<i>" * 40] * count,
        video_ids=[f"v{k}" for k in videos],
        durations_s=np.full(count, 60.0),
        num_frames=np.full(count, 8),
        moments=moments,
    )
    store: Any = SimpleNamespace(
        split=lambda name: split, manifest=SimpleNamespace(seconds_per_row=None)
    )
    found = find_examples(replace(ladder.data, store=store))
    assert found is not None
    assert [query.caption_id for query in found.best[:2]] == [f"q{two}", f"q{one}"]
    assert found.best[0].moment_s == (5, 6)
    document = Document("t", "s", tuple(example_blocks(found, in_full=True)))
    page = render_html(document)
    assert '<th scope="row" class="left long">&lt;i&gt;&lt;i&gt;' in page
    assert "5.0 to 6.0 of 60.0 s" in page
    brief = render_markdown(replace(document, blocks=tuple(example_blocks(found, in_full=False))))
    assert max(map(len, brief.splitlines())) < 700
    assert isinstance(found.best[0], Example)
