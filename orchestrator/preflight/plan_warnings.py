"""What a plan warns of: trials that do not fit as often as was asked for, full GPUs, slow types."""

from dataclasses import replace
from math import floor

from orchestrator.base.text import count, gib
from orchestrator.cluster.capacity import Packing, pack
from orchestrator.spec.sweep_spec import SweepSpec
from prvr_model.training.probe_messages import ProbeResult


def fit_warnings(spec: SweepSpec, packing: Packing) -> list[str]:
    """What other sweeps hold; fewer trials at once than was asked for or CPUs and GPUs allow."""
    texts = _held_texts(packing)
    fitting, memory = packing.trials, packing.needs.memory
    if spec.concurrency is not None and spec.concurrency > fitting:
        fit = "fits" if fitting == 1 else "fit"
        trials = count(fitting, "trial")
        texts.append(f"concurrency {spec.concurrency}: only {trials} {fit} at once")
    if memory is None:
        return texts
    each = f"about {gib(memory.peak_bytes)}" if memory.is_estimate else gib(memory.peak_bytes)
    unbounded = pack(replace(packing.needs, memory=None), packing.nodes)
    if packing.is_tight:
        texts.append(
            f"memory may not be enough for one trial: a worker takes {each}; lower "
            "training.batch_videos, or say what it takes with resources.memory_gib"
        )
    elif unbounded and unbounded.trials > fitting:
        texts.append(
            f"memory lets only {count(fitting, 'trial')} fit at once, not {unbounded.trials}: a "
            f"worker takes {each}"
        )
    return texts


def _held_texts(packing: Packing) -> list[str]:
    """A line for each sweep that runs on the same machine."""
    needs = packing.needs
    return [
        f"{holding} of {node.name}, which this sweep "
        + ("shares: one trial at once" if node.cpus < needs.cpus else "leaves alone")
        for node in packing.nodes
        for holding in node.held
    ]


def sharing_warnings(spec: SweepSpec, result: ProbeResult) -> list[str]:
    """Trials that share a GPU and together take more of its memory than it has."""
    gpus, took, total = spec.resources.gpus, result.gpu_memory_bytes, result.gpu_total_bytes
    if not gpus or took is None or total is None or floor(1 / gpus) * took <= total:
        return []
    return [
        f"{floor(1 / gpus)} trials share a GPU of {gib(total)}, but each takes {gib(took)}; "
        f"nearest that fits: resources.gpus {1 / max(1, total // took):.2g}"
    ]


def precision_warnings(spec: SweepSpec, result: ProbeResult) -> list[str]:
    """bfloat16 on a processor that has no instructions for it; measured at hidden size 96."""
    if spec.speed.precision != "bfloat16" or result.multiplies_bfloat16 is not False:
        return []
    return [
        "speed.precision bfloat16: this processor has no instructions for it, so a step takes 1.6 "
        "(AVX-512) to 8 times (AVX2) as long as with float32; leave it out"
    ]
