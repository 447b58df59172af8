"""Pushes: agents of training data are moved aside now and then, so that a model sees how one comes back.

Drivers who are always in the middle of their lane do not show what to do beside it, and a model of them that drives,
and errs, is soon where it has seen nobody (S. Ross et al., AISTATS 2011). Noise on what the demonstrator does, with
his own answer to it as the label, shows the way back (M. Laskey et al., DART, CoRL 2017, arXiv:1703.09327; for
driving: M. Bansal et al., ChauffeurNet, arXiv:1812.03079). Here the answer is that of the encoder, `motion.encode`,
which returns softly to the log from wherever a push has left the state.

A push happens on the way from one frame to the next: d to the left and the heading turned by h,

  d ~ N(0, ASIDE) min(v / STEADY, 1)        h ~ N(0, SLIDE / max(v, STEADY)),

so that nobody slides sideways at a standstill, and the drift that h begins is as wide at any speed v.
"""

import zlib

import numpy as np

ASIDE, SLIDE = 0.5, 0.5  # m; m/s
STEADY = 5.0  # m/s
OFTEN = 0.125  # of a pushed agent's moves


def draw(scene_id: str, speed_TxA: np.ndarray, share: float) -> np.ndarray:
  """float64 [T, A, 2]: d in m and h in rad before each frame, zero for most; the same for the same scene.

  Args: speed_TxA: m/s. share: of agents that are ever pushed.
  """
  rng = np.random.default_rng([zlib.crc32(scene_id.encode()), 4])
  chosen_1xA = rng.random((1, speed_TxA.shape[1])) < share
  now_TxA = (rng.random(speed_TxA.shape) < OFTEN) & chosen_1xA
  aside_TxA, turn_TxA = rng.standard_normal((2, *speed_TxA.shape))
  aside_TxA *= ASIDE * np.minimum(speed_TxA / STEADY, 1.0)
  turn_TxA *= SLIDE / np.maximum(speed_TxA, STEADY)
  return np.where(now_TxA[..., None], np.stack([aside_TxA, turn_TxA], -1), 0.0)
