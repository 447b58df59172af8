"""A trained motion model as a driver: the ego's token is its next move.

The ego comes first in its group, so its move hangs on nobody else's in the same step: of the model, only the ego's own
row is needed, and the others reach it through the features (data/context.py), as in training. All egos of a world are
one batch. A move is an acceleration and a yaw rate for `dt` seconds that begin half a step before now, as speed and
heading of a track are those of its last displacement (data/motion.py): the bicycle is brought to the move's speed and
course within half a step, and goes on with its rates for the other half.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from data import context, motion, paths
from data.sumo_live import STEP, LiveWorld
from data.windows import PATH_MARGIN, WindowConfig
from evaluation.driving import bicycle
from evaluation.driving.drivers import Driver, View
from evaluation.driving.guides import signalled
from evaluation.driving.tracks import Look, look
from models.motion import MotionModel
from models.motion_config import MotionConfig

_REPLAN = 8  # moves after which the path ahead is looked up again


@dataclasses.dataclass(frozen=True)
class Policy:
  """What a worker needs of a run. keep_F: which features the model was trained to see. temperature: 0 takes the
  likeliest move, else moves are sampled from probabilities to the power of its inverse. seed: of the samples."""

  config: MotionConfig
  weights: Any
  window: WindowConfig
  keep_F: np.ndarray
  temperature: float
  seed: int


def compiled(policy: Policy) -> Callable:
  """choose(batch, key) -> moves [E], one of each window's last step; compiled for every number of egos it meets."""
  model = MotionModel(policy.config)
  weights = jax.tree.map(jnp.asarray, policy.weights)

  def choose(weights, batch, key):
    logits_ExV = model.apply({"params": weights}, batch)[:, -1, 0]
    if policy.temperature > 0:
      logits_ExV = logits_ExV / policy.temperature + jax.random.gumbel(key, logits_ExV.shape)
    return logits_ExV.argmax(-1)

  return functools.partial(jax.jit(choose), weights)


