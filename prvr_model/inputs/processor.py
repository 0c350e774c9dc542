"""What this machine's processor multiplies fast: asked here alone."""

import functools
import os
from typing import Any

import torch

# It has more bits than bfloat16: a product that rounds what it multiplies gives another number.
_UNEVEN = 1 + 2.0**-12
_PROBED = 64
# A step has about a hundred shapes, and makes all of them anew each time if too few are kept: 30 of
# them are its captions', which hardly come again.
_KEPT_SHAPES = "128"
# oneDNN's own, and torch's in front of it.
_CACHES = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY")
# Where torch is told that float32 products may be rounded; on processors it then asks oneDNN.
_PRODUCTS: Any = getattr(torch.backends.mkldnn, "matmul", None)
_MAY_ROUND = "bf16"


@functools.cache
def multiplies_bfloat16() -> bool:
    """Whether the processor has instructions for products of bfloat16 numbers.

    Without them such products are several times slower than those of float32.
    """
    can = _capabilities()
    return any(can.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))


@functools.cache
def multiplies_bytes() -> bool:
    """Whether the processor has instructions for products of bytes; without, they saturate."""
    return bool(torch.cpu._is_vnni_supported())


def use_fast_products() -> None:
    """Let oneDNN multiply float32 matrices where MKL, torch's own choice, is slow.

    MKL uses half of the vector units of processors that are not Intel's: 90 instead of 200 GFLOP/s
    on one core of a Zen 5. Torch asks oneDNN if float32 products may be rounded to bfloat16, which
    it does on processors with AMX alone; elsewhere it multiplies what it is given.

    oneDNN makes code for each shape and keeps it: of 1,024 shapes by default, which took 330 MB as
    the number and length of captions differ from batch to batch. It keeps fewer if it was not used
    before.
    """
    for name in _CACHES:
        os.environ.setdefault(name, _KEPT_SHAPES)
    if _is_fast_in_onednn():
        _PRODUCTS.fp32_precision = _MAY_ROUND


@functools.cache
def _is_fast_in_onednn() -> bool:
    can = _capabilities()
    # Older versions of torch cannot be asked, or leave it to MKL.
    if _PRODUCTS is None:
        return False
    by_intel = "Intel" in str(can.get("cpu_name"))
    if by_intel or can.get("amx_bf16") or not can.get("avx512_f"):
        return False
    before, _PRODUCTS.fp32_precision = _PRODUCTS.fp32_precision, _MAY_ROUND
    try:
        uneven = torch.full((_PROBED, _PROBED), _UNEVEN, device="cpu")
        found = uneven @ torch.eye(_PROBED, device="cpu")
    finally:
        _PRODUCTS.fp32_precision = before
    return bool((found == _UNEVEN).all())


def _capabilities() -> dict[str, Any]:
    ask: Any = getattr(torch.cpu, "get_capabilities", dict)
    found: dict[str, Any] = ask()
    return found
