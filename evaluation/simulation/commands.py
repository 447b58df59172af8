"""What agents of a scenario are told to do in place of what the model would: arrays of forced moves [N, C, A].

Counterfactuals leave everything else as it was: the ego brakes, steers, or does what it did in the log half a second
late, and whoever is not told anything answers it.
"""

import numpy as np

from data import motion
from evaluation.simulation.scenarios import Scenarios
from evaluation.simulation.simulator import FREE

BRAKING = 3.4  # m/s^2, harder than most drivers ever do and possible on wet asphalt


def nobody(scenarios: Scenarios) -> np.ndarray:
  return np.full_like(scenarios.moves_NxCxA, FREE)


def everybody_logged(scenarios: Scenarios) -> np.ndarray:
  """All whose log is known replay it."""
  return np.where(scenarios.known_CxA[None], scenarios.moves_NxCxA, FREE)


def told(forced_NxCxA: np.ndarray, scenarios: Scenarios, ego_NxC: np.ndarray) -> np.ndarray:
  """The same, but the egos make these moves."""
  forced = forced_NxCxA.copy()
  forced[: len(ego_NxC), np.arange(len(scenarios)), scenarios.ego_C] = ego_NxC
  return forced


def logged(scenarios: Scenarios) -> np.ndarray:
  """[N, C]: the egos' moves in the log."""
  return scenarios.moves_NxCxA[:, np.arange(len(scenarios)), scenarios.ego_C]


def late(scenarios: Scenarios) -> np.ndarray:
  """[N, C]: along the logged course, but each change of speed one step later."""
  arc_CxT = _arcs(scenarios)
  first = scenarios.dt * _ego_states(scenarios)[:, :1, motion.SPEED]
  return _along(scenarios, np.concatenate([np.zeros_like(first), first + arc_CxT[:, :-1]], 1))


def brake(scenarios: Scenarios) -> np.ndarray:
  """[N, C]: along the logged course, from now on braking to a stop by BRAKING; never beyond the log."""
  speed_Cx1 = _ego_states(scenarios)[:, :1, motion.SPEED]
  time_T = scenarios.dt * np.arange(scenarios.steps + 1)[None]
  braked = np.minimum(time_T, speed_Cx1 / BRAKING)
  return _along(scenarios, np.minimum(speed_Cx1 * braked - 0.5 * BRAKING * braked**2, _arcs(scenarios)))


def accelerate(scenarios: Scenarios, acceleration: float, steps: int) -> np.ndarray:
  """[steps, C]: that acceleration of motion.ACCELERATIONS, steering as logged."""
  place = motion.ACCELERATIONS.index(acceleration)
  return place * len(motion.YAW_RATES) + logged(scenarios)[:steps] % len(motion.YAW_RATES)


def steer(scenarios: Scenarios, offset: float, steps: int) -> np.ndarray:
  """[steps, C]: the logged yaw rate plus an offset in rad/s, speed kept."""
  wanted = motion.split(logged(scenarios)[:steps])[1] + offset
  yaw = np.abs(wanted[..., None] - np.asarray(motion.YAW_RATES)).argmin(-1)
  return motion.ACCELERATIONS.index(0.0) * len(motion.YAW_RATES) + yaw


def _ego_states(scenarios: Scenarios) -> np.ndarray:
  """[C, N + 1, S] from now on."""
  return scenarios.state_CxAxTxS[np.arange(len(scenarios)), scenarios.ego_C, scenarios.observed :].astype(
    np.float64
  )


def _arcs(scenarios: Scenarios) -> np.ndarray:
  """[C, N + 1] m driven since now, logged."""
  steps = np.diff(_ego_states(scenarios)[..., :2], axis=1)
  return np.pad(np.hypot(steps[..., 0], steps[..., 1]).cumsum(1), ((0, 0), (1, 0)))


def _along(scenarios: Scenarios, arc_CxT: np.ndarray) -> np.ndarray:
  """[N, C]: moves to those places along the logged course, straight on beyond its end."""
  state, driven = _ego_states(scenarios), _arcs(scenarios)
  place, heading = np.zeros((*arc_CxT.shape, 2)), np.zeros(arc_CxT.shape)
  for c, (arc_T, log_T) in enumerate(zip(arc_CxT, driven, strict=True)):
    angle_T = np.unwrap(state[c, :, motion.HEADING])
    heading[c] = np.interp(arc_T, log_T, angle_T)
    beyond = np.maximum(arc_T - log_T[-1], 0)
    for i, part in enumerate((np.cos, np.sin)):
      place[c, :, i] = np.interp(arc_T, log_T, state[c, :, i]) + beyond * part(angle_T[-1])
  velocity = np.zeros_like(place)
  speed = state[:, 0, motion.SPEED]
  velocity[:, 0] = speed[:, None] * np.stack([np.cos(heading[:, 0]), np.sin(heading[:, 0])], -1)
  there = np.ones(arc_CxT.shape, bool)
  moves = motion.encode(
    place.swapaxes(0, 1), heading.swapaxes(0, 1), velocity.swapaxes(0, 1), there.T, scenarios.dt
  )
  return moves.tokens_TxA[:-1].astype(np.int32)
