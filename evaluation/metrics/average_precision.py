"""Average precision of what was found in a whole split, with a match by distance: boxes and polylines.

Answers of one class, the surest first over all frames, each take the nearest truth of their frame that is left and
nearer than a threshold. With P(r) the greatest precision at a recall of at least r:

  AP = mean over r of P(r)                                                            polylines
  AP = mean over r > 0.1 of max(P(r) - 0.1, 0) / 0.9                                  boxes, by their centres

r = 0, 0.01, ..., 1. Boxes: H. Caesar et al., "nuScenes", arXiv:1903.11027, thresholds 0.5, 1, 2, 4 m, which takes P as
interpolated rather than the greatest. Polylines by Chamfer distance at 0.5, 1, 1.5 m: Q. Li et al., "HDMapNet",
arXiv:2107.06307; B. Liao et al., "MapTR", arXiv:2208.14437.
"""

import dataclasses

import numpy as np

CENTRE_M = (0.5, 1.0, 2.0, 4.0)
CHAMFER_M = (0.5, 1.0, 1.5)
LEAST = 0.1  # precision and recall below which boxes earn nothing


@dataclasses.dataclass(frozen=True)
class Found:
  """Answers of one class in one frame and the truth there.

  score_N: higher is surer. apart_NxK: distance of every answer from every truth, m. free_N: answers that are no
  mistake where they match nothing, as where no truth is known.
  """

  score_N: np.ndarray
  apart_NxK: np.ndarray
  free_N: np.ndarray


def taken(frame: Found, threshold: float) -> np.ndarray:
  """int [N]: the truth that each answer of a frame takes, the surest first; -1: none."""
  truth_N = np.full(len(frame.score_N), -1)
  left = np.ones(frame.apart_NxK.shape[1], bool)
  for n in np.argsort(-frame.score_N, kind="stable"):
    apart = np.where(left, frame.apart_NxK[n], np.inf)
    if len(apart) and apart.min() < threshold:
      truth_N[n] = apart.argmin()
      left[truth_N[n]] = False
  return truth_N


def curve(frames: list[Found], threshold: float) -> tuple[np.ndarray, int]:
  """(hit [n], number of truths), the surest answer first; free answers that match nothing are left out."""
  hits, scores = [np.zeros(0, bool)], [np.zeros(0)]
  for frame in frames:
    hit = taken(frame, threshold) >= 0
    judged = hit | ~frame.free_N
    hits.append(hit[judged])
    scores.append(frame.score_N[judged])
  order = np.argsort(-np.concatenate(scores), kind="stable")
  return np.concatenate(hits)[order], sum(frame.apart_NxK.shape[1] for frame in frames)


def average_precision(frames: list[Found], threshold: float, least: float) -> float:
  """In [0, 1]; NaN where there is no truth. least: LEAST for boxes, 0 for polylines."""
  hit, truths = curve(frames, threshold)
  if not truths:
    return float("nan")
  right = np.cumsum(hit)
  precision = right / np.arange(1, len(hit) + 1)
  best = np.maximum.accumulate(precision[::-1])[::-1] if len(hit) else precision
  # right / truths >= r in whole numbers: as fractions, 7 / 10 falls short of 70 / 100.
  at = np.searchsorted(100 * right, np.arange(101) * truths, side="left")
  reached = np.append(best, 0.0)[np.minimum(at, len(best))]
  if not least:
    return float(reached.mean())
  counted = reached[round(100 * least) + 1 :]
  return float(np.maximum(counted - least, 0).mean() / (1 - least))


def chamfer(answers_NxPx2: np.ndarray, truth_KxPx2: np.ndarray) -> np.ndarray:
  """[N, K] m: mean distance from each point of one polyline to the nearest point of the other, both ways, halved."""
  apart = np.linalg.norm(answers_NxPx2[:, None, :, None] - truth_KxPx2[None, :, None], axis=-1)
  return 0.5 * (apart.min(-1).mean(-1) + apart.min(-2).mean(-1))
