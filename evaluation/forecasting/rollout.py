"""Roll-out: the motion model drives all agents of a window into the future (evaluation/simulation/simulator.py).

Signals stay as last observed and nobody enters, because a forecast does not know better.
"""

from collections.abc import Callable, Sequence

import jax
import numpy as np

from data.windows import Window, surroundings
from evaluation.forecasting.cases import Cases
from evaluation.simulation.simulator import FREE, Simulation, make_simulator

_CHUNK = 16  # windows rolled out at once: one compiled shape


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


def predict(
  apply: Callable, params, to_batch: Callable, cases: Cases, dt: float, samples: int, seed: int,
  watch: Callable[[int], object] = lambda windows: None,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
  """Forecasts in the scene's frame at the log's rate, float32 m: likeliest [1, B, A, N, 2], samples [K, ...]."""
  made = futures(apply, params, to_batch, cases, dt, range(samples + 1), seed, watch)
  return made[:1], made[1:]


def futures(
  apply: Callable, params, to_batch: Callable, cases: Cases, dt: float, numbers: Sequence[int], seed: int,
  watch: Callable[[int], object] = lambda windows: None,
) -> np.ndarray:  # fmt: skip
  """Futures [K, B, A, N, 2] by `numbers` [K]: 0 is the likeliest, each other number a sample of its own.

  They are shifted to start at the last logged position, which the tokens only approximate. `watch` is told how many
  windows have been rolled out, chunk by chunk.
  """
  roll_out = {
    kind: make_roll_out(apply, cases.observed, cases.steps, dt, kind) for kind in {not k for k in numbers}
  }
  count = len(cases.scored_BxA)
  made: list[list] = [[] for _ in numbers]
  for start in range(0, count, _CHUNK):
    rows = np.arange(start, start + _CHUNK).clip(max=count - 1)  # the last chunk repeats its last window
    windows = {name: value[rows] for name, value in cases.windows.items()}
    inputs = prepare(windows, to_batch, cases.observed)
    key = jax.random.fold_in(jax.random.key(seed), start)
    for k, own in zip(numbers, made, strict=True):
      own.append(roll_out[not k](params, inputs, jax.random.fold_in(key, k))[..., :2])
    watch(min(_CHUNK, count - start))
  position = np.stack([np.concatenate(own)[:count] for own in made])  # [K, B, A, steps + 1, 2]
  position = np.stack([cases.to_scene(one) for one in _to_log_rate(position, cases.stride)])
  shift = cases.history_BxHxAx2[:, -1, :, None] - position[..., :1, :]
  return (position + shift)[..., 1:, :].astype(np.float32)


def _to_log_rate(position, stride: int):
  """Linear interpolation along the second to last axis: [..., n + 1, 2] to [..., n * stride + 1, 2]."""
  place = np.arange((position.shape[-2] - 1) * stride + 1) / stride
  before = np.minimum(place.astype(int), position.shape[-2] - 2)
  share = (place - before)[:, None]
  return (1 - share) * position[..., before, :] + share * position[..., before + 1, :]
