"""Pushes: rare, seeded, scaled by speed; what follows them leads back to the log, and only train is pushed."""

import numpy as np

from data import motion, pushes

DT = 0.5


def straight(speed: float, steps: int = 40):
  """Position [T, 1, 2], heading [T, 1], velocity [T, 1, 2], valid [T, 1] of an agent that keeps its lane."""
  position = np.zeros((steps, 1, 2))
  position[:, 0, 0] = speed * DT * np.arange(steps)
  velocity = np.zeros((steps, 1, 2))
  velocity[..., 0] = speed
  return position, np.zeros((steps, 1)), velocity, np.ones((steps, 1), bool)


def test_after_a_push_the_moves_lead_back_and_the_label_is_the_way_back():
  track = straight(10.0)
  push = np.zeros((40, 1, 2))
  push[10, 0] = 0.8, 0.05
  moves = motion.encode(*track, DT, push)
  lateral = moves.state_TxAxS[:, 0, motion.Y]
  assert not lateral[:10].any() and abs(lateral[10] - 0.8) < 1e-6
  assert (moves.tokens_TxA[:10, 0] == motion.KEEP).all()  # that which was pushed had no part in it
  _, yaw_rate = motion.split(moves.tokens_TxA[10:13, 0])
  assert yaw_rate[0] < 0 and moves.state_TxAxS[11, 0, motion.HEADING] < 0.05
  assert np.abs(lateral[18:]).max() < 0.15 and lateral.max() < 1.0
  assert moves.mask_TxA[:-1].all() and not moves.cuts


def test_pushes_are_seeded_rare_and_as_strong_as_the_speed_allows():
  speed = np.broadcast_to(np.array([0.0, 2.5, 10.0, 20.0]).repeat(500), (64, 2000))
  push = pushes.draw("a", speed, 0.5)
  assert np.array_equal(push, pushes.draw("a", speed, 0.5))
  assert not np.array_equal(push, pushes.draw("b", speed, 0.5))
  pushed = (push != 0).any((0, 2))
  assert abs(pushed.mean() - 0.5) < 0.05
  ever = push[:, pushed]
  assert abs((ever[..., 1] != 0).mean() - pushes.OFTEN) < 0.01
  kind = np.arange(4).repeat(500)[pushed]
  spread = [
    [part[part[..., 1] != 0][:, i].std() for i in range(2)] for part in (ever[:, kind == k] for k in range(4))
  ]
  expected = [(0.0, 0.1), (0.25, 0.1), (0.5, 0.05), (0.5, 0.025)]
  np.testing.assert_allclose(spread, expected, rtol=0.06)
  assert not pushes.draw("a", speed, 0.0).any()
