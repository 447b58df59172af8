"""Freed memory comes back without page faults, where the C library is glibc."""

import pathlib
import platform
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]

_FAULTS = """
import resource, sys
import numpy as np
from experiments.allocator import keep_freed_memory
if sys.argv[1] == "kept":
  assert keep_freed_memory()
faults = []
for _ in range(20):
  begun = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
  arrays = [np.ones(3 * 2**18) for _ in range(12)]  # 6 MiB each, more at once than is kept by itself
  del arrays
  faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - begun)
print(sorted(faults)[10])
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
def test_freed_arrays_are_used_again_without_page_faults():
  def median(kind):
    # Huge pages would hide the faults; numpy asks for them unless told not to.
    return int(
      subprocess.run(
        [sys.executable, "-c", _FAULTS, kind],
        cwd=ROOT,
        env={"NUMPY_MADVISE_HUGEPAGE": "0"},
        capture_output=True,
        text=True,
        check=True,
      ).stdout
    )

  assert median("kept") == 0
  assert median("given back") > 1000
