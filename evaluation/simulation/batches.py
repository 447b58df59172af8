"""All scenarios simulated, some at a time: one compiled shape, whatever their number."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from data.windows import surroundings
from evaluation.forecasting.rollout import prepare
from evaluation.simulation.scenarios import Scenarios
from evaluation.simulation.simulator import Simulation, make_simulator


def simulator_of(
  task: Any,
  weights: Any,
  scenarios: Scenarios,
  how: Simulation,
  together: int,
  seed: int,
  guide: Callable | None = None,
) -> Callable[[np.ndarray, int], np.ndarray]:
  """Returns simulate(forced [N, C, A], draw) -> states float32 [C, A, T, S] with what was observed before.

  task: of the motion model whose weights these are. The same draw has the same noise, whatever is forced.
  """
  run = make_simulator(task.model.apply, how, guide)
  count = len(scenarios)
  chunks = []
  for start in range(0, count, together):
    rows = np.arange(start, start + together).clip(max=count - 1)  # the last chunk repeats its last scenario
    windows = {name: value[rows] for name, value in scenarios.windows.items()}
    inputs = prepare(windows, task.to_batch, how.observed)
    signals = windows["signal_TxAxQ"][:, how.observed :]
    inputs["around"] = surroundings(windows)._replace(signal=signals)
    chunks.append((start, rows, inputs))

  def simulate(forced_NxCxA: np.ndarray, draw: int) -> np.ndarray:
    key = jax.random.fold_in(jax.random.key(seed), draw)
    made = [
      run(weights, inputs, forced_NxCxA[:, rows], jax.random.fold_in(key, start))
      for start, rows, inputs in chunks
    ]
    states = np.concatenate(made)[:count]
    return np.concatenate([scenarios.state_CxAxTxS[:, :, : how.observed], states], 2)

  return simulate
