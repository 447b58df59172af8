"""Sweeps of tests/scaling/toy_trial.py: trials without a model, with the faults that are asked for."""

import collections
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import pytest

from scaling.sweeps import trials

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
MODULE = "tests.scaling.toy_trial"
CONFIG = """
from ml_collections import ConfigDict

def get_config(variant=""):
  return ConfigDict(dict(params=100, tokens=1000, seed=0, fault="", sleep=0.0, data=dict(dataset=%r)))

def sweep(variant=""):
  faults = %r
  sizes = [(1000 * 10 ** (i %% 3), 5000 * 10 ** (i %% 3) * 2 ** (i // 3)) for i in range(%d)]
  return [dict(params=n, tokens=d, seed=i, sleep=%r, fault=faults.get(i, "")) | {"trial.flops": 6.0 * n * d}
    for i, (n, d) in enumerate(sizes)]
"""
DRIVER = (
  "import sys; from scaling.sweeps import local, trials\n"
  "local.run(trials.expand(sys.argv[1], '', {}, sys.argv[2]), sys.argv[3], sys.argv[4], int(sys.argv[5]))"
)


class Toys:
  """Sweeps of toy trials in one directory. Attributes: `root`, where they run; `file`, their config; `sockets`, where
  a launcher that is killed leaves one.
  """

  def __init__(self, folder: pathlib.Path, sockets: str):
    self.sockets = sockets
    self.root, self.file, self.dataset = folder / "w", folder / "toy.py", folder / "data"
    self.dataset.mkdir()
    (self.dataset / "dataset.json").write_text("{}")

  def make(self, count: int, faults: dict[int, str], sleep: float = 0.0) -> list[trials.Trial]:
    self.file.write_text(CONFIG % (str(self.dataset), faults, count, sleep))
    return trials.expand(str(self.file), "", {}, MODULE)

  def call(self, engine: str = "local", slots: int = 2) -> subprocess.Popen:
    """The sweep as a process of its own."""
    command = [sys.executable, "-c", DRIVER, str(self.file), MODULE, str(self.root), engine, str(slots)]
    return subprocess.Popen(
      command, cwd=REPOSITORY, env=os.environ | {"TMPDIR": self.sockets},
      stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip

  def results(self) -> set[pathlib.Path]:
    return set(self.root.glob("runs/*/result.json"))

  def attempts(self) -> collections.Counter:
    """Starts of every trial."""
    return collections.Counter(path.parent.name for path in self.root.glob("runs/*/attempt-*"))


@pytest.fixture
def toys(tmp_path, monkeypatch):
  monkeypatch.chdir(REPOSITORY)
  with tempfile.TemporaryDirectory(prefix="toys-") as sockets:  # a socket's path must be short
    yield Toys(tmp_path, sockets)


def until(condition, seconds: float = 60.0) -> None:
  end = time.monotonic() + seconds
  while not condition():
    assert time.monotonic() < end
    time.sleep(0.02)
