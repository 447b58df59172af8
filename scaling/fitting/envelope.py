"""Approach 1: the envelope of training curves. At each compute the run of least loss; then N*(C) ~ C^a.

Hoffmann et al. (arXiv:2203.15556), section 3.1: several sizes N, each trained to several horizons with the schedule
matched to the horizon. Every curve L(C) along its training is smoothed and interpolated; at 1500 values of C, spaced
evenly in ln C, the run of least loss gives N* and D*; straight lines of ln N* and ln D* over ln C give the exponents.

Points where the winner is the smallest or largest size still in the race are left out: the true optimum may lie
beyond. Neighbouring points share their runs, so intervals come from drawing whole runs (cluster bootstrap). A decaying
schedule makes the middle of a run worse than a run that ends there: `progress` says how near their horizon the
winning points lie, and an envelope made of half-finished runs is refused.
"""

import dataclasses
import json
import os
import pathlib
from collections.abc import Sequence

import numpy as np

from data.errors import BadInput
from data.files import read_json
from scaling.fitting import bootstrap
from scaling.fitting.isoflop import PowerLaw
from scaling.fitting.refusals import EdgeMinimum, MidSchedule, Refusal, TooFewRuns

POINTS = 1500
WIDTH = 0.05  # of the smoothing kernel, in ln D
LEAST_PROGRESS = 0.5  # median share of the horizon at which the winners stand
LEAST_SPAN = 0.5  # decades of C that interior points must span for a line


@dataclasses.dataclass(frozen=True)
class Curve:
  """One run's training: `params` N, `flops_per_token`, and at each record [T] `tokens` D (ascending) and `loss` in
  nats per token. horizon: the D its schedule was made for."""

  run_id: str
  params: float
  flops_per_token: float
  tokens: np.ndarray
  loss: np.ndarray
  horizon: float


@dataclasses.dataclass(frozen=True)
class Envelope:
  """Attributes, over the K points kept: `flops` C, `params` N*, `tokens` D*, `loss` L*.

  progress: median D* over the winner's horizon.
  size, data: N*(C) and D*(C) with a draw per bootstrap; None when refused.
  refusals: why there is no line, or why not to trust it.
  """

  flops: np.ndarray
  params: np.ndarray
  tokens: np.ndarray
  loss: np.ndarray
  progress: float
  size: PowerLaw | None
  data: PowerLaw | None
  refusals: tuple[Refusal, ...]


def fit(
  curves: Sequence[Curve], draws: int, seed: int, points: int = POINTS, width: float = WIDTH
) -> Envelope:
  """The envelope of `curves` and its power laws, with `draws` bootstraps over runs."""
  where = f"{len(curves)} training curves"
  ends = [(c.flops_per_token * c.tokens[[0, -1]]) for c in curves]
  grid = np.geomspace(min(e[0] for e in ends), max(e[1] for e in ends), points)
  loss = np.stack([_on_grid(curve, grid, width) for curve in curves])  # [runs, points], NaN off the curve
  params = np.array([c.params for c in curves])
  per_token = np.array([c.flops_per_token for c in curves])
  horizons = np.array([c.horizon for c in curves])
  winner, kept = _winners(loss, params)
  at, best = grid[kept], winner[kept]
  tokens = at / per_token[best]
  progress = float(np.median(tokens / horizons[best])) if len(at) else float("nan")
  refusals: list[Refusal] = []
  if len(np.unique(params)) < 3:
    what = f"{len(np.unique(params))} sizes have no interior one"
    refusals.append(TooFewRuns(what, where, "train three sizes or more"))
  elif not len(at) or np.log10(at[-1] / at[0]) < LEAST_SPAN:
    what = f"inner sizes are best over less than {LEAST_SPAN:g} decades of compute"
    refusals.append(EdgeMinimum(what, where, "add smaller and larger sizes, or train longer"))
  if progress < LEAST_PROGRESS:
    what = f"the winning runs stand at {progress:.0%} of their schedule"
    refusals.append(MidSchedule(what, where, "train runs whose schedule ends there, or use a constant rate"))
  size = data = None
  if not any(isinstance(r, TooFewRuns | EdgeMinimum) for r in refusals):
    drawn = np.full((2, 2, draws), np.nan)
    for k, weights in enumerate(bootstrap.case_weights(len(curves), draws, seed)):
      drawn[:, :, k] = _lines(*_winners(loss[weights > 0], params[weights > 0]), grid, *(
        v[weights > 0] for v in (params, per_token)
      ))  # fmt: skip
    made = _lines(winner, kept, grid, params, per_token)
    size, data = (PowerLaw(float(m[0]), float(m[1]), spread) for m, spread in zip(made, drawn, strict=True))
  least = loss[best, np.flatnonzero(kept)]
  return Envelope(at, params[best], tokens, least, progress, size, data, tuple(refusals))


