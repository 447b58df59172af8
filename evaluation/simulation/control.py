"""Control of a simulator: the ego is told to accelerate or steer, and what that changes is measured.

Changes are against the free roll-out with the same noise. At the end of a command they follow from the motion of a
token; a second later the model has had its say, and so has whoever follows the ego.
"""

from typing import Any

import numpy as np

from data import motion
from evaluation import intervals
from evaluation.simulation import commands, scores
from evaluation.simulation.scenarios import Scenarios

COMMAND_S, AFTER_S = (
  1.0,
  1.0,
)  # how long the ego is told what to do, and how much later the effect is measured
ACCELERATIONS = (-4.8, -2.5, -1.2, 0.0, 1.2, 2.5)  # m/s^2
YAW_OFFSETS = (-0.1, -0.05, 0.0, 0.05, 0.1)  # rad/s
FAST_ENOUGH = 5.0  # m/s; the hardest braking for COMMAND_S does not stop such an ego
_FOLLOWING, _BESIDE = 40.0, 2.0  # m behind and beside the ego within which somebody follows it
_INTERVAL_DRAWS = 200  # ranks are sorted anew in each


def control_of(scenarios: Scenarios, simulate, free: np.ndarray, drawn: intervals.Draws) -> tuple[dict, dict]:
  """Spearman between what the ego is told and what it changes in free roll-outs of the same noise, on average."""
  every, now = np.arange(len(scenarios)), scenarios.observed
  told = round(COMMAND_S / scenarios.dt)
  then = now + told + round(AFTER_S / scenarios.dt)
  start = scenarios.state_CxAxTxS[every, scenarios.ego_C, now]
  fast_C = start[:, motion.SPEED] >= FAST_ENOUGH
  follower_C = followers(scenarios)
  kinds: dict[str, tuple[tuple[float, ...], Any]] = {
    "accelerate": (ACCELERATIONS, commands.accelerate),
    "steer": (YAW_OFFSETS, commands.steer),
  }
  found, points = {}, {}
  for kind, (values, ego_moves) in kinds.items():
    effects, replies = [], []
    for value in values:
      forced = commands.told(commands.nobody(scenarios), scenarios, ego_moves(scenarios, value, told))
      change = np.mean([simulate(forced, draw) - one for draw, one in enumerate(free)], 0)
      ego = change[every, scenarios.ego_C]
      left = -np.sin(start[:, 2, None]) * ego[..., 0] + np.cos(start[:, 2, None]) * ego[..., 1]
      effects.append((ego[..., motion.SPEED] if kind == "accelerate" else left)[:, [now + told, then]])
      replies.append(change[every, follower_C, then + told, motion.SPEED])
    effect_KxCx2, reply_KxC = np.stack(effects), np.stack(replies)
    ends = {"at_its_end": effect_KxCx2[..., 0], "a_second_later": effect_KxCx2[..., 1]}
    found[kind] = {name: _ranked(values, effect, fast_C, scenarios, drawn) for name, effect in ends.items()}
    points[kind] = {"values": values, "effect_KxN": effect_KxCx2[:, fast_C, 1]}
    if kind == "accelerate":
      followed_C = fast_C & (follower_C >= 0)
      found["follower"] = _ranked(values, reply_KxC, followed_C, scenarios, drawn)
  return found, points


def _ranked(values, effect_KxC, keep_C, scenarios: Scenarios, drawn: intervals.Draws) -> dict[str, Any]:
  """Spearman over all commands and scenarios kept, its interval over scenes, and by domain."""
  value_KxC = np.broadcast_to(np.asarray(values)[:, None], effect_KxC.shape)

  def over(kept_C, weight_C=None):
    weight = None if weight_C is None else np.broadcast_to(weight_C, effect_KxC.shape)[:, kept_C].ravel()
    return scores.spearman(value_KxC[:, kept_C].ravel(), effect_KxC[:, kept_C].ravel(), weight)

  by_domain = {str(name): keep_C & (scenarios.domain_C == name) for name in np.unique(scenarios.domain_C)}
  return {
    "spearman": over(keep_C),
    "ci95": intervals.interval(
      np.array([over(keep_C, row[drawn.scene_N]) for row in drawn.counts_RxS[:_INTERVAL_DRAWS]])
    ),
    "scenarios": int(keep_C.sum()),
    "mean_effect": effect_KxC[:, keep_C].mean(1).tolist(),
    "by_domain": {name: over(kept_C) for name, kept_C in by_domain.items() if kept_C.any()},
  }


def followers(scenarios: Scenarios) -> np.ndarray:
  """int [C]: the slot of the nearest known agent that follows the ego in its lane now; -1 for none."""
  state = scenarios.state_CxAxTxS[:, :, scenarios.observed]
  ego = state[np.arange(len(scenarios)), scenarios.ego_C][:, None]
  x, y = (state[..., i] - ego[..., i] for i in (motion.X, motion.Y))
  cos, sin = np.cos(ego[..., motion.HEADING]), np.sin(ego[..., motion.HEADING])
  ahead, left = cos * x + sin * y, cos * y - sin * x
  along = np.cos(state[..., motion.HEADING] - ego[..., motion.HEADING]) > np.cos(0.5)
  follows = scenarios.known_CxA & along & (ahead < 0) & (ahead > -_FOLLOWING) & (np.abs(left) < _BESIDE)
  nearest = np.where(follows, -ahead, np.inf).argmin(1)
  return np.where(follows.any(1), nearest, -1)
