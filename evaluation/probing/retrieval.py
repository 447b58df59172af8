"""Place recognition: is the clip whose features are most similar one of the same place?

Clip n is asked for among all others. Its matches lie in the same scene, within 10 m of it: in simulated worlds mostly
another vehicle at another time (data/scene_clips.py), in one recorded drive its neighbours in time, of which recall
says no more than that they look alike. recall@k is the share of clips with a match among the k most similar (cosine).
Clips without any match are not asked and are counted. Ties count against the features, so that a collapsed
representation scores nothing. Drawn at random, a clip with m matches among G others has one in the first k with
probability 1 - C(G - m, k) / C(G, k).
Protocol: R. Arandjelovic et al., "NetVLAD", arXiv:1511.07247.
"""

import dataclasses
import math

import numpy as np

from evaluation.probing.probes import standardiser, unit

REACH = 10.0  # m


@dataclasses.dataclass(frozen=True)
class Recall:
  """Attributes, of the Q clips that were asked:
  found_QxK: a match among the k most similar, for each k asked. random_QxK: probability of one in a random ranking.
  query_Q: which clips they are.
  """

  found_QxK: np.ndarray
  random_QxK: np.ndarray
  query_Q: np.ndarray


def matches(place_Nx2: np.ndarray, scene_N: np.ndarray) -> np.ndarray:
  """bool [N, N]: another clip of the same scene within REACH m."""
  apart = np.linalg.norm(place_Nx2[:, None] - place_Nx2[None], axis=-1)
  same = scene_N[:, None] == scene_N[None]
  return same & (apart <= REACH) & ~np.eye(len(scene_N), dtype=bool)


def recall(x_NxD: np.ndarray, match_NxN: np.ndarray, ks: tuple[int, ...]) -> Recall:
  """Recall at each of `ks`, clip by clip."""
  count = len(x_NxD)
  query = np.flatnonzero(match_NxN.any(-1))
  z = unit(standardiser(x_NxD)(x_NxD))
  similar = np.round(z[query] @ z.T, 9)  # rounding errors must not break ties
  similar[np.arange(len(query)), query] = -np.inf
  order = np.lexsort((match_NxN[query], -similar), axis=-1)
  hit = np.take_along_axis(match_NxN[query], order, axis=-1)
  found = np.stack([hit[:, :k].any(-1) for k in ks], -1)
  numbers = match_NxN[query].sum(-1)
  chance = [[_chance(int(m), count - 1, k) for k in ks] for m in numbers]
  random = np.reshape(chance, (len(query), len(ks)))
  return Recall(found, random, query)


def _chance(matching: int, others: int, k: int) -> float:
  """Probability that k of `others`, drawn without replacement, hold one of `matching`."""
  k = min(k, others)
  return 1 - math.comb(others - matching, k) / math.comb(others, k)