def smooth(tokens: np.ndarray, loss: np.ndarray, at: np.ndarray, width: float) -> np.ndarray:
  """Loss at `at` [G]: a straight line of ln loss in ln D through the records [T] near each point.

  A line and not a mean, because at the end of a curve, where envelopes take their points, a mean lags behind.
  """
  x, y, centre = np.log(tokens), np.log(loss), np.log(at)
  step = np.diff(x).max() if len(x) > 1 else 0.0
  away = x - centre[:, None]
  weight = np.exp(-0.5 * np.square(away / max(width, step)))
  s0, s1, s2 = weight.sum(1), (weight * away).sum(1), (weight * away**2).sum(1)
  t0, t1 = weight @ y, (weight * away) @ y
  spread = s0 * s2 - s1**2
  line = (s2 * t0 - s1 * t1) / np.where(spread > 0, spread, 1.0)
  return np.exp(np.where(spread > 1e-12 * s0**2, line, t0 / s0))


def _on_grid(curve: Curve, grid: np.ndarray, width: float) -> np.ndarray:
  tokens = grid / curve.flops_per_token
  inside = (tokens >= curve.tokens[0] * (1 - 1e-12)) & (tokens <= curve.tokens[-1] * (1 + 1e-12))
  values = np.full(len(grid), np.nan)
  values[inside] = smooth(curve.tokens, curve.loss, tokens[inside], width)
  return values


def _winners(loss: np.ndarray, params: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """(run of least loss, whether its size is inside those in the race), each [points]."""
  racing = np.isfinite(loss)
  winner = np.where(racing, loss, np.inf).argmin(0)
  smallest = np.where(racing, params[:, None], np.inf).min(0)
  largest = np.where(racing, params[:, None], 0.0).max(0)
  size = params[winner]
  return winner, racing.any(0) & (size > smallest) & (size < largest)


def _lines(winner, kept, grid, params, per_token) -> np.ndarray:
  """[2, 2]: (exponent, intercept) of N*(C) and D*(C); NaN without two points."""
  if kept.sum() < 2:
    return np.full((2, 2), np.nan)
  at, best = np.log(grid[kept]), winner[kept]
  return np.stack([np.polyfit(at, np.log(params[best]), 1), np.polyfit(at, at - np.log(per_token[best]), 1)])


def read_curve(directory: os.PathLike | str) -> Curve:
  """The training curve of a finished run directory: `metrics.jsonl` and the row in `result.json`.

  Raises BadInput without either, or when a record cannot be read.
  """
  place = pathlib.Path(directory)
  row = read_json(place / "result.json", "let the run finish")
  try:
    lines = (place / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    records = [json.loads(line) for line in lines]
  except (OSError, ValueError) as error:
    what = f"cannot be read ({error})"
    raise BadInput(what, place / "metrics.jsonl", "run the training command again") from None
  seen = {
    float(r["tokens"]): float(r["loss"]) for r in records if "tokens" in r and "loss" in r and r["tokens"] > 0
  }
  if len(seen) < 2:
    raise BadInput(f"holds {len(seen)} records of tokens and loss", place / "metrics.jsonl", "log more often")
  tokens = np.array(sorted(seen))
  loss = np.array([seen[t] for t in tokens])
  per_token = float(row["flops"]) / float(row["tokens"])
  return Curve(str(row["run_id"]), float(row["params"]), per_token, tokens, loss, float(row["tokens"]))
