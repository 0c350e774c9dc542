"""Defaults, refusals and warnings of a spec."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pydantic import BaseModel

from orchestrator.spec.data import check_labels
from orchestrator.spec.loading import read_spec
from orchestrator.spec.sections import TrialResources, elastic_problems
from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.spec.warnings import spec_warnings
from prvr_model.errors import StoreError
from prvr_model.store.annotations import CaptionAnnotation
from prvr_model.store.writer import StoreWriter
from tests.orchestrator.spec.spec_texts import SPEC, problem_of, spec_of

GRID = SPEC.replace("  trials: 12\n", "").replace("tpe", "grid").replace("0.9}", "0.9, step: 0.1}")


def test_everything_left_out_has_its_default() -> None:
    text = """\
name: least
question: Which?
data: builtin
settings: {training.epochs: 60, losses.hard_negative_epoch: null}
search: {trials: 1, parameters: {losses.tau: {type: float, low: 0.5, high: 0.9}}}
"""
    spec = read_spec(text)
    assert spec.objective.metric == "val/SumR"
    assert spec.objective.direction == "maximize"
    assert spec.search.sampler == "tpe"
    assert spec.early_stopping.method == "none"
    assert (spec.early_stopping.first_rung, spec.max_epochs) == (20, 60)
    assert (spec.resources.workers, spec.resources.cpus, spec.resources.gpus) == (1, 1, 0.0)
    assert (spec.speed.device, spec.speed.threads) == ("cpu", 1)
    assert spec.concurrency is None
    assert spec.registration.top == 1
    assert spec.protocol == "validation"
    assert spec_warnings(spec) == ()


def test_the_budget_is_the_published_one_where_none_is_given() -> None:
    spec = spec_of("early_stopping={}", "optimizer.schedule_epochs=100")
    assert spec.max_epochs == spec.settings["training.epochs"] == 100


def test_null_leaves_the_budget_to_its_default() -> None:
    spec = spec_of("early_stopping={first_rung: null, max_epochs: null}", "training.epochs=6")
    assert (spec.early_stopping.first_rung, spec.max_epochs) == (2, 6)


def test_threads_and_device_follow_the_resources() -> None:
    spec = spec_of("resources={cpus: 3, gpus: 0.5}")
    assert (spec.speed.device, spec.speed.threads) == ("cuda", 3)
    spec = spec_of("resources={cpus: 3, gpus: 1}", "speed={threads: 2, evaluation_block: 64}")
    assert (spec.speed.device, spec.speed.threads, spec.speed.evaluation_block) == ("cuda", 2, 64)


def test_speed_is_read_and_written() -> None:
    text = f"{SPEC}speed: {{precision: bfloat16, compile: true, prefetch_batches: 2}}\n"
    spec = spec_of(text=text)
    speed = (spec.speed.precision, spec.speed.compile, spec.speed.prefetch_batches)
    assert speed == ("bfloat16", True, 2)
    assert read_spec(spec.dump_yaml()) == spec


def test_builtin_is_the_generator_with_its_defaults() -> None:
    assert spec_of() == spec_of("data={synthetic: {}}")


def test_a_grid_has_as_many_trials_as_points() -> None:
    margin = "search.parameters.losses.margin={type: categorical, choices: [0.1, 0.2]}"
    assert spec_of(text=GRID).num_trials == 5
    assert spec_of(margin, text=GRID).num_trials == 10


def test_a_spec_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        spec_of().name = "other"  # type: ignore[misc]


def models(model: type[BaseModel]) -> list[type[BaseModel]]:
    annotations = [field.annotation for field in model.model_fields.values()]
    inner = [
        annotation
        for annotation in annotations
        if isinstance(annotation, type) and issubclass(annotation, BaseModel)
    ]
    return [model, *(part for name in inner for part in models(name))]


def test_every_field_is_described() -> None:
    own = [part for part in models(SweepSpec) if part.__module__.startswith("orchestrator")]
    assert len(own) > 5
    for model in own:
        for name, field in model.model_fields.items():
            assert field.description, f"{model.__name__}.{name}"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("name=a/b", "found 'a/b'; allowed: a-z, 0-9, - and _, a letter or digit first, at most "
         "64"),
        ("name=-a", "found '-a'; allowed: a-z, 0-9, - and _, a letter or digit first, at most 64"),
        ("name=3", "found 3; allowed: text"),
        ("concurrency=0", "found 0; allowed: a whole number >= 1, or null"),
        ("concurrency=true", "found true; allowed: a whole number >= 1, or null"),
        ("search.seed=-1", "found -1; allowed: a whole number >= 0 and < 2147483648"),
        ("search.parameters={}", "found none; allowed: one parameter or more"),
        ("search.parameters=3", "found 3; allowed: a mapping (key: value)"),
        ("early_stopping=asha", "found 'asha'; allowed: a mapping (key: value)"),
        ("early_stopping.method=ash", "found 'ash'; allowed: one of asha, median, hyperband, none; "
         "did you mean asha?"),
        ("early_stopping.reduction=1", "found 1; allowed: a whole number >= 2"),
        ("early_stopping.first_rung=9", "found 9; allowed: a whole number below max_epochs 9, or "
         "method: none"),
        ("resources.workers=0", "found 0; allowed: a whole number >= 1"),
        ("resources={workers: 2, gpus: 0.5}", "resources.gpus: found 0.5 with workers 2; "
         "allowed: 0 or 1 (two workers of a trial on one GPU cannot exchange gradients), or "
         "workers 1"),
        ("resources.memory_gib=0", "found 0; allowed: a number > 0, or null"),
        ("resources={workers: 2, min_workers: 3}", "resources.min_workers: found 3 with workers 2; "
         "allowed: 1 to workers"),
        ("resources.workers=99", "found 99, but training.batch_videos is 128 in all and each "
         "worker needs 2; allowed: at most 64"),
        ("resources.gpus=2", "found 2; allowed: a number >= 0 and <= 1"),
        ("resources.cpu=2", "unknown key 'cpu'; allowed: workers, min_workers, cpus, gpus, "
         "memory_gib; did you mean cpus?"),
        ("speed.device=cuda", "found 'cuda'; needs resources.gpus above 0"),
        ("speed.threads=0", "found 0; allowed: a whole number >= 1"),
        ("speed.precision=float16", "found 'float16'; allowed: one of float32, bfloat16; did you "
         "mean bfloat16?"),
        ("speed.precision=16", "found 16; allowed: one of float32, bfloat16"),
        ("speed.compile=1", "found 1; allowed: true or false"),
        ("speed.prefetch_batches=-1", "found -1; allowed: a whole number >= 0"),
        ("speed.prefetch=2", "unknown key 'prefetch'; allowed: device, threads, "
         "checkpoint_every_epochs, evaluation_block, precision, compile, prefetch_batches, "
         "micro_batch_videos, on_out_of_memory; did you mean prefetch_batches?"),
        ("speed.presicion=bfloat16", "unknown key 'presicion'; allowed: device, threads, "
         "checkpoint_every_epochs, evaluation_block, precision, compile, prefetch_batches, "
         "micro_batch_videos, on_out_of_memory; did you mean precision?"),
        ("register.top=-1", "found -1; allowed: a whole number >= 0"),
        ("protocol=papers", "found 'papers'; allowed: one of validation, paper; did you mean "
         "paper?"),
        ("settings=3", "found 3; allowed: a mapping (key: value)"),
        ("data.synthetic.train_video=3", "unknown key 'train_video'; allowed: seed, train_videos, "
         "val_videos, "),
        ("data={}", "found neither or both of store and synthetic; allowed: builtin, the path of "
         "a store or synthetic: {...}"),
        ("objective.direction=max", "found 'max'; allowed: one of maximize, minimize; did you mean "
         "maximize?"),
        ("objective.metric=val/Sumr", "unknown metric 'val/Sumr'; allowed: val/SumR, "),
        ("search.trials=null", "missing; tpe needs a whole number >= 1"),
    ],
)  # fmt: skip
def test_what_a_field_refuses(override: str, message: str) -> None:
    assert problem_of(override).startswith(f"--set {override}: {message}")


def test_workers_choose_their_gpus_themselves() -> None:
    overrides = ("resources={workers: 2, gpus: 1}", "speed.device=cuda:1")
    assert "found 'cuda:1'; allowed with several workers: cpu, cuda" in problem_of(*overrides)
    assert spec_of(overrides[0]).speed.device == "cuda"


def test_selection_on_test_is_refused() -> None:
    assert problem_of("objective.metric=test/SumR").endswith("(selecting on test would spoil it)")


def test_an_objective_by_labels_chooses_the_epoch_as_well() -> None:
    spec = spec_of("objective.metric=val/verified/mAP")
    assert spec.settings["evaluation.best_epoch_by"] == "verified/mAP"
    assert read_spec(spec.dump_yaml()) == spec
    # Of others nothing is said: specs and keys stay what they were.
    assert "evaluation.best_epoch_by" not in spec_of("objective.metric=val/R5").settings
    other = problem_of("objective.metric=val/R5", "settings.evaluation.best_epoch_by=verified/R5")
    assert "found verified/R5 with objective val/R5; leave it out: it follows the" in other


@pytest.mark.parametrize(
    ("override", "split"),
    [
        ("objective.metric=val/verified/SumR", "val"),
        ("settings.evaluation.relevance=verified", "val"),
        ("settings.losses.ignore_relevant=true", "train"),
        (
            "search.parameters.losses.ignore_relevant={type: categorical, choices: [false, true]}",
            "train",
        ),
    ],
)
def test_what_needs_labels_is_refused_on_data_without(
    override: str, split: str, tmp_path: Path
) -> None:
    with pytest.raises(StoreError, match="but generated data has no verified labels; import data"):
        check_labels(spec_of(override))
    with StoreWriter(tmp_path / "s", name="s", video_dim=1, text_dim=1) as writer:
        for name in ("train", "val"):
            labels = ["v"] if name != split else []
            writer.add_video(name, "v", np.ones((1, 1)))
            known = CaptionAnnotation(relevant=labels)
            writer.add_caption(name, "v#0", "v", "text", np.ones((1, 1)), known)
    spec = spec_of(override, f"data={tmp_path}/s")
    with pytest.raises(StoreError, match=f"no caption of split {split} has verified videos; impo"):
        check_labels(spec)
    check_labels(spec_of(f"data={tmp_path}/s"))


def test_a_budget_that_is_said_twice_must_agree() -> None:
    text = SPEC.replace("settings:\n", "settings:\n  training.epochs: 8\n")
    assert problem_of(text=text) == (
        "small.yaml:14: early_stopping.max_epochs: found 9, but settings.training.epochs 8; "
        "give one of them"
    )


def test_a_setting_is_fixed_or_searched() -> None:
    text = SPEC.replace("settings:\n", "settings:\n  losses.tau: 0.8\n")
    assert problem_of(text=text) == (
        "small.yaml:13: search.parameters.losses.tau: searched, but settings.losses.tau fixes it "
        "to 0.8; remove one of them"
    )


def test_the_budget_is_not_searched() -> None:
    override = "search.parameters.training.epochs={type: int, low: 3, high: 9}"
    assert problem_of(override) == (
        f"--set {override}: a trial keeps its best epoch: set early_stopping.max_epochs instead"
    )


class TestWarnings:
    def test_none_without_a_reason(self) -> None:
        assert spec_warnings(spec_of()) == ()

    @pytest.mark.parametrize(
        ("overrides", "warning"),
        [
            (
                ("speed.compile=true",),
                "speed.compile on a processor: an epoch took twice as long as without, after 220 s "
                "of compiling (hidden size 96, two threads); leave it out",
            ),
            (
                ("losses.hard_negative_epoch=3",),
                "early_stopping.first_rung 3 comes before the hard negatives "
                "(losses.hard_negative_epoch 3): it compares trials under another loss than they "
                "end with; use 4 or more",
            ),
            (
                ("losses.hard_negative_epoch=9",),
                "losses.hard_negative_epoch 9 is not reached in 9 epochs: no trial sees hard "
                "negatives; lower it, or set null if none should",
            ),
            (
                ("optimizer.schedule_epochs=100",),
                "trials run 9 of optimizer.schedule_epochs 100: the learning rate ends at 91% of "
                "its peak; set optimizer.schedule_epochs 9 unless the trials are to be continued",
            ),
            (
                ("search.parameters.losses.tau.step=0.3",),
                "search.parameters.losses.tau: step 0.3 does not divide 0.5..0.9; the largest "
                "value tried is 0.8",
            ),
            (
                ("objective.direction=minimize",),
                "objective.direction minimize: val/SumR is better when larger",
            ),
            (
                (
                    "search.sampler=qmc",
                    "search.parameters.model.clips={type: categorical, choices: [uniform, "
                    "op_tome]}",
                ),
                "qmc draws categorical parameters at random: model.clips",
            ),
            (
                ("early_stopping={method: median, first_rung: 3, reduction: 3, max_epochs: 9}",),
                "early_stopping.reduction has no effect under method: median",
            ),
            (
                ("losses.cross_branch=fixed",),
                "search.parameters.losses.tau changes nothing under losses.cross_branch: fixed",
            ),
            (("concurrency=13",), "concurrency 13 exceeds the 12 trials"),
            (
                ("concurrency=7",),
                "concurrency 7 of 12 trials: tpe draws most of them before it knows a result; use "
                "less, or sampler: random",
            ),
            (
                ("speed.threads=2",),
                "speed.threads 2 exceed resources.cpus 1: trials at once compete for CPUs",
            ),
            (
                ("resources.gpus=1", "speed.device=cpu"),
                "resources.gpus 1.0 stay idle under speed.device cpu",
            ),
        ],
    )
    def test_each(self, overrides: tuple[str, ...], warning: str) -> None:
        assert spec_warnings(spec_of(*overrides)) == (warning,)

    def test_large_grid(self) -> None:
        seeds = "search.parameters.training.seed={type: int, low: 1, high: 300}"
        spec = spec_of(seeds, text=GRID)
        assert spec_warnings(spec) == (
            "the grid has 1500 points; a sampler needs far fewer trials",
        )

    def test_a_parameter_that_matters_in_some_trials_is_not_idle(self) -> None:
        choices = "{type: categorical, choices: [off, adaptive]}"
        searched = f"search.parameters.losses.cross_branch={choices}"
        assert spec_warnings(spec_of(searched)) == (
            "search.parameters.losses.tau changes nothing where losses.cross_branch is off; give "
            "it when: {losses.cross_branch: adaptive}",
        )
        condition = "search.parameters.losses.tau.when={losses.cross_branch: adaptive}"
        assert spec_warnings(spec_of(searched, condition)) == ()

    def test_the_rung_at_the_switch_has_seen_hard_negatives(self) -> None:
        # Two epochs with random negatives, the third with hard ones, then the rung.
        assert spec_warnings(spec_of("losses.hard_negative_epoch=2")) == ()

    def test_without_pruning_the_rung_does_not_matter(self) -> None:
        assert (
            spec_warnings(spec_of("losses.hard_negative_epoch=5", "early_stopping.method=none"))
            == ()
        )

    def test_the_latest_switch_of_a_search_counts(self) -> None:
        switch = "search.parameters.losses.hard_negative_epoch={type: int, low: 0, high: 4}"
        text = SPEC.replace("  losses.hard_negative_epoch: 2\n", "")
        (warning,) = spec_warnings(spec_of(switch, text=text))
        assert "hard_negative_epoch 4" in warning


def test_no_heavy_tool_is_imported() -> None:
    modules = "spec.loading, spec.search_space, base.machine, preflight.plan, base.errors"
    imports = ", ".join(f"orchestrator.{module}" for module in modules.split(", "))
    code = (
        f"import {imports}, sys; "
        "print(sorted({'torch', 'ray', 'optuna', 'mlflow'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_workers_that_may_become_fewer_are_refused_in_an_ablation_only() -> None:
    elastic = TrialResources(workers=4, min_workers=2)
    assert elastic_problems(elastic, None) == []
    assert elastic_problems(TrialResources(workers=4, min_workers=4), {"vary": {}}) == []
    ((place, message),) = elastic_problems(elastic, {"vary": {}})
    assert place == ("resources", "min_workers")
    assert message.startswith("found 2 with workers 4 in an ablation")
