"""Saying what a larger run will reach, in writing, before it starts; and judging it afterwards.

Three estimators extrapolate to a run of N parameters, D tokens and C FLOPs:

  power       ln L*(C) is a straight line through the minima of the IsoFLOP profiles; away from N*(C) the
              profiles' mean curvature is added
  floored     the same with ln (L*(C) - E), E from the parametric law
  parametric  the law of Approach 3 at (N, D)

Which one is used is settled by a rule that sees no outcome: all are fitted to the budgets below each budget
from the third on, and asked for that budget's minimum (roll-out); the smallest root-mean-square error in ln L
wins. With fewer than three budgets there is no roll-out, and the parametric law is used.
"""

import dataclasses
import os
import pathlib
import time
from typing import Any

import numpy as np

from data.errors import BadInput
from data.files import read_json, write_json_atomic
from scaling import bootstrap, isoflop, parametric
from scaling.isoflop import IsoFlop
from scaling.table import Runs

RULE = "smallest roll-out error: fitted to the budgets below, asked for the next budget's minimum"


@dataclasses.dataclass(frozen=True)
class Target:
  """The run that is predicted: non-embedding parameters, tokens, fully counted FLOPs."""

  params: float
  tokens: float
  flops: float


def flops_per_nd(runs: Runs, params: np.ndarray | float) -> np.ndarray:
  """C / (N D) at a size, interpolated in ln N between the table's sizes; constant beyond them."""
  order = np.argsort(runs.params)
  ratio = np.log(runs.flops / (runs.params * runs.tokens))
  return np.exp(np.interp(np.log(params), np.log(runs.params)[order], ratio[order]))


def optimum(law: parametric.Law, runs: Runs, flops: float) -> Target:
  """The (N, D) of least loss at C, with the table's own FLOP count instead of 6 N D."""
  wide = np.log(runs.params.min()) - 5, np.log(runs.params.max()) + 10
  params = np.exp(np.linspace(*wide, 4001))
  tokens = flops / (flops_per_nd(runs, params) * params)
  best = int(np.argmin(law.loss(params, tokens)))
  return Target(float(params[best]), float(tokens[best]), flops)


def frontier_estimate(iso: IsoFlop, floor: float, target: Target) -> tuple[float, np.ndarray]:
  """Loss at `target`, and its draws, by the line through the minima of ln (L* - floor); NaN without one."""
  interior = iso.interior
  if iso.params is None or floor >= min(profile.loss for profile in interior):
    return float("nan"), np.full(1, np.nan)
  compute = np.array([profile.flops for profile in interior])
  above = np.array([profile.loss for profile in interior]) - floor
  drawn = np.stack([np.exp(profile.draws[2]) for profile in interior]) - floor
  with np.errstate(invalid="ignore", divide="ignore"):
    line = isoflop.power_law(compute, above, np.log(drawn))
  curvature = np.mean([profile.curve[1] for profile in interior])
  away = np.exp(curvature * np.log(target.params / iso.params(target.flops)) ** 2)
  return float((floor + line(target.flops)) * away), (floor + line.spread(target.flops)) * away


def roll_out(runs: Runs, iso: IsoFlop, kind: str) -> dict[str, float]:
  """Root-mean-square error in ln L of each estimator over the roll-outs; NaN without one."""
  index = isoflop.budgets(runs.flops)
  errors: dict[str, list[float]] = {"power": [], "floored": [], "parametric": []}
  for k, profile in enumerate(iso.profiles):
    below = runs.where(index < k)
    if k < 2 or profile.edge or len(below) <= parametric.PARAMETERS:
      continue
    fewer = isoflop.fit(below, 0, 0)
    law = parametric.fit(below.params, below.tokens, below.loss, kind).law
    at = optimum(law, below, profile.flops)
    errors["parametric"].append(float(np.log(law.loss(at.params, at.tokens) / profile.loss)))
    if fewer.params is None:
      continue
    # Asked for the frontier itself, not for the size that the budgets below believe to be on it.
    on_frontier = Target(float(fewer.params(profile.flops)), profile.tokens, profile.flops)
    for name, floor in (("power", 0.0), ("floored", float(law.E))):
      guess = frontier_estimate(fewer, floor, on_frontier)[0]
      errors[name].append(float(np.log(guess / profile.loss)))
  return {name: float(np.sqrt(np.mean(np.square(e)))) if e else float("nan") for name, e in errors.items()}


