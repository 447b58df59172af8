"""How far off the boxes are that were found: the errors of true positives that nuScenes weighs beside precision.

An answer that takes a truth nearer than 2 m (evaluation/metrics/average_precision.py) is off by

  translation   distance of the centres, m                        scale   1 - IoU with centres and headings aligned
  orientation   the smaller angle between the headings, rad

With m(h) the mean error of the h surest hits and h(r) those that make a recall of at least r, the error of a class is

  mean over r = 0.11, 0.12, ..., the recall reached, of m(h(r));       1 where not even 0.11 is reached

and the detection score NDS takes 1 - min(1, error) of each, averaged over classes. nuScenes has two more, of velocity
and of attributes, which box heads that state neither cannot be asked. H. Caesar et al., "nuScenes", arXiv:1903.11027;
m is a step function of recall here, where its code interpolates.
"""

import numpy as np

from evaluation.metrics.average_precision import LEAST, Found, taken

MATCH_M = 2.0
ERRORS = ("translation", "scale", "orientation")
_WEIGHT = 5  # of mAP against one error


def box_errors(answer_Nx7: np.ndarray, truth_Kx7: np.ndarray) -> dict[str, np.ndarray]:
  """[N, K] by name of ERRORS, of boxes x, y, z, length, width, height, yaw."""
  answer, truth = answer_Nx7[:, None].astype(np.float64), truth_Kx7[None].astype(np.float64)
  common = np.minimum(answer[..., 3:6], truth[..., 3:6]).prod(-1)
  together = answer[..., 3:6].prod(-1) + truth[..., 3:6].prod(-1) - common
  turn = np.abs(answer[..., 6] - truth[..., 6]) % (2 * np.pi)
  return {
    "translation": np.hypot(*np.moveaxis(answer[..., :2] - truth[..., :2], -1, 0)),
    "scale": 1 - common / together,
    "orientation": np.minimum(turn, 2 * np.pi - turn),
  }


def true_positive_error(frames: list[Found], error_FxNxK: list[np.ndarray]) -> float:
  """Of a class, as above: NaN where there is no truth. error_FxNxK: of every frame [N, K]."""
  truths = sum(frame.apart_NxK.shape[1] for frame in frames)
  if not truths:
    return float("nan")
  scores, errors = [np.zeros(0)], [np.zeros(0)]
  for frame, error_NxK in zip(frames, error_FxNxK, strict=True):
    truth_N = taken(frame, MATCH_M)
    hit = np.flatnonzero(truth_N >= 0)
    scores.append(frame.score_N[hit])
    errors.append(error_NxK[hit, truth_N[hit]])
  order = np.argsort(-np.concatenate(scores), kind="stable")
  mean = np.concatenate(errors)[order].cumsum() / np.arange(1, len(order) + 1)
  # Of recalls in hundredths, in whole numbers: the fewest hits h with 100 h >= r truths.
  recall = np.arange(round(100 * LEAST) + 1, 100 * len(order) // truths + 1)
  return float(mean[-(-recall * truths // 100) - 1].mean()) if len(recall) else 1.0


def detection_score(mean_precision: float, errors: list[float]) -> float:
  """NDS of the errors at hand: (5 mAP + sum of 1 - min(1, error)) / (5 + their number)."""
  kept = sum(1 - min(1.0, error) for error in errors)
  return (_WEIGHT * mean_precision + kept) / (_WEIGHT + len(errors))
