"""Roll-out: the motion model drives all agents of a window into the future (evaluation/simulation/simulator.py).

Signals stay as last observed and nobody enters, because a forecast does not know better.
"""

from collections.abc import Callable

import numpy as np

from data.windows import Window, surroundings
from evaluation.simulation.simulator import FREE, Simulation, make_simulator


def make_roll_out(apply: Callable, observed: int, steps: int, dt: float, greedy: bool) -> Callable:
  """Returns roll_out(params, inputs, key) -> states float32 [B, A, steps + 1, S] in the window's frame.

  S as in data.motion; the first state is the last observed one. `apply` is that of a motion model, step by step with
  its cache (models/motion.py); `inputs` comes from `prepare`. `greedy` takes the likeliest move of every agent, not
  a sample.
  """
  how = Simulation(observed, observed + steps, steps, dt, 0.0 if greedy else 1.0, 1.0, cached=True)
  simulate = make_simulator(apply, how)

  def roll_out(params, inputs, key):
    return simulate(params, inputs, np.full((steps, *inputs["alive"].shape), FREE), key)

  return roll_out


def prepare(windows: Window, to_batch: Callable, observed: int) -> dict:
  """What `roll_out` needs of stacked windows [B, ...]; nothing in it depends on later frames.

  `to_batch` makes the model's batch of stacked windows; what it blanks in the features stays blank.
  """
  valid, mask, state = (windows[name] for name in ("valid_TxA", "mask_TxA", "state_TxAxS"))
  alive = valid[:, observed]
  past = np.arange(mask.shape[1])[None, :, None] < observed
  causal = windows | {
    "tokens_TxA": np.where(past, windows["tokens_TxA"], 0),
    "valid_TxA": np.where(past, valid, alive[:, None]),
    "mask_TxA": np.where(past, mask, alive[:, None]),
    "features_TxAxF": np.where(past[..., None], windows["features_TxAxF"], 0),
    "state_TxAxS": np.where(past[..., None], state, 0),
    "signal_TxAxQ": windows["signal_TxAxQ"][:, observed, None],
  }
  kept = to_batch(causal | {"features_TxAxF": np.ones_like(windows["features_TxAxF"])})["features_BxTxAxF"]
  batch = to_batch(causal)
  return {
    "batch": batch | {"features_BxTxAxF": batch["features_BxTxAxF"].astype(np.float32)},
    "around": surroundings(causal),
    "past": causal["state_TxAxS"][:, :observed],
    "state": state[:, observed],
    "alive": alive,
    "keep": kept[:, 0].astype(np.float32),
  }
