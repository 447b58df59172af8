"""Eight simulated devices, strict rank promotion, a compilation cache, and where the real logs lie."""

import os
import pathlib
import tempfile

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Most of a test's time is compiling, and most programs run but once: LLVM need not optimise them.
os.environ["XLA_FLAGS"] = " ".join(
  [
    os.environ.get("XLA_FLAGS", ""),
    "--xla_force_host_platform_device_count=8",
    "--xla_backend_optimization_level=0",
  ]
)
os.environ.setdefault(
  "JAX_COMPILATION_CACHE_DIR", str(pathlib.Path(tempfile.gettempdir()) / "drivetrain-jax-cache")
)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ["JAX_NUMPY_RANK_PROMOTION"] = "raise"

import pytest
from absl import flags

SHARED_DATA = pathlib.Path(__file__).resolve().parents[2] / "shared" / "data"

_define = flags.FlagValues.__setitem__


def _define_again(self, name, flag):
  """Programs define flags of the same name, which is no mistake: only tests import two of them at once."""
  flag.allow_override = True
  _define(self, name, flag)


flags.FlagValues.__setitem__ = _define_again


@pytest.fixture
def shared_data():
  """Maps a subfolder of the shared real logs to its path, or skips the test naming what is missing."""

  def find(name: str) -> pathlib.Path:
    path = SHARED_DATA / name
    if not path.exists():
      pytest.skip(f"real logs absent: ../shared/data/{name}")
    return path

  return find
