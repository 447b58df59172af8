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
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from data.errors import BadInput
from data.files import read_json, write_json_atomic
from scaling.fitting import bootstrap, isoflop, optima, parametric
from scaling.fitting.bootstrap import Resampling
from scaling.fitting.isoflop import IsoFlop, Profile
from scaling.laws.hoffmann import Law
from scaling.table import Runs

MOST_ROLL_OUTS = 8  # the latest, in a table of many budgets
ESTIMATORS = ("power", "floored", "parametric")
RULE = "smallest roll-out error: fitted to the budgets below, asked for the next budget's minimum"
KEYS = (
  "params", "tokens", "flops", "times_largest_budget", "loss", "ci95", "best_loss_of_largest_budget", "drop",
  "drop_ci95", "estimator", "rule", "roll_out_error", "estimates", "rows_sha256",
)  # fmt: skip
# How far C / (N D) may lie from the table's: at its own sizes it is known, beyond them it drifts towards 6.
SLACK, SLACK_BEYOND = 1.05, 1.3


@dataclasses.dataclass(frozen=True)
class Target:
  """The run that is predicted: non-embedding parameters, tokens, fully counted FLOPs."""

  params: float
  tokens: float
  flops: float


def optimum(law: Law, runs: Runs, flops: float) -> Target:
  """The (N, D) of least loss at C, with the table's own FLOP count instead of 6 N D."""
  params, tokens, _ = optima.parametric(law, runs, flops)
  return Target(float(params[0]), float(tokens[0]), flops)


def require_larger(runs: Runs, target: Target) -> None:
  """Raises BadInput for N, D and C that are no run of this table's model, or none beyond its largest budget."""
  largest = float(runs.flops.max())
  if target.flops <= isoflop.SAME_BUDGET * largest:
    what = f"{target.flops:.4g} FLOPs are not beyond the table, whose largest run took {largest:.4g}"
    raise BadInput(
      what, "--predict_flops", "predict a larger run: of one inside, the table tells the outcome"
    )
  given = target.flops / (target.params * target.tokens)
  own = float(optima.flops_per_nd(runs, target.params))
  slack = SLACK if runs.params.min() <= target.params <= runs.params.max() else SLACK_BEYOND
  if abs(np.log(given / own)) > np.log(slack):
    what = f"C / (N D) is {given:.4g}, but {own:.4g} at this size in the table"
    where = "--predict_flops, --predict_params and --predict_tokens"
    raise BadInput(what, where, "give C fully counted, N without embeddings and D in tokens, in units of one")


def frontier_estimate(
  iso: IsoFlop, floor: float, floors: np.ndarray | float, target: Target
) -> tuple[float, np.ndarray]:
  """Loss at `target`, and its draws, by the line through the minima of ln (L* - floor); NaN without one.

  `floors` is the floor under each draw, or one for all; a draw whose floor lies above a minimum is NaN. N*(C)
  is drawn too, from which the distance to the target is measured.
  """
  interior = iso.interior
  if iso.params is None or floor >= min(profile.loss for profile in interior):
    return float("nan"), np.full(1, np.nan)
  compute = np.array([profile.flops for profile in interior])
  above = np.array([profile.loss for profile in interior]) - floor
  drawn = np.stack([np.exp(profile.draws[2]) for profile in interior]) - floors
  with np.errstate(invalid="ignore", divide="ignore"):
    line = isoflop.power_law(compute, above, np.log(drawn))
  curvature = np.mean([profile.curve[1] for profile in interior])
  away = np.exp(curvature * np.log(target.params / iso.params(target.flops)) ** 2)
  aways = np.exp(curvature * np.log(target.params / iso.params.spread(target.flops)) ** 2)
  return float((floor + line(target.flops)) * away), (floors + line.spread(target.flops)) * aways


def errors_at(others: Runs, runs: Runs, profile: Profile | None, law: Law, method: str) -> dict[str, float]:
  """Errors in ln L, predicted over measured, of each estimator at a budget's minimum.

  Where the budget has none, of the parametric law alone, in the mean over its runs.

  Args:
    others: what the estimators may see. runs, profile: the budget. law: Approach 3 of the others. method: as of
      `isoflop.fit`.
  """
  if profile is None or profile.refusal is not None:
    return {"parametric": float(np.mean(np.log(law.loss(runs.params, runs.tokens) / runs.loss)))}
  at = optimum(law, others, profile.flops)
  guesses = {"parametric": float(law.loss(at.params, at.tokens))}
  fewer = isoflop.fit(others, 0, 0, method)
  if fewer.params is not None:
    # Asked for the frontier itself, not for the size that the other budgets believe to be on it.
    on_frontier = Target(float(fewer.params(profile.flops)), profile.tokens, profile.flops)
    for name, floor in (("power", 0.0), ("floored", float(law.E))):
      guesses[name] = frontier_estimate(fewer, floor, floor, on_frontier)[0]
  errors = {name: float(np.log(guess / profile.loss)) for name, guess in guesses.items()}
  return {name: error for name, error in errors.items() if np.isfinite(error)}


