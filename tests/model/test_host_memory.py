"""Freed activations go back to the system."""

import subprocess
import sys

import pytest

from prvr_model.host_memory import return_large_blocks

_PROGRAM = """
import torch
from pathlib import Path
from prvr_model.host_memory import return_large_blocks
{call}
def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
before = resident()
# Every other block is kept: a heap cannot shrink over it.
blocks = [torch.ones(1 << 21) for _ in range(40)]
del blocks[::2]
print(resident() - before)
"""


@pytest.mark.skipif(not return_large_blocks(), reason="not the GNU C library")
def test_freed_blocks_are_returned() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM.format(call="assert return_large_blocks()")],
        capture_output=True,
        text=True,
        check=True,
    )
    # 20 of 40 blocks of 8 MiB are left.
    assert int(done.stdout) < 25 * (8 << 20)
