"""A small dataset from simulated logs, made once; runs on few of the eight devices, which compile sooner."""

import jax
import pytest

from experiments import mesh as meshes
from experiments.setup import make_setup
from tests.experiments import faults


@pytest.fixture(scope="session")
def simulated(tmp_path_factory):
  """Its directory; skips without SUMO."""
  pytest.importorskip("libsumo", reason="simulated logs need the sim extra")
  out = tmp_path_factory.mktemp("simulated") / "dataset"
  faults.build_dataset(out)
  return out


@pytest.fixture(scope="session")
def setup_on():
  """setup_on(count, config, dataset): as make_setup, on the first `count` devices."""
  make = meshes.make_mesh

  def setup(count: int, config, dataset):
    with pytest.MonkeyPatch.context() as patch:
      patch.setattr(meshes, "make_mesh", lambda **axes: make(**axes, devices=jax.devices()[:count]))
      return make_setup(config, dataset)

  return setup