def roll_out(runs: Runs, iso: IsoFlop, kind: str) -> dict[str, float]:
  """Root-mean-square error in ln L of each estimator over the roll-outs; NaN without one."""
  index = isoflop.budgets(runs.flops)
  errors: dict[str, list[float]] = {name: [] for name in ESTIMATORS}
  known = [
    k
    for k, profile in enumerate(iso.profiles)
    if k >= 2 and profile.refusal is None and (index < k).sum() > parametric.PARAMETERS
  ][-MOST_ROLL_OUTS:]
  if not known:
    return {name: float("nan") for name in ESTIMATORS}
  keep = np.array([index < k for k in known])
  laws = parametric.subsets(runs.params, runs.tokens, runs.loss, kind, keep)
  for k, below, law in zip(known, map(runs.where, keep), laws, strict=True):
    profile = iso.profiles[k]
    for name, error in errors_at(below, profile.runs, profile, law, iso.method).items():
      errors[name].append(error)
  return {name: float(np.sqrt(np.mean(np.square(e)))) if e else float("nan") for name, e in errors.items()}


def forecast(
  runs: Runs, iso: IsoFlop, fitted: parametric.Fit, errors: dict[str, float], target: Target, seed: int,
  resampling: Resampling,
) -> dict[str, Any]:  # fmt: skip
  """The predicted loss of `target` with interval, and the drop from the best run of the largest budget.

  The 95% interval holds the draws of the estimator, the noise of one run, and the roll-out error as the
  estimator's own; None without draws, or when too few of them make sense. Draws of the parametric law are from
  `resampling`, and their interval is corrected as everywhere else; profiles have theirs from redrawn noise.
  """
  law = fitted.law.loss(target.params, target.tokens)
  floor, floors = float(fitted.law.E), fitted.law.E if fitted.draws is None else fitted.draws.E
  law_draws = np.full(1, np.nan) if fitted.draws is None else fitted.draws.loss(target.params, target.tokens)
  estimates = {
    "power": frontier_estimate(iso, 0.0, 0.0, target),
    "floored": frontier_estimate(iso, floor, floors, target),
    "parametric": (float(law), law_draws),
  }
  known = {name: e for name, e in errors.items() if np.isfinite(e) and np.isfinite(estimates[name][0])}
  chosen = min(known, key=lambda name: known[name]) if known else "parametric"
  loss, draws = estimates[chosen]
  sd = float(np.sqrt(sum(np.square(s) for s in (iso.noise, errors[chosen]) if np.isfinite(s))))
  rng = np.random.default_rng(seed)
  largest = isoflop.budgets(runs.flops) == isoflop.budgets(runs.flops).max()
  best = float(runs.loss[largest].min())
  drawn = draws * np.exp(sd * rng.standard_normal(len(draws)))
  interval = resampling.interval(drawn, loss) if chosen == "parametric" else bootstrap.interval(drawn)
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
    "roll_out_error": {name: finite(e) for name, e in errors.items()},
    "estimates": {name: finite(value) for name, (value, _) in estimates.items()},
    "noise_sd": finite(iso.noise),
    "n_runs": len(runs),
    "rows_sha256": runs.rows_sha256(),
    "table_sha256": runs.table_sha256,
  }


def write(path: os.PathLike | str, prediction: dict[str, Any]) -> dict[str, Any]:
  """Writes prediction.json with the time, once: an earlier prediction of the same run from the same rows
  stays as it is. Raises BadInput when another prediction is there."""
  path = pathlib.Path(path)
  if path.exists():
    earlier = read(path)
    if all(earlier.get(key) == prediction[key] for key in ("rows_sha256", "params", "tokens", "flops")):
      return earlier
    what = "holds the prediction of another run or from another table"
    raise BadInput(what, path, "choose another --out; a prediction is not overwritten")
  prediction = prediction | {"time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
  write_json_atomic(path, prediction)
  return prediction


def read(path: os.PathLike | str) -> dict[str, Any]:
  """A prediction written earlier; raises BadInput when it is none."""
  made = read_json(path, "give the prediction.json of an earlier scaling.fit")
  for key in KEYS:
    if key not in made:
      raise BadInput(f"has no {key!r}", path, "give the prediction.json of an earlier scaling.fit")
  return made


def judge(prediction: dict[str, Any], outcomes: Sequence[Mapping[str, str]]) -> dict[str, Any]:
  """What became of a prediction: errors in percent, and whether it was written before any of the runs started.

  Args:
    outcomes: rows of the predicted run, one per seed; their mean loss is judged, `loss_sd` is their spread.
  """
  losses = [float(row["loss"]) for row in outcomes]
  loss = float(np.mean(losses))
  best = prediction["best_loss_of_largest_budget"]
  starts, written = [row.get("started", "") for row in outcomes], prediction.get("time", "")
  started = min(starts) if all(starts) else ""
  interval = prediction["ci95"]
  return {
    "run_ids": [row["run_id"] for row in outcomes],
    "loss": loss,
    "loss_sd": float(np.std(losses, ddof=1)) if len(losses) > 1 else None,
    "drop": best - loss,
    "loss_error_percent": 100 * (prediction["loss"] / loss - 1),
    "drop_error_percent": 100 * (prediction["drop"] / (best - loss) - 1) if best != loss else None,
    "inside_ci95": None if interval is None else interval[0] <= loss <= interval[1],
    "predicted_at": written or None,
    "started_at": started or None,
    "written_before": written <= started if written and started else None,
  }


def finite(value: float) -> float | None:
  """As JSON can hold it: None for NaN and infinity."""
  return float(value) if np.isfinite(value) else None
