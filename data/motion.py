"""Motion tokens: an agent's next move, discretised in its own frame.

One token is one step of a semi-implicit unicycle over `dt` seconds,

  v' = max(v + a dt, 0)          a in ACCELERATIONS [m/s^2]
  theta' = theta + w dt          w in YAW_RATES [rad/s]
  p' = p + v' dt (cos theta', sin theta')

with token = index(a) * len(YAW_RATES) + index(w). The zero token keeps speed and heading. Encoding is
closed-loop: each token is chosen against the state that the earlier tokens have produced, so quantisation
errors do not add up, and the state is a function of the first state and the tokens. That makes a likelihood
over tokens an exact likelihood over (quantised) trajectories.

The loop is soft. With e the logged position less the state's, D the logged displacement and d that of the
state in the last step, the token is nearest to the displacement

  d + (D' - D) + SPEED_GAIN (D - d) + POSITION_GAIN e.

Gains of one would reach the logged position in every step (D' + e), and each rounding error would come back
in the next two tokens, with a weight of two: they would mostly spell rounding noise, which nobody can predict.
With these gains a state follows its log within a decimetre or two (tests, results/tokens).

Acceleration tokens with a constant-velocity zero follow Seff et al., "MotionLM", ICCV 2023,
arXiv:2309.16534; the closed-loop choice follows Wu et al., "SMART", NeurIPS 2024, arXiv:2405.15677.
"""

import dataclasses
import types

import numpy as np

# Finer near zero, where most moves are; coarse at the ends, where only emergencies are.
ACCELERATIONS = (-7.0, -4.8, -3.4, -2.5, -1.8, -1.2, -0.7, -0.3, 0.0, 0.3, 0.7, 1.2, 1.8, 2.5, 3.4)
YAW_RATES = (
  -1.2, -0.8, -0.5, -0.3, -0.18, -0.1, -0.05, -0.02, 0.0, 0.02, 0.05, 0.1, 0.18, 0.3, 0.5, 0.8, 1.2,
)  # fmt: skip
VOCABULARY = len(ACCELERATIONS) * len(YAW_RATES)
KEEP = ACCELERATIONS.index(0.0) * len(YAW_RATES) + YAW_RATES.index(0.0)  # constant velocity

X, Y, HEADING, SPEED, ACCELERATION, YAW_RATE = range(6)
STATE = 6

# A yaw error costs as much as this lateral miss per radian: it stops the encoder from weaving at low speed,
# where the direction of a displacement of centimetres is noise.
_HEADING_WEIGHT = 3.0  # m
SPEED_GAIN, POSITION_GAIN = 0.5, 0.3  # per step: how fast the state returns to its log
_TELEPORT = 3.0  # m the best token may miss by before the track is cut in two


@dataclasses.dataclass(frozen=True)
class Moves:
  """A scene in motion tokens.

  Attributes:
    tokens_TxA: int16, the move from frame t to t + 1; the last frame has none.
    mask_TxA: bool, the move exists: both frames valid and connected.
    state_TxAxS: float32 state (x, y, heading, speed, acceleration, yaw rate) that the earlier moves
      produced; acceleration and yaw rate are those of the previous move, zero at a track's first frame.
    cuts: moves refused because the track jumps further than any token reaches.
  """

  tokens_TxA: np.ndarray
  mask_TxA: np.ndarray
  state_TxAxS: np.ndarray
  cuts: int


