"""Small generated inputs shared by tests: batches of random windows, a straight-road scene."""

from collections.abc import Callable

import jax
import numpy as np

from data import context, motion
from data.schema import Lanes, Metadata, Scene


def stepwise(apply: Callable) -> Callable:
  """A made-up motion model, `apply(variables, batch)` -> logits [B, T, A, V], asked as one with a cache is."""

  def applied(variables, batch, at=None, mutable=()):
    logits = apply(variables, batch)
    if not mutable:
      return logits
    return (logits if at is None else jax.lax.dynamic_slice_in_dim(logits, at, 1, axis=1)), {"cache": {}}

  return applied


def random_batch(batch: int, steps: int = 8, agents: int = 8, seed: int = 0) -> dict[str, np.ndarray]:
  """A model batch of random moves with some invalid, two groups per window."""
  rng = np.random.default_rng(seed)
  shape = (batch, steps, agents)
  group = np.ones((batch, agents), np.uint8)
  group[:, agents * 3 // 4 :] = 2
  valid = rng.random(shape) < 0.9
  return {
    "tokens_BxTxA": rng.integers(0, motion.VOCABULARY, shape).astype(np.int16),
    "valid_BxTxA": valid,
    "mask_BxTxA": valid & (rng.random(shape) < 0.95),
    "moving_BxA": rng.random((batch, agents)) < 0.7,
    "features_BxTxAxF": rng.normal(size=(*shape, context.FEATURES)).astype(np.float16),
    "group_BxA": group,
    "type_BxA": rng.integers(0, 8, (batch, agents)).astype(np.uint8),
    "domain_B": rng.integers(0, 3, batch).astype(np.uint8),
  }


def straight_scene(steps: int = 40, agents: int = 4, seed: int = 0, dt: float = 0.1, **metadata) -> Scene:
  """Agents in a row on one straight lane along +x, 20 m apart, agent 0 in front; speeds wander around 8 m/s."""
  rng = np.random.default_rng(seed)
  values = {
    "scene_id": f"straight-{seed}", "source": "test", "domain": "straight", "geography": "", "route": "",
    "map_id": f"map-{seed}", "recording": f"recording-{seed}", "start_s": -1.0, "dt": dt,
  } | metadata  # fmt: skip
  speed = 8 + np.cumsum(rng.normal(0, 0.1, (steps, agents)), 0)
  travelled = np.concatenate([np.zeros((1, agents)), np.cumsum(speed[1:] * dt, 0)])
  start = 20.0 * np.arange(agents)[::-1]
  position = np.stack([start + travelled, np.zeros_like(travelled)], -1).astype(np.float32)
  length = float(position.max() + 200)
  lanes = Lanes(
    xy_Nx2=np.array([[-50, 0], [length, 0]], np.float32), splits=np.array([0, 2], np.int32),
    width_L=np.full(1, 3.5, np.float32), speed_limit_L=np.full(1, 14, np.float32),
    type_L=np.zeros(1, np.uint8), road_L=np.zeros(1, np.int32),
    successor_Ex2=np.zeros((0, 2), np.int32),
    left_L=np.full(1, -1, np.int32), right_L=np.full(1, -1, np.int32),
  )  # fmt: skip
  return Scene(
    Metadata(**values), lanes, position, np.zeros((steps, agents), np.float32),
    np.stack([speed, np.zeros_like(speed)], -1).astype(np.float32), np.ones((steps, agents), bool),
    np.zeros((steps, agents), np.int32), np.tile(np.float32([4.5, 1.8]), (agents, 1)),
    np.zeros(agents, np.uint8), np.arange(agents, dtype=np.int64), np.zeros(0, np.int32),
    np.zeros(agents + 1, np.int32), np.zeros((steps, 1), np.uint8),
  )  # fmt: skip
