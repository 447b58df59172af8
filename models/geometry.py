"""Places in the ego frame, in metres: of patches and tokens, and of agents from one step to the next."""

import jax
import jax.numpy as jnp
import numpy as np

from models.perception_config import PerceptionConfig
from models.sensors_config import GridConfig, LidarConfig, RasterConfig

# Entries of the ego's state: m/s, rad/s and m/s^2; the rates by differences over the step that has passed.
SPEED, YAW_RATE, ACCELERATION = 0, 1, 2


def patch_centres(grid: GridConfig) -> np.ndarray:
  """float32 [places, 2]: x and y of the centre of every patch of a grid, row by row."""
  edge = grid.cells // grid.patch
  along = (np.arange(edge) + 0.5) * grid.patch * grid.cell_m
  x, y = np.meshgrid(along - grid.rear_m, along - grid.half_m, indexing="ij")
  return np.stack([x, y], -1).reshape(-1, 2).astype(np.float32)


def token_places(config: PerceptionConfig) -> np.ndarray:
  """float32 [S, 2]: the same for every token of a step; NaN for tokens that are of no place on the ground."""
  found = [np.full((sensor.places, 2), np.nan, np.float32) for sensor in config.sensors.values()]
  for index, sensor in enumerate(config.sensors.values()):
    if isinstance(sensor, RasterConfig | LidarConfig):
      found[index] = patch_centres(sensor.grid)
  return np.concatenate(found)


def apart(place_NxQx2: jax.Array, place_Sx2: jax.Array, unit_m: float) -> jax.Array:
  """[N, Q, S]: squared distances of queries and tokens in `unit_m`; 0 to tokens of no place, which are NaN."""
  somewhere_S = jnp.isfinite(place_Sx2[:, 0])
  there_Sx2 = jnp.where(somewhere_S[:, None], place_Sx2, 0)
  squared = (((place_NxQx2[:, :, None] - there_Sx2[None, None]) / unit_m) ** 2).sum(-1)
  return jnp.where(somewhere_S[None, None], squared, 0)


def carried(place_BxTxKx2: jax.Array, ego_BxTxS: jax.Array, seconds: float) -> jax.Array:
  """[B, T - 1, K, 2]: points at rest, of steps 0 .. T - 2, in the ego frames of steps 1 .. T - 1.

  The ego turns evenly over the `seconds` of a step, and moves along the arc at the mean of its two speeds.
  """
  turn = ego_BxTxS[:, 1:, YAW_RATE] * seconds
  chord = 0.5 * (ego_BxTxS[:, :-1, SPEED] + ego_BxTxS[:, 1:, SPEED]) * seconds * jnp.sinc(turn / (2 * jnp.pi))
  behind = chord[..., None] * jnp.stack([-jnp.cos(turn / 2), jnp.sin(turn / 2)], -1)
  return turned(place_BxTxKx2[:, :-1], -turn[..., None]) + behind[:, :, None]


def going_on(ego_BxTxS: jax.Array, steps: int, seconds: float) -> jax.Array:
  """[B, T, steps, 2]: the ego's future positions at its present acceleration and yaw rate, until it stands.

  Each step is the arc of its middle s: a chord v(s) dt sinc(w dt / 2) along (cos w s, sin w s). Forecasts with constant
  turn rate and acceleration: R. Schubert, E. Richter, G. Wanielik, FUSION 2008.
  """
  speed, rate, acceleration = (ego_BxTxS[..., i, None] for i in (SPEED, YAW_RATE, ACCELERATION))
  middle = (jnp.arange(steps) + 0.5)[None, None] * seconds
  length = jnp.maximum(speed + acceleration * middle, 0) * seconds * jnp.sinc(rate * seconds / (2 * jnp.pi))
  heading = rate * middle
  return jnp.cumsum(length[..., None] * jnp.stack([jnp.cos(heading), jnp.sin(heading)], -1), axis=2)


def straight_on(place: jax.Array, velocity: jax.Array, steps: int, seconds: float) -> jax.Array:
  """[..., steps, 2]: where points [..., 2] m with these velocities, m/s, are after 1, 2, ... times `seconds`."""
  time_F = seconds * jnp.arange(1, steps + 1)
  return place[..., None, :] + velocity[..., None, :] * time_F.reshape((1,) * (place.ndim - 1) + (-1, 1))


def ego_straight_on(ego_BxTxS: jax.Array, steps: int, seconds: float) -> jax.Array:
  """[B, T, steps, 2]: the ego's future positions straight ahead at its present speed."""
  speed = ego_BxTxS[..., SPEED]
  velocity = jnp.stack([speed, jnp.zeros_like(speed)], -1)
  return straight_on(jnp.zeros_like(velocity), velocity, steps, seconds)


def turned(xy: jax.Array, angle: jax.Array) -> jax.Array:
  """Vectors [..., 2] turned to the left by angles [...], rad."""
  cos, sin = jnp.cos(angle), jnp.sin(angle)
  return jnp.stack([cos * xy[..., 0] - sin * xy[..., 1], sin * xy[..., 0] + cos * xy[..., 1]], -1)


def velocities(place_BxTxKx2, agent_BxTxK, present_BxTxK, ego_BxTxS, seconds: float):
  """(velocity over the ground [B, T, K, 2] m/s in the ego frame of t, known [B, T, K]) by the step that has passed.

  agent_BxTxK: which agent is in a slot. Who was not there a step ago has no known velocity, and gets 0.
  """
  same = agent_BxTxK[:, 1:, :, None] == agent_BxTxK[:, :-1, None, :]
  same &= present_BxTxK[:, 1:, :, None] & present_BxTxK[:, :-1, None, :]
  place = jnp.where(present_BxTxK[..., None], place_BxTxKx2, 0)
  before = carried(place, ego_BxTxS, seconds)
  before = jnp.take_along_axis(before, same.argmax(-1)[..., None], axis=2)
  moved = jnp.where(same.any(-1, keepdims=True), place[:, 1:] - before, 0)
  first = jnp.zeros_like(place[:, :1])
  known = jnp.concatenate([jnp.zeros_like(present_BxTxK[:, :1]), same.any(-1)], 1)
  return jnp.concatenate([first, moved / seconds], 1), known
