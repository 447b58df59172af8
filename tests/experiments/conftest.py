"""A small dataset from simulated logs, made once."""

import pytest

from tests.experiments import faults


@pytest.fixture(scope="session")
def simulated(tmp_path_factory):
  """Its directory; skips without SUMO."""
  pytest.importorskip("libsumo", reason="simulated logs need the sim extra")
  out = tmp_path_factory.mktemp("simulated") / "dataset"
  faults.build_dataset(out)
  return out