class MotionDriver(Driver):
  """Drives up to `egos` vehicles; the compiled shape is that of all of them, whoever is still on the road."""

  def __init__(self, policy: Policy, choose: Callable, egos: int):
    self._policy, self._choose, self._egos = policy, choose, egos
    self._stride = round(policy.window.dt / STEP)
    self._seen: Look | None = None

  def watch(self, live: LiveWorld) -> None:
    self._seen = look(live, self._seen, self._policy.window.dt)

  def begin(self, view: View) -> None:
    window, count = self._policy.window, self._egos
    steps = window.steps
    self._features_ExTxF = np.zeros((count, steps, context.FEATURES), np.float32)
    self._state_ExTxS = np.zeros((count, steps, motion.STATE))
    self._tokens_ExT, self._mask_ExT = np.full((count, steps), motion.KEEP), np.zeros((count, steps), bool)
    self._valid_ExT = np.zeros((count, steps), bool)
    self._type_E = np.zeros(count, np.int32)
    self._type_E[: len(view.slot_E)] = view.live.type_N[view.slot_E]
    self._signalled_L = signalled(view.live)
    self._plans: list[paths.PlannedPath] = [paths.none(window.points, window.stops)] * len(view.slot_E)
    self._key = jax.random.key(self._policy.seed)

  def command(self, view: View) -> tuple[np.ndarray, np.ndarray]:
    phase = view.step % self._stride
    if phase == 0:
      self._decide(view)
    half, since = 0.5 * self._policy.window.dt, (phase + 1) * STEP
    share = min(since / half, 1.0)
    beyond = max(since - half, 0.0)
    speed = self._speed_E + share * (self._to_speed_E - self._speed_E) + beyond * self._acceleration_E
    turn = motion.wrap(self._to_course_E - self._course_E)
    course = self._course_E + share * turn + beyond * self._yaw_rate_E
    return (np.maximum(speed, 0.0) - view.cars.speed_E) / STEP, course

  def _decide(self, view: View) -> None:
    """Looks, and chooses the next move of every ego."""
    live, count = view.live, len(view.slot_E)
    seen = self._seen = look(live, self._seen, self._policy.window.dt)
    state_ExS = seen.state_NxS[view.slot_E]
    if (view.step // self._stride) % _REPLAN == 0:
      self._plan(view)
    for values in (
      self._features_ExTxF,
      self._state_ExTxS,
      self._tokens_ExT,
      self._mask_ExT,
      self._valid_ExT,
    ):
      values[:, :-1] = values[:, 1:]
    if view.step:
      self._tokens_ExT[:count, -2] = seen.move_N[view.slot_E]
      self._mask_ExT[:count, -2] = seen.moved_N[view.slot_E]
    self._state_ExTxS[:count, -1] = state_ExS
    self._valid_ExT[:, -1] = self._mask_ExT[:, -1] = True
    self._features_ExTxF[:count, -1] = self._features(live, view.slot_E, seen)
    key = jax.random.fold_in(self._key, view.step)
    move_E = np.asarray(self._choose(self._batch(), key))[:count]
    self._acceleration_E, self._yaw_rate_E = motion.split(move_E)
    dt = self._policy.window.dt
    self._to_speed_E = np.maximum(state_ExS[:, motion.SPEED] + self._acceleration_E * dt, 0.0)
    self._to_course_E = state_ExS[:, motion.HEADING] + self._yaw_rate_E * dt
    self._speed_E, self._course_E = view.cars.speed_E, bicycle.course(view.cars)

  def _batch(self) -> dict[str, np.ndarray]:
    """The model's batch [E, T, 1]: one agent, the ego, in the frame of its oldest state."""
    origin = self._valid_ExT.argmax(1)
    oldest = np.take_along_axis(self._state_ExTxS, origin[:, None, None], 1)
    x, y = np.moveaxis(self._state_ExTxS[..., :2] - oldest[..., :2], -1, 0)
    heading = oldest[..., motion.HEADING]
    framed = self._state_ExTxS.copy()
    framed[..., motion.X] = np.cos(heading) * x + np.sin(heading) * y
    framed[..., motion.Y] = np.cos(heading) * y - np.sin(heading) * x
    framed[..., motion.HEADING] -= heading
    features = self._features_ExTxF.copy()
    features[..., context.PLACE] = context.place(framed)
    features = features * self._policy.keep_F * self._valid_ExT[..., None]
    return {
      "features_BxTxAxF": features.astype(np.float16)[:, :, None],  # as stored for training
      "tokens_BxTxA": self._tokens_ExT.astype(np.int32)[:, :, None],
      "valid_BxTxA": self._valid_ExT[:, :, None],
      "mask_BxTxA": self._mask_ExT[:, :, None],
      "group_BxA": np.ones((self._egos, 1), np.int32),
      "type_BxA": self._type_E[:, None],
    }

  def _features(self, live: LiveWorld, slot_E: np.ndarray, seen: Look) -> np.ndarray:
    """Features [E, F] of the egos among their nearest neighbours."""
    there = np.flatnonzero(seen.seen_N)
    apart = seen.state_NxS[there][None, :, :2] - seen.state_NxS[slot_E][:, None, :2]
    squared = (apart**2).sum(-1)
    squared[there[None] == slot_E[:, None]] = -1.0  # itself first
    near = np.argsort(squared, axis=1, kind="stable")[:, : self._policy.window.agents]
    slots = there[near]
    signal_L = live.signal_L()
    light = np.stack([plan.light_Q for plan in self._plans])
    around = context.Surroundings(
      size=live.size_Nx2[slots],
      group=np.ones(slots.shape, int),
      path=np.stack([plan.xy_Px2 for plan in self._plans])[:, None],
      spacing=np.array([plan.spacing for plan in self._plans])[:, None],
      limit=np.stack([plan.limit_P for plan in self._plans])[:, None],
      junction=np.stack([plan.junction_P for plan in self._plans])[:, None],
      stop=np.stack([plan.stop_Q for plan in self._plans])[:, None],
      signal=np.where(light >= 0, signal_L[light], 0)[:, None],
    )
    return context.features(seen.state_NxS[slots], np.ones(slots.shape, bool), around)[:, 0]

  def _plan(self, view: View) -> None:
    """The path ahead of every ego: a window's length of its route, as far as there is any left."""
    window = self._policy.window
    for e, (way, arc, speed) in enumerate(
      zip(view.guides.ways, view.arc_E.tolist(), view.cars.speed_E.tolist(), strict=True)
    ):
      ahead = way.cut(arc, PATH_MARGIN + speed * window.steps * window.dt)
      if ahead.length >= 2.0:
        self._plans[e] = paths.sample(
          view.live.map.lanes, ahead, self._signalled_L, window.points, window.stops
        )
