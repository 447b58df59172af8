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

from evaluation.codes.tables import copy_nats, log_unigrams, stay_share

_STILL = 0.9  # of the codes


@dataclasses.dataclass(frozen=True)
class CodeForecast:
  """N windows of T frames of S codes, the first `observed` of them shown, K = T - observed forecast.

  Attributes:
    codes_NxTxS: logged. likeliest_NxKxS: forecast. nats_NxK: of each logged frame, per code, by the model.
    domain_N: index of each window's domain. log_unigram_V, stays_K: of the training split.
  """

  codes_NxTxS: np.ndarray
  observed: int
  likeliest_NxKxS: np.ndarray
  nats_NxK: np.ndarray
  domain_N: np.ndarray
  log_unigram_V: np.ndarray
  stays_K: np.ndarray

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

  def rows(self, keep_N: np.ndarray) -> list[dict[str, Any]]:
    """One dict for each horizon, over the windows that are kept."""
    return [self._row(keep_N, k) for k in range(self.truth_NxKxS.shape[1])]

  def _row(self, keep_N: np.ndarray, k: int) -> dict[str, Any]:
    truth, model, copy = (one[keep_N, k] for one in (self.truth_NxKxS, self.likeliest_NxKxS, self.copy_NxKxS))
    changed, right = truth != copy, model == truth
    nats = copy_nats(self.log_unigram_V, self.stays_K[k], copy, truth)
    return {
      "frames": k + 1,
      "changed": float(changed.mean()),
      "model": {
        "accuracy": float(right.mean()),
        "accuracy_changed": float(right[changed].mean()) if changed.any() else None,
        "nats": float(self.nats_NxK[keep_N, k].mean()),
      },
      "copy": {"accuracy": float(1 - changed.mean()), "nats": float(nats.mean())},
      "unigrams": {
        "accuracy": float((truth == self.log_unigram_V.argmax()).mean()),
        "nats": float(-self.log_unigram_V[truth].mean()),
      },
    }


def training_tables(frames_NxTxS: np.ndarray, codes: int, observed: int) -> tuple[np.ndarray, np.ndarray]:
  """(log unigrams [V], share of codes that stay k frames [K]) of training windows; see evaluation/codes/tables.py."""
  ahead = range(1, frames_NxTxS.shape[1] - observed + 1)
  return log_unigrams(frames_NxTxS, codes), np.array([stay_share(frames_NxTxS, k) for k in ahead])
