"""A trained motion model as a driver: the ego's token is its next move.

The ego comes first in its group, so its move hangs on nobody else's in the same step: of the model, only the ego's own
row is needed, and the others reach it through the features (data/context.py), as in training. All egos of a world are
one batch. The expected move, the mean over the model's probabilities, knows less rounding than any single token, and
does not wait for ever where standing on is a little likelier than going.

A move is an acceleration and a yaw rate for `dt` seconds that begin half a step before now, as speed and heading of a
track are those of its last displacement (data/motion.py): the bicycle is brought to the move's speed and course within
half a step, and goes on with its rates for the other half.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from data import context, motion, paths
from data.errors import BadInput
from data.sumo_live import STEP, LiveWorld
from data.windows import PATH_MARGIN, WindowConfig
from evaluation.driving import bicycle, guide
from evaluation.driving.conflicts import Others
from evaluation.driving.drivers import Driver, View
from evaluation.driving.guides import SPACING, signalled
from evaluation.driving.tracks import Look, look
from models.motion import MotionModel
from models.motion_config import MotionConfig

MOVES = ("expected", "guided", "likeliest", "sampled")
_REPLAN = 8  # moves after which the path ahead is looked up again
_BACK, _WAY = 10, 80  # points of the route behind an ego and in all that guidance sees


@dataclasses.dataclass(frozen=True)
class Policy:
  """What a worker needs of a run. keep_F: which features the model was trained to see. seed: of the samples."""

  config: MotionConfig
  weights: Any
  window: WindowConfig
  keep_F: np.ndarray
  seed: int


def policy_of(run: Any, seed: int) -> Policy:
  """What workers need of an opened run (experiments/run.py).

  Raises BadInput when it is no motion model, or its moves do not take a whole number of steps.
  """
  if not isinstance(run.task.model, MotionModel):
    raise BadInput(f"is of family {run.config.family}", run.path, "give the run of a motion model")
  window = run.dataset.window
  if abs(window.dt / STEP - round(window.dt / STEP)) > 1e-6:
    raise BadInput(f"makes a move every {window.dt} s", run.path, f"train with a multiple of {STEP} s")
  example = run.dataset.example()
  seen = run.task.to_batch(example | {"features_TxAxF": np.ones_like(example["features_TxAxF"])})
  keep_F = np.asarray(seen["features_BxTxAxF"], np.float32).reshape(-1, seen["features_BxTxAxF"].shape[-1])[0]
  weights = jax.tree.map(np.asarray, run.weights)
  return Policy(run.task.model.config, weights, window, keep_F, seed)


def compiled(policy: Policy, moves: str) -> Callable:
  """choose(memory, seen, draw) -> (memory, acceleration [E] m/s^2, yaw rate [E] rad/s), compiled for every E it meets.

  Args:
    moves: one of MOVES. "expected" is the mean of all moves by their probability, "guided" the same after `guide` has
      added its nats.

  memory: what was seen before, from `fresh`. seen: the arrays that MotionDriver gathers of a moment. draw: uint32 [2],
  the world and the step, on which samples hang.
  """
  model, weights = MotionModel(policy.config), jax.tree.map(jnp.asarray, policy.weights)
  keep_F, key = jnp.asarray(policy.keep_F), jax.random.key(policy.seed)

  def choose(weights, memory, seen, draw):
    around = context.Surroundings(**{name: seen[name] for name in context.Surroundings._fields})
    features_ExF = context.features(seen["state"], seen["valid"], around, jnp)[:, 0]
    past = {name: jnp.roll(values, -1, axis=1) for name, values in memory.items()}
    memory = {
      "features": past["features"].at[:, -1].set(features_ExF),
      "state": past["state"].at[:, -1].set(seen["state"][:, 0]),
      "tokens": past["tokens"].at[:, -2].set(seen["last_move"]),
      "mask": past["mask"].at[:, -2].set(seen["moved"] & past["valid"][:, -2]).at[:, -1].set(True),
      "valid": past["valid"].at[:, -1].set(seen["valid"][:, 0]),
    }
    logits_ExV = model.apply({"params": weights}, _batch(memory, seen["type"], keep_F))[:, -1, 0]
    logits_ExV = logits_ExV[:, : motion.VOCABULARY]
    if moves == "guided":
      others = Others(seen["state"], seen["valid"], seen["size"])
      logits_ExV += guide.on_route(seen["state"][:, 0], seen["size"][:, 0, 0], around, seen["way"], others)
    if moves in ("expected", "guided"):
      rates = motion.split(jnp.arange(motion.VOCABULARY), jnp)
      return memory, *(jax.nn.softmax(logits_ExV) @ rate_V for rate_V in rates)
    if moves == "sampled":
      own = jax.random.fold_in(jax.random.fold_in(key, draw[0]), draw[1])
      logits_ExV += jax.random.gumbel(own, logits_ExV.shape)
    return memory, *motion.split(logits_ExV.argmax(-1), jnp)

  return functools.partial(jax.jit(choose), weights)


def fresh(window: WindowConfig, egos: int) -> dict[str, np.ndarray]:
  """The memory of E egos that have seen nothing: windows [E, T, ...], the newest moment last."""
  shape = egos, window.steps
  return {
    "features": np.zeros((*shape, context.FEATURES), np.float32),
    "state": np.zeros((*shape, motion.STATE), np.float32),
    "tokens": np.full(shape, motion.KEEP, np.int32),
    "mask": np.zeros(shape, bool),
    "valid": np.zeros(shape, bool),
  }


def _batch(memory, type_E, keep_F):
  """The model's batch [E, T, 1]: one agent, the ego, in the frame of its oldest state."""
  state, valid = memory["state"], memory["valid"]
  oldest = jnp.take_along_axis(state, valid.argmax(1)[:, None, None], 1)
  x, y = (state[..., i] - oldest[..., i] for i in (motion.X, motion.Y))
  heading = oldest[..., motion.HEADING]
  ahead, left = jnp.cos(heading) * x + jnp.sin(heading) * y, jnp.cos(heading) * y - jnp.sin(heading) * x
  framed = jnp.concatenate(
    [ahead[..., None], left[..., None], (state[..., motion.HEADING] - heading)[..., None], state[..., 3:]], -1
  )
  features = memory["features"].at[..., context.PLACE].set(context.place(framed, jnp))
  features = features * keep_F[None, None] * valid[..., None]
  return {
    "features_BxTxAxF": features.astype(jnp.float16)[:, :, None],  # as stored for training
    "tokens_BxTxA": memory["tokens"][:, :, None],
    "valid_BxTxA": valid[:, :, None],
    "mask_BxTxA": memory["mask"][:, :, None],
    "group_BxA": jnp.ones((len(state), 1), jnp.int32),
    "type_BxA": type_E[:, None],
  }


