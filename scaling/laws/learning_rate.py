"""Learning rate and batch size against N and D, with the form of Li et al., "Predictable Scale: Part I, Optimal
Hyperparameter Scaling Law in Large Language Model Pretraining" (Step Law, arXiv:2503.04715):

  eta*(N, D) = c N^p D^q,    B*(N, D) = d N^s D^t

eta* the peak learning rate, B* the batch in tokens, N parameters, D training tokens. (Bi et al., DeepSeek LLM,
arXiv:2401.02954, use powers of C alone, which is the case p = q and s = t under C = 6 N D.)

Fitted to all runs at once rather than to the best run of each (N, D): about its minimum ln L is a bowl of one shape,

  ln L = g(N, D) + (x - x*)' H (x - x*) / 2,   x = (ln eta, ln B) or (ln eta) alone,   x* = K (1, ln N, ln D)

g is free for each (N, D), which takes out the loss law itself. Multiplied out this is linear in H and H K, so that
least squares solves it without a start; a rate between those tried is found, and every run counts.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from scaling.fitting.identifiability import ACROSS, ALIKE, coverage
from scaling.fitting.refusals import NotConvex, OneLine, TooFewRuns

AXES = ("params", "tokens")
WHERE = "the learning-rate study"


@dataclasses.dataclass(frozen=True)
class Law:
  """Attributes:
  knobs: names of the K hyper-parameters.
  powers: [K, 3], of (1, ln N, ln D), in the order of the knobs.
  curvature: H [K, K]; ln L rises by half of it per squared unit of ln knob.
  noise: standard deviation of ln L around the bowls; NaN without a degree of freedom.
  draws: [draws, K, 3] of the powers under a bootstrap over (N, D).
  """

  knobs: tuple[str, ...]
  powers: np.ndarray
  curvature: np.ndarray
  noise: float
  draws: np.ndarray

  def best(self, params: float, tokens: float) -> dict[str, float]:
    """The knobs of least loss at (N, D)."""
    values = np.exp(self.powers @ np.array([1.0, np.log(params), np.log(tokens)]))
    return dict(zip(self.knobs, values.tolist(), strict=True))

  def penalty(self, params: float, tokens: float, **knobs: float) -> float:
    """ln L lost by other knobs than the best ones."""
    best = self.best(params, tokens)
    away = np.array([np.log(knobs.get(name, best[name]) / best[name]) for name in self.knobs])
    return float(away @ self.curvature @ away / 2)


def fit(
  params: np.ndarray,
  tokens: np.ndarray,
  loss: np.ndarray,
  knobs: dict[str, np.ndarray],
  draws: int,
  seed: int,
  axes: Sequence[str] = AXES,
) -> Law:
  """From R runs; runs of equal N and of D within 1% make one bowl.

  axes: what the best knobs may depend on; the exponent of another, or of one that does not vary, is 0.

  Raises TooFewRuns when a knob takes fewer than three values in every bowl, OneLine when N and D vary together so
  that their exponents cannot be told apart, NotConvex when the bowls open downwards.
  """
  names = tuple(knobs)
  x = np.log(np.stack([knobs[name] for name in names], -1))
  keys = np.stack([np.log(params), np.log(tokens)], -1)
  bowls = np.unique(np.round(keys * 100), axis=0, return_inverse=True)[1].ravel()
  if (
    max(min(len(np.unique(x[bowls == b, k])) for k in range(len(names))) for b in range(bowls.max() + 1)) < 3
  ):
    what = f"no (N, D) was run with three values of {' and of '.join(names)}"
    raise TooFewRuns(what, WHERE, "try at least three values around the best one")
  middle = keys.mean(0)
  shown = [k for k in range(2) if AXES[k] in axes and keys[:, k].std() > ALIKE]
  across = coverage(params, tokens).across
  if len(shown) == 2 and (across < ACROSS or bowls.max() < 2):
    what = "N and D vary together: what depends on the one or the other cannot be told"
    raise OneLine(what, WHERE, 'vary them apart, or fit with axes=("params",) or axes=("tokens",)')
  z = np.concatenate([np.ones((len(x), 1)), (keys - middle)[:, shown]], -1)
  found = _solve(x, z, np.log(loss), bowls, np.ones(len(x)))
  if found is None:
    what = f"ln loss does not curve upwards in {' and '.join(names)}"
    raise NotConvex(what, WHERE, "widen the range of values tried")
  curvature, powers, residuals, coefficients = found
  freedom = len(x) - coefficients - bowls.max() - 1
  noise = float(np.sqrt(np.square(residuals).sum() / freedom)) if freedom > 0 else float("nan")
  rng = np.random.default_rng(seed)
  drawn = np.full((draws, len(names), 3), np.nan)
  for k in range(draws):
    weights = np.bincount(rng.integers(bowls.max() + 1, size=bowls.max() + 1), minlength=bowls.max() + 1)[
      bowls
    ]
    again = _solve(x, z, np.log(loss), bowls, weights.astype(float))
    if again is not None:
      drawn[k] = _about_zero(again[1], shown, middle)
  return Law(names, _about_zero(powers, shown, middle), curvature, noise, drawn)


def _solve(x, z, y, bowls, weights):
  """(H, K, residuals, coefficients) by weighted least squares within bowls; None unless H is positive definite."""
  count = x.shape[1]
  pairs = [(i, j) for i in range(count) for j in range(i, count)]
  squares = [x[:, i] * x[:, j] / (2 if i == j else 1) for i, j in pairs]
  crosses = [-x[:, i] * z[:, k] for i in range(count) for k in range(z.shape[1])]
  design = np.stack([*squares, *crosses], -1)
  total = np.maximum(np.bincount(bowls, weights), 1e-300)

  def centred(v):
    return v - (np.bincount(bowls, weights * v) / total)[bowls]

  design = np.stack([centred(column) for column in design.T], -1)
  root = np.sqrt(weights)
  solved, _, rank, _ = np.linalg.lstsq(design * root[:, None], centred(y) * root, rcond=1e-10)
  if rank < design.shape[1]:
    return None
  curvature = np.zeros((count, count))
  for value, (i, j) in zip(solved, pairs, strict=False):
    curvature[i, j] = curvature[j, i] = value
  if np.linalg.eigvalsh(curvature)[0] <= 0:
    return None
  powers = np.linalg.solve(curvature, solved[len(pairs) :].reshape(count, -1))
  return curvature, powers, centred(y) - design @ solved, design.shape[1]


def _about_zero(powers: np.ndarray, shown: Sequence[int], middle: np.ndarray) -> np.ndarray:
  """[K, 1 + shown] about the table's middle -> [K, 3] of (1, ln N, ln D)."""
  full = np.zeros((len(powers), 3))
  full[:, 0] = powers[:, 0]
  for column, k in enumerate(shown, start=1):
    full[:, 1 + k] = powers[:, column]
    full[:, 0] -= powers[:, column] * middle[k]
  return full
