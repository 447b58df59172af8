"""Guidance: what speaks against moves in closed forms: the lane, a light, a bend, whom a move leads into."""

import numpy as np

from data import context, motion
from data.schema import Signal
from evaluation.driving import conflicts, guide
from evaluation.driving.conflicts import Others


def alone(state, line, limit_light=context.FAR, spacing=3.0):
  """What `guide.on_route` asks about egos on one path that meet nobody; the light of the last is red."""
  egos = len(state)
  one = context.Surroundings(
    size=np.ones((egos, 1, 2)), group=np.ones((egos, 1)), path=np.tile(line[::3][:20], (egos, 1, 1, 1)),
    spacing=np.full((egos, 1), spacing), limit=np.zeros((egos, 1, 20)), junction=np.zeros((egos, 1, 20)),
    stop=np.array([[[context.FAR]]] * (egos - 1) + [[[limit_light]]]), signal=np.full((egos, 1, 1), int(Signal.RED)),
  )  # fmt: skip
  others = Others(state[:, None], np.ones((egos, 1), bool), np.full((egos, 1, 2), (4.0, 2.0), np.float32))
  return state, np.full(egos, 4.0, np.float32), one, np.tile(line, (egos, 1, 1)).astype(np.float32), others


LINE = np.stack([np.arange(80.0), np.zeros(80)], -1)


def test_guidance_speaks_for_the_lane_and_the_light_only():
  state = np.zeros((3, motion.STATE), np.float32)
  state[:, motion.SPEED], state[1, motion.Y] = 10.0, 1.0  # one is a metre left of its lane, one meets a light
  nats = np.asarray(guide.on_route(*alone(state, LINE, 20.0)))
  a, w = motion.split(np.arange(motion.VOCABULARY))
  straight = w == 0
  np.testing.assert_allclose(nats[0, straight], 0.0, atol=1e-5)
  assert w[nats[0].argmax()] == 0 and w[nats[1].argmax()] < 0
  assert (
    nats[0] == nats[0][a == 0][np.searchsorted(w[a == 0], w)]
  ).all()  # the lane says nothing about speed
  # 17 m to the line, less a metre: 10 m/s can stop there, but not after another half second without braking.
  assert (nats[2, straight & (a < -3)] > -1).all() and (nats[2, straight & (a >= 0)] < -7).all()
  one = alone(state, LINE, 20.0)[2]
  every = guide.of_all(state[:, None], context.Surroundings(*(part[:, None] for part in one)))
  np.testing.assert_allclose(every[:, 0], guide.weights(state, np.ones(3, np.float32), one), atol=1e-6)
  nowhere = guide.on_route(*alone(state, LINE, spacing=0.0))
  np.testing.assert_array_equal(nowhere, 0.0)


def test_guidance_brakes_for_a_bend_in_time_and_turns_as_it_does():
  arc = np.arange(0.0, 80)
  turn = np.clip(
    (arc - 30) / 16, 0, np.pi / 2
  )  # 30 m straight on, a quarter of a circle of 16 m, straight on
  line = np.cumsum(np.stack([np.cos(turn), np.sin(turn)], -1), 0) - [1.0, 0]
  allowed = np.asarray(guide.allowed(np.tile(line, (3, 1, 1)), np.array([0.0, 20, 42])))
  bend = 3.0 * 16  # felt in full 8 m after it begins, and before that by as much as lies within 8 m
  np.testing.assert_allclose(allowed[2], np.sqrt(bend), rtol=0.01)
  assert np.sqrt(bend + 4 * 30) < allowed[0] < np.sqrt(bend + 4 * 38)
  assert np.sqrt(bend + 4 * 10) < allowed[1] < np.sqrt(bend + 4 * 18)
  state = np.zeros((1, motion.STATE), np.float32)
  k = 42
  state[0] = *line[k], turn[k], 3.0, 0, 0
  _, w = motion.split(np.asarray(guide.on_route(*alone(state, line))).argmax(-1))
  assert 0.1 <= w[0] <= 0.3  # 3 m/s over 16 m


def meeting(*agents):
  """Nats by acceleration, where an ego at 10 m/s on a straight road meets agents (x, y, heading, speed)."""
  state = np.array([[(0, 0, 0, 10, 0, 0), *((*agent, 0, 0) for agent in agents)]], np.float32)
  size = np.full((*state.shape[:2], 2), (4.0, 2.0), np.float32)
  others = Others(state, np.ones(size.shape[:2], bool), size)
  nats = np.asarray(conflicts.weights(state[:, 0], (LINE - [10.0, 0])[None], np.array([10.0]), others))
  return nats[0, :: len(motion.YAW_RATES)]


def test_guidance_sees_whom_a_move_leads_into():
  a, side = np.array(motion.ACCELERATIONS), 0.5 * np.pi
  free = [
    (60.0, 0, 0, 10),
    (0, 3.5, 0, 10),
    (-12, 0, 0, 20),
    (30, 3.5, np.pi, 10),
    (15, -30, side, 5),
    (15, 6, side, 5),
  ]
  for agent in free:  # ahead, beside, behind, oncoming; those who cross later, and who have crossed
    assert not meeting(agent).any(), agent
  assert not meeting(*free).any()
  assert (meeting((26, 0, 0, 0))[a >= 1.2] < -4).all() and not meeting((34, 0, 0, 0))[a <= -2.5].any()
  assert (meeting((35, 0, 0, 0))[a >= 1.2] < -1).all()  # 3 s away, but there is just room to brake
  crossing = meeting((14, -9, side, 5))
  assert crossing[a == 0][0] < -5 and crossing[0] > crossing[a == 0][0]
  assert meeting((8, 0, 0, 0)).max() < -5  # whatever is done
  still = np.zeros((1, motion.STATE), np.float32)
  others = Others(still[None].repeat(2, 1) + 0, np.ones((1, 2), bool), np.full((1, 2, 2), 2.0, np.float32))
  others.state[0, 1, motion.X] = 2.5
  nats = np.asarray(conflicts.weights(still, LINE[None], np.zeros(1), others))
  assert not nats[0, : motion.KEEP + 1].any() and (nats[0, -1] < -8).all()  # to stand is free
