"""Forecasts of codes, scored by horizon beside copying the last observed frame and beside unigrams.

Of horizon k, the k-th frame after the observed ones, over windows:

  accuracy   share of codes that are the logged ones: of the model's likeliest roll-out, a copy, the commonest code
  nats       -1/S log p(logged frame), per code: of the model as `evaluation.code_forecast` says; of copying and
             unigrams as evaluation/codes/tables.py says, with the share of training codes that stay k frames

A window is "still" when its last two observed frames share nine of ten codes, else (or with one frame observed)
"changing": what the past says, not the outcome. "changed" is the share of codes that are not those of the last
observed frame: there copying is never right.
"""

import dataclasses
from typing import Any

import numpy as np

from evaluation.codes.tables import CodeCounts, copy_nats

_STILL = 0.9  # of the codes


@dataclasses.dataclass(frozen=True)
class CodeForecast:
  """Some windows, N of T frames of S codes, the first `observed` of them shown, K = T - observed forecast.

  Attributes:
    codes_NxTxS: logged. likeliest_NxKxS: forecast. nats_NxK: of each logged frame, per code, by the model.
    domain_N: index of each window's domain. training: counts of the training split, K frames ahead.
  """

  codes_NxTxS: np.ndarray
  observed: int
  likeliest_NxKxS: np.ndarray
  nats_NxK: np.ndarray
  domain_N: np.ndarray
  training: CodeCounts

  @property
  def truth_NxKxS(self) -> np.ndarray:
    return self.codes_NxTxS[:, self.observed :]

  @property
  def copy_NxKxS(self) -> np.ndarray:
    return np.broadcast_to(self.codes_NxTxS[:, self.observed - 1, None], self.truth_NxKxS.shape)

  def still_N(self) -> np.ndarray:
    """bool [N]."""
    seen = self.codes_NxTxS[:, : self.observed][:, -2:]
    return (seen[:, 0] == seen[:, 1]).mean(-1) >= _STILL if self.observed > 1 else np.zeros(len(seen), bool)

  def margin_N(self) -> np.ndarray:
    """The model's accuracy less that of copying at the last horizon, window by window."""
    truth = self.truth_NxKxS[:, -1]
    right = [(one[:, -1] == truth).mean(-1) for one in (self.likeliest_NxKxS, self.copy_NxKxS)]
    return right[0] - right[1]

  def scores(self) -> dict[str, np.ndarray]:
    """All that is reported of the windows, window by window: few numbers [N] and, of all horizons, [N, K]."""
    truth, model, copy = self.truth_NxKxS, self.likeliest_NxKxS, self.copy_NxKxS
    changed, right, unigram = truth != copy, model == truth, self.training.log_unigram_V
    nats = copy_nats(unigram, self.training.stays_K[None, :, None], truth, ~changed)
    return {
      "domain_N": self.domain_N,
      "still_N": self.still_N(),
      "margin_N": self.margin_N(),
      "changed_NxK": changed.mean(-1),
      "right_NxK": right.mean(-1),
      "right_changed_NxK": (right & changed).mean(-1),
      "nats_NxK": self.nats_NxK,
      "copy_nats_NxK": nats.mean(-1),
      "unigram_right_NxK": (truth == unigram.argmax()).mean(-1),
      "unigram_nats_NxK": -unigram[truth].mean(-1),
    }


def rows(scores: dict[str, np.ndarray], keep_N: np.ndarray) -> list[dict[str, Any]]:
  """One dict for each horizon, over the windows that are kept."""
  means = {name: value[keep_N].mean(0) for name, value in scores.items() if name.endswith("_NxK")}
  return [
    _row({name.removesuffix("_NxK"): float(one[k]) for name, one in means.items()}, k)
    for k in range(len(means["right_NxK"]))
  ]


def _row(mean: dict[str, float], k: int) -> dict[str, Any]:
  changed = mean["changed"]
  return {
    "frames": k + 1,
    "changed": changed,
    "model": {
      "accuracy": mean["right"],
      "accuracy_changed": mean["right_changed"] / changed if changed else None,
      "nats": mean["nats"],
    },
    "copy": {"accuracy": 1 - changed, "nats": mean["copy_nats"]},
    "unigrams": {"accuracy": mean["unigram_right"], "nats": mean["unigram_nats"]},
  }