def forecast(
  runs: Runs, iso: IsoFlop, fitted: parametric.Fit, errors: dict[str, float], target: Target, seed: int
) -> dict[str, Any]:
  """The predicted loss of `target` with interval, and the drop from the best run of the largest budget.

  The 95% interval holds the draws of the estimator, the noise of one run, and the roll-out error as the
  estimator's own.
  """
  law = fitted.law.loss(target.params, target.tokens)
  law_draws = np.full(1, np.nan) if fitted.draws is None else fitted.draws.loss(target.params, target.tokens)
  estimates = {
    "power": frontier_estimate(iso, 0.0, target),
    "floored": frontier_estimate(iso, float(fitted.law.E), target),
    "parametric": (float(law), law_draws),
  }
  known = {name: e for name, e in errors.items() if np.isfinite(e) and np.isfinite(estimates[name][0])}
  chosen = min(known, key=lambda name: known[name]) if known else "parametric"
  loss, draws = estimates[chosen]
  sd = float(np.sqrt(sum(np.square(s) for s in (iso.noise, errors[chosen]) if np.isfinite(s))))
  rng = np.random.default_rng(seed)
  largest = isoflop.budgets(runs.flops) == isoflop.budgets(runs.flops).max()
  best = float(runs.loss[largest].min())
  interval = bootstrap.interval(draws * np.exp(sd * rng.standard_normal(len(draws))))
  return {
    "params": target.params,
    "tokens": target.tokens,
    "flops": target.flops,
    "times_largest_budget": target.flops / float(runs.flops[largest].mean()),
    "loss": loss,
    "ci95": interval,
    "best_loss_of_largest_budget": best,
    "drop": best - loss,
    "drop_ci95": None if interval is None else [best - interval[1], best - interval[0]],
    "estimator": chosen,
    "rule": RULE,
    "roll_out_error": {name: _finite(e) for name, e in errors.items()},
    "estimates": {name: _finite(value) for name, (value, _) in estimates.items()},
    "noise_sd": _finite(iso.noise),
    "n_runs": len(runs),
    "rows_sha256": runs.rows_sha256(),
    "table_sha256": runs.table_sha256,
  }


def write(path: os.PathLike | str, prediction: dict[str, Any]) -> dict[str, Any]:
  """Writes prediction.json with the time, once: an earlier prediction of the same run from the same rows
  stays as it is. Raises BadInput when another prediction is there."""
  path = pathlib.Path(path)
  if path.exists():
    earlier = read_json(path, "delete it to predict anew")
    if all(earlier.get(key) == prediction[key] for key in ("rows_sha256", "params", "tokens", "flops")):
      return earlier
    what = "holds the prediction of another run or from another table"
    raise BadInput(what, path, "choose another --out; a prediction is not overwritten")
  prediction = prediction | {"time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
  write_json_atomic(path, prediction)
  return prediction


def judge(prediction: dict[str, Any], fitted: Runs, outcome: dict[str, str]) -> dict[str, Any]:
  """What became of a prediction: errors in percent, and whether it was written before the run started.

  Args:
    fitted: the rows the law was fitted to; they must be the ones the prediction was made from.
    outcome: the run's row.
  """
  loss = float(outcome["loss"])
  best = prediction["best_loss_of_largest_budget"]
  started, written = outcome.get("started", ""), prediction.get("time", "")
  interval = prediction["ci95"]
  return {
    "run_id": outcome["run_id"],
    "loss": loss,
    "drop": best - loss,
    "loss_error_percent": 100 * (prediction["loss"] / loss - 1),
    "drop_error_percent": 100 * (prediction["drop"] / (best - loss) - 1) if best != loss else None,
    "inside_ci95": None if interval is None else interval[0] <= loss <= interval[1],
    "predicted_at": written or None,
    "started_at": started or None,
    "written_before": written <= started if written and started else None,
    "same_table": prediction["rows_sha256"] == fitted.rows_sha256(),
  }


def _finite(value: float) -> float | None:
  return float(value) if np.isfinite(value) else None
