"""Everything a fit says about one run table: both approaches, the forecast, and what came of it."""

import dataclasses
import pathlib
from typing import Any

import numpy as np

from data.errors import BadInput
from scaling import bootstrap, isoflop, parametric, prediction, table
from scaling.isoflop import IsoFlop, PowerLaw
from scaling.prediction import finite
from scaling.table import Runs

SAME_RUN = 0.1  # a held-out run is the predicted one when its N and D are this near, in ln


@dataclasses.dataclass(frozen=True)
class Analysis:
  """Attributes: `fitted` rows the laws see; `held_out` rows they do not; `errors` of the roll-out by
  estimator; `forecast` what prediction.json holds; `outcome` how it compares with the run."""

  fitted: Runs
  held_out: Runs
  kind: str
  seed: int
  iso: IsoFlop
  law: parametric.Fit
  errors: dict[str, float]
  forecast: dict[str, Any] | None = None
  outcome: dict[str, Any] | None = None


def analyse(paths: list[pathlib.Path], kind: str, draws: int, seed: int, holdout: int) -> Analysis:
  """Reads the tables and fits both approaches to all but the `holdout` largest budgets.

  Raises BadInput for a bad table, or one with too few runs or budgets.
  """
  runs = table.read_many(paths)
  budget = isoflop.budgets(runs.flops)
  if holdout > budget.max():
    what = f"{budget.max() + 1} budgets leave none after holding out {holdout}"
    raise BadInput(what, paths[0], "hold out fewer, or add runs")
  kept = budget <= budget.max() - holdout
  fitted = runs.where(kept)
  if len(fitted) <= parametric.PARAMETERS:
    what = f"{len(fitted)} runs cannot settle {parametric.PARAMETERS} coefficients"
    raise BadInput(what, paths[0], "run more sizes and budgets, at least three of each")
  weights = bootstrap.case_weights(len(fitted), draws, seed) if draws else None
  law = parametric.fit(fitted.params, fitted.tokens, fitted.loss, kind, weights)
  iso = isoflop.fit(fitted, draws, seed)
  return Analysis(fitted, runs.where(~kept), kind, seed, iso, law, prediction.roll_out(fitted, iso, kind))


def predict(
  found: Analysis, path: pathlib.Path, flops: float, params: float | None, tokens: float | None
) -> Analysis:
  """Writes what a run of C = `flops` will reach; at N*(C), D*(C) unless `params` and `tokens` are given.

  Raises BadInput for a run that lies within the table, or cannot be one of its model.
  """
  if params is None or tokens is None:
    if found.iso.params is None or found.iso.tokens is None:
      remedy = "give --predict_params and --predict_tokens, or widen the sizes of the sweep"
      raise BadInput(
        "N*(C) needs two budgets with an interior minimum", found.fitted.rows[0]["run_id"], remedy
      )
    params = float(found.iso.params(flops))
    tokens = flops / float(prediction.flops_per_nd(found.fitted, params) * params)
  target = prediction.Target(params, tokens, flops)
  prediction.require_larger(found.fitted, target)
  made = prediction.forecast(found.fitted, found.iso, found.law, found.errors, target, found.seed)
  return dataclasses.replace(found, forecast=prediction.write(path, made))


def compare(found: Analysis, path: pathlib.Path) -> Analysis:
  """Adds the forecast written earlier and, when its run is held out, in one seed or several, what became of it.

  Raises BadInput for a forecast from other rows than the fitted ones, or of another run than the held-out ones.
  """
  earlier = prediction.read(path)
  if earlier["rows_sha256"] != found.fitted.rows_sha256():
    remedy = "hold out the predicted run (--holdout_budgets=1), or choose another --out or --prediction"
    raise BadInput("was made from other rows than the ones fitted here", path, remedy)
  found = dataclasses.replace(found, forecast=earlier)
  if not len(found.held_out):
    return found
  away = np.hypot(
    np.log(found.held_out.params / earlier["params"]), np.log(found.held_out.tokens / earlier["tokens"])
  )
  if away.min() > SAME_RUN:
    what = f"predicts N = {earlier['params']:.4g}, D = {earlier['tokens']:.4g}, which no held-out run has"
    raise BadInput(what, path, "hold out the predicted run, or give another --out")
  outcome = prediction.judge(earlier, found.held_out.where(away <= SAME_RUN).rows)
  return dataclasses.replace(found, outcome=outcome)


def warnings(found: Analysis) -> list[str]:
  """What a reader must know before quoting a number."""
  said = [f"Parametric law: {text}." for text in found.law.warnings]
  for profile in found.iso.profiles:
    if profile.edge:
      said.append(f"Budget {profile.flops:.2g} FLOPs has no interior minimum: {profile.edge}.")
  if len(found.iso.interior) < 3:
    count = len(found.iso.interior)
    said.append(f"{count} interior minima: a line through them has no degree of freedom left to err.")
  if found.forecast and found.iso.params is not None:
    off = abs(np.log(found.forecast["params"] / found.iso.params(found.forecast["flops"])))
    if off > max(np.abs(np.log(p.runs.params / p.params)).max() for p in found.iso.interior):
      said.append(f"The predicted run is {np.exp(off):.2g} times off N*(C), more than any run of the table.")
  if found.outcome and not found.outcome["written_before"]:
    said.append("Nothing shows that the prediction was written before the run started.")
  return said


def as_json(found: Analysis) -> dict[str, Any]:
  """fit.json; see DESIGN of the repository for its keys. None marks what the table cannot say."""
  law, draws = found.law.law, found.law.draws
  names = ("E", "A", "B", "alpha", "beta", "a", "b")
  intervals = {n: None if draws is None else bootstrap.interval(getattr(draws, n)) for n in names}
  budgets = [
    {
      "flops": p.flops, "runs": len(p.runs), "interior": not p.edge, "edge": p.edge,
      "params": finite(p.params), "tokens": finite(p.tokens), "loss": finite(p.loss),
    }
    for p in found.iso.profiles
  ]  # fmt: skip
  return {
    "approach1": None,
    "approach2": _laws({"a": found.iso.params, "b": found.iso.tokens})
    | {"frontier": _laws({"exponent": found.iso.loss}), "budgets": budgets, "method": isoflop.METHOD},
    "approach3": {n: float(getattr(law, n)) for n in names}
    | {
      "objective": found.law.objective,
      "ci95": intervals,
      "condition": found.law.condition,
      "agreeing_starts": found.law.agreeing,
    },
    "bootstrap_draws": 0 if draws is None else len(draws.E),
    "loss": found.kind,
    "n_runs": len(found.fitted),
    "noise_sd": finite(found.iso.noise),
    "outcome": found.outcome,
    "prediction": found.forecast,
    "roll_out_error": {name: finite(value) for name, value in found.errors.items()},
    "rows_sha256": found.fitted.rows_sha256(),
    "table_sha256": found.fitted.table_sha256,
    "warnings": warnings(found),
  }


def _laws(laws: dict[str, PowerLaw | None]) -> dict[str, Any]:
  values = {name: None if law is None else law.exponent for name, law in laws.items()}
  intervals = {name: None if law is None else bootstrap.interval(law.draws[0]) for name, law in laws.items()}
  return values | {"ci95": intervals}
