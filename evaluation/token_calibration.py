"""Whether the probabilities that a motion model states for the next move are frequencies, by domain.

Of every supervised move of a split, given the log before it: nats and Brier score of all its probabilities, and of the
likeliest move's the calibration error with bins of equal width and of equal mass (evaluation/metrics/calibration.py)
and the area under the ROC curve: whether the model is surer where it is right (evaluation/metrics/discrimination.py).
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from evaluation.intervals import of_ratio
from evaluation.metrics import calibration, discrimination

BINS = 15
_TOGETHER = 32  # windows: one compiled shape


@dataclasses.dataclass(frozen=True)
class Stated:
  """Of W windows: confidence_WxTxA in the likeliest move, correct_WxTxA, and which moves count, mask_WxTxA; the sums
  of nats and Brier scores over these, "all" and "moving" agents alike; moving_WxA, domain_W and scene_W."""

  confidence_WxTxA: np.ndarray
  correct_WxTxA: np.ndarray
  mask_WxTxA: np.ndarray
  nll_W: dict[str, np.ndarray]
  brier_W: dict[str, np.ndarray]
  moving_WxA: np.ndarray
  domain_W: np.ndarray
  scene_W: np.ndarray

  def counts(self, part: str) -> np.ndarray:
    """bool [W, T, A]: moves of a part, "all" or "moving"."""
    return self.mask_WxTxA & (self.moving_WxA[:, None] | (part == "all"))


def stated(apply: Callable, weights: dict, to_batch: Callable, source: Any) -> Stated:
  """What a model states about every move of a source of stacked windows (data.reader.RecordSource)."""
  each = _make_each(apply)
  parts: list[Stated] = []
  for start in range(0, len(source), _TOGETHER):
    rows = np.arange(start, start + _TOGETHER).clip(
      max=len(source) - 1
    )  # the last chunk repeats its last window
    stacked, here = source.stacked(rows), min(_TOGETHER, len(source) - start)
    batch = to_batch(stacked)
    told = each(weights, batch, stacked["moving_A"]) | {
      "mask_WxTxA": stacked["mask_TxA"],
      "moving_WxA": stacked["moving_A"],
      "domain_W": stacked["domain"].astype(int),
      "scene_W": stacked["scene"].astype(int),
    }
    parts.append(Stated(**jax.tree.map(lambda x, here=here: np.asarray(x)[:here], told)))
  fields = [dataclasses.asdict(part) for part in parts]
  return Stated(**jax.tree.map(lambda *values: np.concatenate(values), *fields))


def scores(found: Stated, part: str, inside_W: np.ndarray) -> dict[str, Any]:
  """Of the moves of a part in some windows: their number, means (of nats and Brier with 95 % intervals over scenes),
  and what needs them all together."""
  counts_WxTxA = found.counts(part) & inside_W[:, None, None]
  counts_N, counts_W = counts_WxTxA.ravel(), counts_WxTxA.sum((1, 2))
  count = int(counts_N.sum())
  if not count:
    return {"moves": 0}
  confidence_N, correct_N = (jnp.asarray(x.ravel()) for x in (found.confidence_WxTxA, found.correct_WxTxA))
  errors = {
    f"ece_{binning}": calibration.calibration_error(confidence_N, correct_N, counts_N, BINS, binning)
    for binning in (calibration.EQUAL_WIDTH, calibration.EQUAL_MASS)
  }
  sums = {"nll": found.nll_W[part] * inside_W, "brier": found.brier_W[part] * inside_W}
  auc = float(discrimination.auc(confidence_N, correct_N, counts_N))
  return {
    "moves": count,
    "accuracy": float(np.asarray(correct_N)[counts_N].mean()),
    "confidence": float(np.asarray(confidence_N, np.float64)[counts_N].mean()),
    **{name: float(sum_W.sum() / count) for name, sum_W in sums.items()},
    "auc": None if np.isnan(auc) and np.isfinite(np.asarray(confidence_N)[counts_N]).all() else auc,
    **{name: float(value) for name, value in errors.items()},
    "ci95": {name: of_ratio(sum_W, counts_W, found.scene_W) for name, sum_W in sums.items()},
  }


def _make_each(apply: Callable) -> Callable:
  """each(weights, batch, moving_A [W, A]) -> the computed fields of `Stated`."""

  @jax.jit
  def each(weights, batch, moving_WxA):
    log_WxTxAxV = jax.nn.log_softmax(apply({"params": weights}, batch).astype(jnp.float32))
    outcome_WxTxA, mask_WxTxA = batch["tokens_BxTxA"].astype(jnp.int32), batch["mask_BxTxA"]

    def summed(score, log_TxAxV, outcome_TxA, keep_TxA):
      return score(log_TxAxV.reshape(-1, log_TxAxV.shape[-1]), outcome_TxA.ravel(), keep_TxA.ravel())[0]

    def by_part(score):
      every = lambda keep: jax.vmap(lambda *one: summed(score, *one))(log_WxTxAxV, outcome_WxTxA, keep)  # noqa: E731
      return {"all": every(mask_WxTxA), "moving": every(mask_WxTxA & moving_WxA[:, None])}

    return {
      "confidence_WxTxA": jnp.exp(log_WxTxAxV.max(-1)),
      "correct_WxTxA": log_WxTxAxV.argmax(-1) == outcome_WxTxA,
      "nll_W": by_part(calibration.nll),
      "brier_W": by_part(lambda log, outcome, keep: calibration.brier(jnp.exp(log), outcome, keep)),
    }

  return each
