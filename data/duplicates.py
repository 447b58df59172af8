"""Near-duplicates: held-out traffic situations that training has as good as seen.

The signature of a situation (one group of neighbours in a window) is the path of its first agents, ego and
nearest, in the ego's frame: where each is at the start, the middle and the end of the first SPAN moves.
Positions follow from the first state and the tokens, so two situations with one signature are the same tokens
from the same places, to the resolution asked for. Map and signals are not compared.
"""

import numpy as np

from data.windows import MOVING

AGENTS = 3  # of a situation that are compared; situations with fewer do not count
MOMENTS = 3  # start, middle, end
SPAN = 8  # moves compared, during all of which an agent must be there
WIDTH = 2 * AGENTS * MOMENTS
_CHUNK = 256  # probes at a time


def signatures(mask_NxTxA, group_NxA, truth_NxTxAx2, resolution_m: float) -> np.ndarray:
  """Windows to float32 [S, WIDTH] m, rounded to `resolution_m`.

  Args:
    mask_NxTxA: supervised moves. group_NxA: situation of each slot, 0 for none.
    truth_NxTxAx2: logged positions, one time step more than moves.
  """
  span = min(SPAN, mask_NxTxA.shape[1])
  moments = np.linspace(0, span, MOMENTS).astype(int)
  path = truth_NxTxAx2[:, moments].swapaxes(1, 2)  # [N, A, MOMENTS, 2]
  whole = mask_NxTxA[:, :span].all(1) & (group_NxA > 0)
  found = [np.zeros((0, AGENTS, MOMENTS, 2), np.float32)]
  for group in range(1, int(group_NxA.max(initial=0)) + 1):
    member = whole & (group_NxA == group)
    enough = member.sum(1) >= AGENTS
    # Slots of a group are in order of distance from its ego: the first whole ones are the nearest.
    first = np.argsort(~member[enough], axis=1, kind="stable")[:, :AGENTS]
    found.append(np.take_along_axis(path[enough], first[:, :, None, None], axis=1))
  flat = np.concatenate(found).reshape(-1, WIDTH)
  return (np.round(flat / resolution_m) * resolution_m).astype(np.float32)


def moving(signatures_SxD: np.ndarray) -> np.ndarray:
  """bool [S]: situations in which a compared agent ends more than 2 m from where it was."""
  path = signatures_SxD.reshape(-1, AGENTS, MOMENTS, 2)
  return (np.hypot(*(path[:, :, -1] - path[:, :, 0]).transpose(2, 0, 1)) > MOVING).any(-1)


def nearest(probes_PxD: np.ndarray, references_RxD: np.ndarray) -> np.ndarray:
  """float32 [P] m: root-mean-square distance per point to the nearest reference; infinity without any."""
  if not len(references_RxD):
    return np.full(len(probes_PxD), np.inf, np.float32)
  centre = references_RxD.mean(0)  # keeps the squares below small, and so the cancellation
  references = references_RxD - centre
  squared = (references**2).sum(1)
  best = []
  for start in range(0, len(probes_PxD), _CHUNK):
    probes = probes_PxD[start : start + _CHUNK] - centre
    index = (squared - 2 * (probes @ references.T)).argmin(1)
    best.append(((probes - references[index]) ** 2).sum(1))
  points = references.shape[1] / 2
  return np.sqrt(np.concatenate([np.zeros(0, np.float32), *best]) / points)