def split(token, xp: types.ModuleType = np) -> tuple:
  """Token [...] to acceleration [...] m/s^2 and yaw rate [...] rad/s."""
  accelerations = xp.asarray(ACCELERATIONS, xp.float32)
  yaw_rates = xp.asarray(YAW_RATES, xp.float32)
  return accelerations[token // len(YAW_RATES)], yaw_rates[token % len(YAW_RATES)]


def step(state, token, dt: float, xp: types.ModuleType = np):
  """The unicycle above: state [..., S] and token [...] to the next state [..., S]."""
  acceleration, yaw_rate = split(token, xp)
  speed = xp.maximum(state[..., SPEED] + acceleration * dt, 0.0)
  heading = state[..., HEADING] + yaw_rate * dt
  x = state[..., X] + speed * dt * xp.cos(heading)
  y = state[..., Y] + speed * dt * xp.sin(heading)
  return xp.stack([x, y, heading, speed, acceleration, yaw_rate], axis=-1)


def wrap(angle, xp: types.ModuleType = np):
  """Angle to [-pi, pi)."""
  return (angle + xp.pi) % (2 * xp.pi) - xp.pi


def choose(state_AxS, target_Ax2, heading_A, dt: float) -> np.ndarray:
  """int16 [A]: the token whose step ends nearest to the target position and direction of travel.

  The radial error picks the acceleration and the weighted angular error
  |d|^2 (theta' - angle(d))^2 + w^2 (theta' - heading)^2 picks the yaw rate, so that two searches over
  single bins replace one over the product.
  """
  offset = target_Ax2 - state_AxS[:, :2]
  heading = state_AxS[:, HEADING]
  ahead = (offset * _direction(heading)).sum(-1) > 0
  weight = np.where(ahead, (offset**2).sum(-1), 0.0)
  chord = wrap(np.arctan2(offset[:, 1], offset[:, 0]) - heading)
  wanted = wrap(heading_A - heading)
  turn = (weight * chord + _HEADING_WEIGHT**2 * wanted) / (weight + _HEADING_WEIGHT**2)
  yaw = np.abs(turn[:, None] - np.asarray(YAW_RATES) * dt).argmin(-1)
  travelled = (offset * _direction(heading + np.asarray(YAW_RATES)[yaw] * dt)).sum(-1)
  speed = np.maximum(state_AxS[:, SPEED, None] + np.asarray(ACCELERATIONS) * dt, 0.0)
  # Among accelerations that all end at standstill, the gentlest is the name of the move.
  error = np.abs(speed * dt - travelled[:, None]) + 1e-4 * np.abs(np.asarray(ACCELERATIONS))
  return (error.argmin(-1) * len(YAW_RATES) + yaw).astype(np.int16)


def encode(position_TxAx2, heading_TxA, velocity_TxAx2, valid_TxA, dt: float, push_TxAx2=None) -> Moves:
  """Tracks at the token rate to moves; a track that jumps is cut and starts anew.

  push_TxAx2: m to the left and rad by which something else than the moves shifts a state on its way to frame t
  (data.pushes); the moves that follow lead back. Then states are no longer a function of the moves alone.
  """
  steps, agents = valid_TxA.shape
  tokens = np.zeros((steps, agents), np.int16)
  mask = np.zeros((steps, agents), bool)
  states = np.zeros((steps, agents, STATE), np.float32)
  state, alive, cuts = np.zeros((agents, STATE)), np.zeros(agents, bool), 0
  for t in range(steps):
    follows = alive & valid_TxA[t]
    fresh = first_state(position_TxAx2[t], heading_TxA[t], velocity_TxAx2[t])
    state = np.where(follows[:, None], state, fresh)
    states[t] = np.where(valid_TxA[t][:, None], state, 0.0)
    if t + 1 == steps:
      break
    before = np.where(follows[:, None], position_TxAx2[t - 1], np.nan)
    token, state, missed = pursue(
      state, before, position_TxAx2[t], position_TxAx2[t + 1], heading_TxA[t + 1], dt
    )
    pair = valid_TxA[t] & valid_TxA[t + 1]
    alive = pair & ~missed
    if push_TxAx2 is not None:
      left_Ax2 = _direction(state[:, HEADING] + 0.5 * np.pi)
      state[:, :2] += push_TxAx2[t + 1, :, :1] * left_Ax2
      state[:, HEADING] += push_TxAx2[t + 1, :, 1]
    cuts += int((pair & missed).sum())
    tokens[t], mask[t] = np.where(alive, token, 0), alive
  return Moves(tokens, mask, states, cuts)


def first_state(position_Ax2, heading_A, velocity_Ax2) -> np.ndarray:
  """float64 [A, S]: where a track begins."""
  state = np.zeros((len(heading_A), STATE))
  state[:, :2], state[:, HEADING] = position_Ax2, heading_A
  state[:, SPEED] = np.maximum((velocity_Ax2 * _direction(heading_A)).sum(-1), 0.0)
  return state


def pursue(state_AxS, before_Ax2, now_Ax2, after_Ax2, heading_A, dt: float):
  """One turn of the soft loop above: the token [A], the state that it leads to [A, S], and whether it misses [A].

  Args:
    state_AxS: at the time of `now`. before_Ax2, now_Ax2, after_Ax2: logged positions, `dt` s apart; NaN before a
      track's first frame. heading_A: logged, at the time of `after`.
  """
  chord = after_Ax2 - now_Ax2
  driven = state_AxS[:, SPEED, None] * dt * _direction(state_AxS[:, HEADING])
  last = np.where(np.isnan(before_Ax2), driven, now_Ax2 - before_Ax2)
  wanted = (
    driven + (chord - last) + SPEED_GAIN * (last - driven) + POSITION_GAIN * (now_Ax2 - state_AxS[:, :2])
  )
  moved = (chord**2).sum(-1) > 0.5**2
  # The direction of travel, not of the box: p' advances along theta'.
  course = np.where(moved, np.arctan2(chord[:, 1], chord[:, 0]), heading_A)
  token = choose(state_AxS, state_AxS[:, :2] + wanted, course, dt)
  following = step(state_AxS, token, dt)
  return token, following, np.hypot(*(following[:, :2] - after_Ax2).T) > _TELEPORT


def decode(state_AxS, tokens_TxA, dt: float) -> np.ndarray:
  """First state [A, S] and tokens [T, A] to states float32 [T + 1, A, S]: the inverse of `encode`."""
  states = [np.asarray(state_AxS, np.float64)]
  for token_A in tokens_TxA:
    states.append(step(states[-1], token_A, dt))
  return np.stack(states).astype(np.float32)


def _direction(heading):
  return np.stack([np.cos(heading), np.sin(heading)], -1)
