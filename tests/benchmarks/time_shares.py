"""Where the time of some work goes, by kind of operation, as PyTorch's profiler sees it."""

from collections import Counter
from collections.abc import Callable

from torch.profiler import ProfilerActivity, profile

# Operations by kind; the first kind whose list has the operation takes it.
_KINDS = {
    "products of rows with weights": ("mm", "addmm", "addmm_"),
    "products in attention and scores": ("bmm", "baddbmm", "baddbmm_", "dot"),
    "copies, biases and masks as numbers": ("copy_", "cat", "fill_", "zero_", "stack"),
    "elementwise": (
        *("mul", "mul_", "add", "add_", "sub", "sub_", "div", "div_", "addcmul", "addcmul_"),
        *("clamp", "clamp_", "clamp_min_", "relu_", "lt", "lerp_", "sqrt", "pow", "abs"),
        *("threshold_backward", "_foreach_mul_", "_foreach_add_", "_foreach_div"),
    ),
    "norms and softmax": (
        *("native_layer_norm", "native_layer_norm_backward", "_softmax", "logsumexp"),
        *("_softmax_backward_data", "linalg_vector_norm", "log_softmax"),
    ),
    "sums and maxima": ("sum", "max", "amax", "mean", "any", "gather", "scatter_", "index_add_"),
}
_OTHER = "calls, random numbers and the rest"


def shares_of_time(work: Callable[[], object]) -> dict[str, float]:
    """Share of the time of one run by kind of operation, largest first.

    Operations are counted without those that they call, so the shares add up to 1; what the host
    does between them is not an operation of its own and counts where it was called from.
    """
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        work()
    times: Counter[str] = Counter()
    for event in profiled.key_averages():
        times[_kind(event.key)] += event.self_cpu_time_total
    total = sum(times.values())
    return {kind: round(time / total, 3) for kind, time in times.most_common()}


def _kind(operation: str) -> str:
    name = operation.removeprefix("aten::")
    return next((kind for kind, names in _KINDS.items() if name in names), _OTHER)