class MotionDriver(Driver):
  """Drives up to `egos` vehicles; the compiled shape is that of all of them, whoever is still on the road."""

  def __init__(self, policy: Policy, choose: Callable, egos: int):
    self._window, self._choose, self._egos = policy.window, choose, egos
    self._stride = round(policy.window.dt / STEP)
    self._seen: Look | None = None

  def watch(self, live: LiveWorld) -> None:
    self._seen = look(live, self._seen, self._window.dt)

  def begin(self, view: View) -> None:
    window, live = self._window, view.live
    self._memory = fresh(window, self._egos)
    self._type_E = np.zeros(self._egos, np.int32)
    self._type_E[: len(view.slot_E)] = live.type_N[view.slot_E]
    self._origin_Ex2 = np.zeros((self._egos, 2))  # float32 keeps millimetres near the start
    self._origin_Ex2[: len(view.slot_E)] = view.cars.pose_Ex3[:, :2]
    self._signalled_L = signalled(live)
    self._plans = [paths.none(window.points, window.stops)] * self._egos

  def command(self, view: View) -> tuple[np.ndarray, np.ndarray]:
    phase = view.step % self._stride
    if phase == 0:
      self._decide(view)
    half, since = 0.5 * self._window.dt, (phase + 1) * STEP
    share, beyond = min(since / half, 1.0), max(since - half, 0.0)
    speed = self._speed_E + share * self._gain_E + beyond * self._acceleration_E
    course = self._course_E + share * self._turn_E + beyond * self._yaw_rate_E
    return (np.maximum(speed, 0.0) - view.cars.speed_E) / STEP, course

  def _decide(self, view: View) -> None:
    """Looks, and chooses the next move of every ego."""
    dt, count = self._window.dt, len(view.slot_E)
    moment = self._seen = look(view.live, self._seen, dt)
    if (view.step // self._stride) % _REPLAN == 0:
      self._plan(view)
    draw = np.array([view.world % 2**32, view.step], np.uint32)
    self._memory, *rates = self._choose(self._memory, self._gather(view, moment), draw)
    self._acceleration_E, self._yaw_rate_E = (np.asarray(rate_E, np.float64)[:count] for rate_E in rates)
    own = moment.state_NxS[view.slot_E]
    self._speed_E, self._course_E = view.cars.speed_E, bicycle.course(view.cars)
    self._gain_E = np.maximum(own[:, motion.SPEED] + self._acceleration_E * dt, 0.0) - self._speed_E
    self._turn_E = motion.wrap(own[:, motion.HEADING] + self._yaw_rate_E * dt - self._course_E)

  def _gather(self, view: View, moment: Look) -> dict[str, np.ndarray]:
    """What is known now: the egos, each first among its nearest neighbours, and the paths ahead. Positions are from
    where each ego started."""
    live, slot_E, egos = view.live, view.slot_E, self._egos
    count, agents = len(slot_E), self._window.agents
    there = np.flatnonzero(moment.seen_N)
    apart = moment.now_Nx2[there][None] - moment.now_Nx2[slot_E][:, None]
    squared = apart[..., 0] ** 2 + apart[..., 1] ** 2
    squared[there[None] == slot_E[:, None]] = -1.0  # itself first
    near = np.argsort(squared, axis=1, kind="stable")[:, :agents]
    slots, valid = np.zeros((egos, agents), int), np.zeros((egos, agents), bool)
    slots[:count, : near.shape[1]], valid[:count, : near.shape[1]] = there[near], True
    state = moment.state_NxS[slots]
    state[..., :2] -= self._origin_Ex2[:, None]
    light, signal_L = self._light_ExQ, live.signal_L()
    return self._ahead | {
      "state": state.astype(np.float32),
      "valid": valid,
      "size": live.size_Nx2[slots].astype(np.float32),
      "group": np.ones(slots.shape, np.int32),
      "signal": np.where(light >= 0, signal_L[light], 0)[:, None],
      "last_move": moment.move_N[slots[:, 0]].astype(np.int32),
      "moved": moment.moved_N[slots[:, 0]],
      "type": self._type_E,
      "way": self._way(view),
    }

  def _way(self, view: View) -> np.ndarray:
    """float32 [E, K, 2]: the route around every ego."""
    route_ExPx2 = view.guides.xy_ExPx2
    first_E = np.maximum((view.arc_E / SPACING).astype(int) - _BACK, 0)
    place_ExK = np.minimum(first_E[:, None] + np.arange(_WAY)[None], route_ExPx2.shape[1] - 1)
    way = np.zeros((self._egos, _WAY, 2), np.float32)
    count = len(place_ExK)
    way[:count] = route_ExPx2[np.arange(count)[:, None], place_ExK] - self._origin_Ex2[:count, None]
    return way

  def _plan(self, view: View) -> None:
    """The path ahead of every ego: a window's length of its route, as far as there is any left."""
    window = self._window
    ways = zip(view.guides.ways, view.arc_E.tolist(), view.cars.speed_E.tolist(), strict=True)
    for e, (way, arc, speed) in enumerate(ways):
      ahead = way.cut(arc, PATH_MARGIN + speed * window.steps * window.dt)
      if ahead.length >= 2.0:
        self._plans[e] = paths.sample(
          view.live.map.lanes, ahead, self._signalled_L, window.points, window.stops
        )
    plans = self._plans
    self._light_ExQ = np.stack([plan.light_Q for plan in plans])
    self._ahead = {
      "path": np.stack([plan.xy_Px2 for plan in plans]) - self._origin_Ex2[:, None],
      "spacing": np.array([plan.spacing for plan in plans]),
      "limit": np.stack([plan.limit_P for plan in plans]),
      "junction": np.stack([plan.junction_P for plan in plans]),
      "stop": np.stack([plan.stop_Q for plan in plans]),
    }
    self._ahead = {name: values[:, None].astype(np.float32) for name, values in self._ahead.items()}
