"""What the devkit of nuScenes says of tracks that we generate: python -m tests.evaluation.metrics.nuscenes_oracle.

The devkit needs an older NumPy than jax does, so this runs in an environment of its own (nuscenes-devkit==1.2.0 with
numpy<2), and its answers are kept in nuscenes_golden.json. What of it reads maps and data sets is not needed: it may be
installed with --no-deps. Equal probabilities are left out: in which order the devkit takes them is not specified.
"""

import importlib.metadata
import importlib.util
import json
import pathlib
import sys
import types
from unittest import mock

import numpy as np

GOLDEN = pathlib.Path(__file__).with_name("nuscenes_golden.json")
TOP = (1, 2, 5)
UNUSED = (
  "scipy", "nuscenes", "nuscenes.eval.prediction.data_classes", "nuscenes.map_expansion.map_api", "nuscenes.prediction",
  "nuscenes.prediction.input_representation.static_layers",
)  # fmt: skip


def case(seed: int, modes: int, agents: int, steps: int) -> dict[str, np.ndarray]:
  """A scene of short decimals in which modes differ about as much as a miss does; one is off by 2 m exactly."""
  rng = np.random.default_rng(seed)
  truth = np.cumsum(rng.normal(1, 0.5, (agents, steps, 2)), 1).round(2)
  forecast = (truth + rng.normal(0, 0.9, (modes, agents, steps, 2))).round(2)
  truth[0, 0], forecast[-1, 0] = (4, 2), truth[0]
  forecast[-1, 0, 0] = (4, 4)
  probability = rng.dirichlet(np.ones(modes), agents).T.round(4)
  return {"forecast": forecast, "truth": truth, "probability": probability}


def cases() -> dict[str, dict[str, np.ndarray]]:
  return {"six modes": case(0, 6, 8, 4), "five modes, two steps": case(1, 5, 4, 2)}


def library() -> types.ModuleType:
  """The devkit's file of forecast metrics, with mocks for what else it imports."""
  path = importlib.metadata.distribution("nuscenes-devkit").locate_file("nuscenes/eval/prediction/metrics.py")
  absent = {name: mock.MagicMock() for name in UNUSED}
  spec = importlib.util.spec_from_file_location("nuscenes_metrics", str(path))
  module = importlib.util.module_from_spec(spec)
  with mock.patch.dict(sys.modules, absent):
    spec.loader.exec_module(module)
  return module


def answers(scene: dict[str, np.ndarray]) -> dict[str, list]:
  """By name, [agents][k of TOP]."""
  devkit = library()
  forecast, probability = scene["forecast"].swapaxes(0, 1), scene["probability"].T
  truth = np.repeat(scene["truth"][:, None], forecast.shape[1], 1)
  found = {
    "ade": devkit.min_ade_k(forecast, truth, probability),
    "fde": devkit.min_fde_k(forecast, truth, probability),
    "missed": devkit.miss_rate_top_k(forecast, truth, probability, 2.0),
  }
  return {name: value[:, [k - 1 for k in TOP]].tolist() for name, value in found.items()}


def main() -> None:
  kept = {
    "nuscenes-devkit": importlib.metadata.version("nuscenes-devkit"),
    "numpy": np.__version__,
    "command": "python -m tests.evaluation.metrics.nuscenes_oracle",
    "cases": {
      name: {"scene": {key: value.tolist() for key, value in scene.items()}, "answers": answers(scene)}
      for name, scene in cases().items()
    },
  }
  GOLDEN.write_text(json.dumps(kept, separators=(",", ":")).replace('},"', '},\n"') + "\n")


if __name__ == "__main__":
  main()
