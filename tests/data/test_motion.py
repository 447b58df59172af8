"""Motion tokens: closed forms, the round trip, and what must not matter."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data import motion

DT = 0.5


def _states(x=0.0, y=0.0, heading=0.0, speed=10.0):
  return np.array([[x, y, heading, speed, 0.0, 0.0]])


def test_zero_token_keeps_speed_and_heading():
  acceleration, yaw_rate = motion.split(np.array(motion.KEEP))
  assert acceleration == 0 and yaw_rate == 0
  after = motion.step(_states(heading=np.pi / 2), np.array([motion.KEEP]), DT)[0]
  np.testing.assert_allclose(after[:4], [0.0, 5.0, np.pi / 2, 10.0], atol=1e-6)


def test_braking_ends_at_standstill_not_in_reverse():
  brake = motion.ACCELERATIONS.index(-7.0) * len(motion.YAW_RATES) + motion.YAW_RATES.index(0.0)
  after = motion.step(_states(speed=1.0), np.array([brake]), DT)[0]
  assert after[motion.SPEED] == 0 and after[motion.X] == 0


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_tokens_of_a_decoded_track_are_the_tokens(seed):
  """encode(decode(tokens)) = tokens for fast agents, where every token is a different move."""
  rng = np.random.default_rng(seed)
  steps, agents = 8, 3
  # Gentle turns only: a heading that the encoder infers from a chord is unambiguous there.
  a = rng.integers(5, 12, (steps, agents))
  w = rng.integers(4, 13, (steps, agents))
  tokens = (a * len(motion.YAW_RATES) + w).astype(np.int16)
  start = np.zeros((agents, motion.STATE))
  start[:, motion.SPEED] = rng.uniform(12, 20, agents)
  start[:, motion.HEADING] = rng.uniform(-3, 3, agents)
  states = motion.decode(start, tokens, DT)
  heading = states[..., motion.HEADING]
  velocity = states[..., motion.SPEED, None] * np.stack([np.cos(heading), np.sin(heading)], -1)
  moves = motion.encode(states[..., :2], heading, velocity, np.ones(heading.shape, bool), DT)
  np.testing.assert_array_equal(moves.tokens_TxA[:-1], tokens)
  np.testing.assert_allclose(moves.state_TxAxS, states, atol=1e-3)


@pytest.mark.parametrize(("curvature", "speed"), [(0.0, 9.3), (0.01, 9.3), (0.1, 5.7)])
def test_quantisation_error_does_not_accumulate(curvature, speed):
  """Four minutes on a circle end as near to the log as they began, though no token fits it exactly."""
  steps = 481
  time = np.arange(steps) * DT
  heading = curvature * speed * time
  if curvature:
    position = np.stack([np.sin(heading), 1 - np.cos(heading)], -1) / curvature
  else:
    position = np.stack([speed * time, 0 * time], -1)
  velocity = speed * np.stack([np.cos(heading), np.sin(heading)], -1)
  moves = motion.encode(position[:, None], heading[:, None], velocity[:, None], np.ones((steps, 1), bool), DT)
  assert moves.cuts == 0
  error = np.hypot(*(moves.state_TxAxS[:, 0, :2] - position).T)
  assert error[steps // 2 :].max() < 0.5, error.max()
  assert error[steps // 2 :].mean() < 1.1 * error[: steps // 2].mean() + 1e-3


def test_a_steady_acceleration_is_spelled_by_its_two_neighbours_in_the_right_shares():
  """0.42 m/s^2 lies between the tokens 0.3 and 0.7: only these occur, 0.7 in 30 % of the moves; a loop that
  reached the logged position at every step would swing over five tokens."""
  steps, acceleration = 101, 0.42
  speed = 2.0 + acceleration * DT * np.arange(1, steps)
  x = np.concatenate([[0.0], np.cumsum(speed * DT)])
  position = np.stack([x, 0 * x], -1)[:, None]
  velocity = np.zeros((steps, 1, 2))
  velocity[:, 0, 0] = 2.0 + acceleration * DT * np.arange(steps)
  moves = motion.encode(position, np.zeros((steps, 1)), velocity, np.ones((steps, 1), bool), DT)
  chosen = motion.split(moves.tokens_TxA[:-1, 0])[0]
  np.testing.assert_allclose(np.unique(chosen), [0.3, 0.7], rtol=1e-6)
  assert abs((chosen > 0.5).mean() - 0.3) < 0.03


def test_moves_do_not_depend_on_the_world_frame():
  rng = np.random.default_rng(0)
  position = np.cumsum(rng.normal([4, 0], 0.3, (20, 5, 2)), 0)
  heading = np.zeros((20, 5))
  velocity = np.tile([8.0, 0.0], (20, 5, 1))
  valid = np.ones((20, 5), bool)
  angle, shift = 0.7, np.array([30.0, -8.0])
  turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
  plain = motion.encode(position, heading, velocity, valid, DT)
  moved = motion.encode(position @ turn + shift, heading + angle, velocity @ turn, valid, DT)
  np.testing.assert_array_equal(plain.tokens_TxA, moved.tokens_TxA)


def test_a_teleport_cuts_the_track_and_is_counted():
  position = np.zeros((10, 1, 2))
  position[:, 0, 0] = 5.0 * np.arange(10)
  position[6:, 0, 1] += 50
  velocity = np.tile([10.0, 0.0], (10, 1, 1))
  moves = motion.encode(position, np.zeros((10, 1)), velocity, np.ones((10, 1), bool), DT)
  assert moves.cuts == 1
  np.testing.assert_array_equal(moves.mask_TxA[:, 0], [True] * 5 + [False] + [True] * 3 + [False])
  assert moves.state_TxAxS[6, 0, motion.Y] == 50
