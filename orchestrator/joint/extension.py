"""More seeds, epochs or budget for a sweep over several data sets."""

from dataclasses import replace

from orchestrator.base.errors import ResumeError
from orchestrator.joint.sweep import JointSweep
from orchestrator.spec.loading import read_joint, read_spec
from orchestrator.sweep.extension import extended_spec
from orchestrator.sweep.resume import ResumeRequest


def extended(joint: JointSweep, request: ResumeRequest) -> JointSweep:
    """The sweep with what the request adds, after every part that has begun was asked.

    Raises:
        ResumeError: A part cannot be extended in this way.
    """
    _refuse_for_search(joint, request)
    overrides = request.extension.money_overrides(joint.spec.first.prices)
    asked = replace(request.extension, budget=(), prices=None)
    for data in joint.begun:
        study = joint.study(data)
        assert study is not None, "a part that has begun has a study"
        kept = study.attributes
        if asked != replace(asked, trials=None, epochs=None, seeds=None):
            before = read_spec(kept["spec_yaml"], source=f"sweep {study.name}")
            extended_spec(before, asked, kept)
    first = joint.spec.first
    if request.seeds is not None and first.ablation is not None:
        listed = isinstance(first.ablation.seeds, tuple)
        seeds = list(first.seeds(request.seeds)) if listed else request.seeds
        overrides.append(f"ablation.seeds={seeds}")
    if request.epochs is not None:
        overrides.append(f"early_stopping.max_epochs={request.epochs}")
    spec = read_joint(joint.record.spec_yaml, overrides, f"sweep {joint.name}")
    return replace(joint, spec=spec)


def _refuse_for_search(joint: JointSweep, request: ResumeRequest) -> None:
    options = ("trials", "epochs", "seeds") if joint.spec.is_search else ()
    given = [name for name in options if getattr(request, name) is not None]
    if given:
        raise ResumeError(
            f"--{given[0]}: sweep {joint.name!r} is a search over several data sets, whose other "
            "data sets run what it confirmed; a longer one is launched under another name "
            "(--set name=...)"
        )
