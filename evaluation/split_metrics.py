"""Metrics of a whole split out of those of its clips: means of sums and counts, average precision and what nuScenes
weighs beside it, the worst clips.

metrics: name to (sum_N, count_N), or (sum_NxG, count_NxG) of classes or bins. findings: kind to the arrays of
`experiments.task.Task.findings`, by clip.
"""

import math

import numpy as np

from evaluation.intervals import of_ratio
from evaluation.metrics.average_precision import CENTRE_M, CHAMFER_M, LEAST, Found, average_precision, chamfer
from evaluation.metrics.true_positives import ERRORS, box_errors, detection_score, true_positive_error

_THRESHOLDS = {"boxes": CENTRE_M, "elements": CHAMFER_M}
_LEAST = {"boxes": LEAST, "elements": 0.0}
_NOT_SHOWN = ("objective", "by_domain")


def means(metrics: dict, keep_N: np.ndarray) -> dict[str, float | None]:
  """Sum over count of the clips to keep; None where nothing counts.

  "<name>_iou" becomes "<name>_mIoU", the mean over classes that occur. "<name>_stated", shares of stated
  probabilities by bin, becomes "<name>_calibration_error": mean of |share within a level - level| over levels.
  """
  found: dict[str, float | None] = {}
  for name, (sums, counts) in metrics.items():
    if name in _NOT_SHOWN:
      continue
    total, count = sums[keep_N].sum(0, dtype=np.float64), counts[keep_N].sum(0, dtype=np.float64)
    some = np.any(count > 0)
    if name.endswith("_iou"):
      ratios = total[count > 0] / count[count > 0]
      found[name.removesuffix("iou") + "mIoU"] = float(ratios.mean()) if some else None
    elif name.endswith("_stated"):
      levels = np.arange(1, len(total)) / len(total)
      within = np.cumsum(total / np.maximum(count, 1))[:-1]
      found[name.removesuffix("stated") + "calibration_error"] = (
        float(np.abs(within - levels).mean()) if some else None
      )
    elif np.ndim(total) == 0:
      found[name] = float(total / count) if some else None
  return found


def intervals(metrics: dict, keep_N: np.ndarray, scene_N: np.ndarray) -> dict[str, list[float] | None]:
  """95 % over scenes of every mean that is one number of each clip; None of one scene alone."""
  return {
    name: of_ratio(sums[keep_N], counts[keep_N], scene_N[keep_N])
    for name, (sums, counts) in metrics.items()
    if name not in _NOT_SHOWN and sums.ndim == 1
  }


def precisions(findings: dict, classes: dict, keep_N: np.ndarray) -> dict:
  """{"boxes_mAP": mean over classes that occur and thresholds, "boxes_AP": {class: {threshold: AP}}}, elements alike.

  Boxes also have "boxes_<name>_error", means over these classes, of evaluation/metrics/true_positives.py, and
  "boxes_NDS_of_three", mAP with these errors. classes: kind to the names of its classes.
  """
  found: dict = {}
  for kind, arrays in findings.items():
    by_class: dict = {}
    errors: dict[str, list[float]] = {name: [] for name in ERRORS if kind == "boxes"}
    for number, name in enumerate(classes[kind]):
      frames, pairs = _frames(arrays, number, keep_N)
      if any(frame.apart_NxK.shape[1] for frame in frames):
        by_class[name] = {
          str(threshold): average_precision(frames, threshold, _LEAST[kind])
          for threshold in _THRESHOLDS[kind]
        }
        for error, of_class in errors.items():
          each = [box_errors(*pair)[error] for pair in pairs]
          of_class.append(true_positive_error(frames, each))
    every = [value for own in by_class.values() for value in own.values()]
    found |= {f"{kind}_mAP": float(np.mean(every)) if every else None, f"{kind}_AP": by_class}
    means = {name: float(np.mean(own)) if own else None for name, own in errors.items()}
    found |= {f"{kind}_{name}_error": mean for name, mean in means.items()}
    if kind == "boxes":
      told = [mean for mean in means.values() if mean is not None]
      found["boxes_NDS_of_three"] = detection_score(found["boxes_mAP"], told) if told else None
  return found


def _frames(arrays: dict, number: int, keep_N: np.ndarray) -> tuple[list[Found], list[tuple]]:
  """Every frame of the clips to keep that has answers or truth of a class, and the two themselves: boxes [n, 7], or
  polylines [n, P, 2]."""
  by_stem = {name.rpartition("_")[0]: value[keep_N] for name, value in arrays.items()}
  flat = {name: value.reshape(-1, *value.shape[2:]) for name, value in by_stem.items()}
  found, pairs = [], []
  for frame in range(len(flat["score"])):
    mine = flat["kind"][frame] == number
    there = flat["there"][frame] & (flat["truth_kind"][frame] == number)
    if not mine.any() and not there.any():
      continue
    place, truth = flat["place"][frame][mine], flat["truth"][frame][there]
    apart = box_errors(place, truth)["translation"] if place.ndim == 2 else chamfer(place, truth)
    found.append(Found(flat["score"][frame][mine], apart, flat["free"][frame][mine]))
    pairs.append((place, truth))
  return found, pairs


def worst(metrics: dict, heads: list[str], labels: dict, domains: tuple[str, ...], count: int) -> dict:
  """Of every head the clips with the greatest mean loss, the worst first, with their own metrics."""
  found = {}
  for head in heads:
    sums, counts = metrics[head]
    loss = np.where(counts > 0, sums / np.maximum(counts, 1), -np.inf)
    order = np.argsort(-loss, kind="stable")[:count]
    own = {name: pair for name, pair in metrics.items() if name.startswith(f"{head}_") and pair[0].ndim == 1}
    found[head] = [
      {
        "clip": int(n),
        "scene": int(labels["scene"][n]),
        "domain": domains[labels["domain"][n]],
        "loss": float(loss[n]),
      }
      | {name: float(s[n] / c[n]) for name, (s, c) in own.items() if c[n] > 0}
      for n in order
      if math.isfinite(loss[n])
    ]
  return found
