"""What the library of Argoverse 2 says of tracks that we generate: python -m tests.evaluation.metrics.av2_oracle.

The library is no dependency. What it said is kept in av2_golden.json with the version that said it, and asked again
where it is installed (pip install --no-deps av2==0.3.6, with universal-pathlib).
"""

import importlib.metadata
import json
import pathlib

import numpy as np

GOLDEN = pathlib.Path(__file__).with_name("av2_golden.json")


def case(seed: int, modes: int, agents: int, steps: int) -> dict[str, np.ndarray]:
  """A scene with ties, probabilities of zero and one, masked steps and an exact hit, in short decimals."""
  rng = np.random.default_rng(seed)
  truth = np.cumsum(rng.normal(1, 0.5, (agents, steps, 2)), 1).round(2)
  forecast = (truth + rng.normal(0, 1.5, (modes, agents, steps, 2))).round(2)
  forecast[-1, 0] = forecast[0, 0]  # a tie, whose probabilities differ
  forecast[modes // 2, -1] = truth[-1]
  probability = rng.dirichlet(np.ones(modes), agents).T.round(3)
  probability[0, 0], probability[-1, 0] = 0, 1
  valid = rng.random((agents, steps)) < 0.8
  valid[:, -1] = True
  return {"forecast": forecast, "truth": truth, "probability": probability, "valid": valid}


def cases() -> dict[str, dict[str, np.ndarray]]:
  return {
    "six modes": case(0, 6, 3, 4),
    "one mode": case(1, 1, 3, 4),
    "one step": case(2, 6, 3, 1),
    "one mode, one step, one agent": case(3, 1, 1, 1),
  }


def answers(scene: dict[str, np.ndarray]) -> dict[str, list]:
  """The library's values: per mode and agent [K][A], and of all steps per world [K] or [A][K]."""
  from av2.datasets.motion_forecasting.eval import metrics as av2

  forecast, truth, probability, valid = (
    scene[name] for name in ("forecast", "truth", "probability", "valid")
  )
  agents = range(len(truth))
  kept = [(forecast[:, a, valid[a]], truth[a, valid[a]]) for a in agents]  # it knows no masks
  worlds, world_probability = forecast.swapaxes(0, 1), probability[:, 0]
  found = {
    "ade": np.stack([av2.compute_ade(*kept[a]) for a in agents], -1),
    "fde": np.stack([av2.compute_fde(*kept[a]) for a in agents], -1),
    "missed": np.stack([av2.compute_is_missed_prediction(*kept[a]) for a in agents], -1),
    "brier_ade": np.stack([av2.compute_brier_ade(*kept[a], probability[:, a]) for a in agents], -1),
    "brier_fde": np.stack([av2.compute_brier_fde(*kept[a], probability[:, a]) for a in agents], -1),
    "brier_fde_normalised": np.stack(
      [av2.compute_brier_fde(*kept[a], probability[:, a], normalize=True) for a in agents], -1
    ),
    "world_ade": av2.compute_world_ade(worlds, truth),
    "world_fde": av2.compute_world_fde(worlds, truth),
    "world_brier_fde": av2.compute_world_brier_fde(worlds, truth, world_probability),
    "world_missed": av2.compute_world_misses(worlds, truth).T,
    "world_collided": av2.compute_world_collisions(worlds).T,
  }
  return {name: value.tolist() for name, value in found.items()}


def main() -> None:
  kept = {
    "av2": importlib.metadata.version("av2"),
    "command": "python -m tests.evaluation.metrics.av2_oracle",
    "cases": {
      name: {"scene": {key: value.tolist() for key, value in scene.items()}, "answers": answers(scene)}
      for name, scene in cases().items()
    },
  }
  GOLDEN.write_text(json.dumps(kept, separators=(",", ":")).replace('},"', '},\n"') + "\n")


if __name__ == "__main__":
  main()
