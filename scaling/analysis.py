"""Everything a fit says about one run table: both approaches, the forecast, what came of it, and its files."""

import dataclasses
import pathlib
from typing import Any

import numpy as np

from data.errors import BadInput
from data.files import read_json, write_json_atomic
from scaling import bootstrap, figures, isoflop, parametric, prediction, table
from scaling.isoflop import IsoFlop, PowerLaw
from scaling.report import Cell, Figure, Section, Table, write_report
from scaling.table import Runs

FIGURES = {
  "isoflop": "Held-out loss over model size at each compute budget, and the least loss over compute.",
  "optima": "Compute-optimal size and data over compute, with power laws.",
  "residuals": "Measured over fitted loss of the parametric law, for every run.",
}
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
  """Writes what a run of C = `flops` will reach; at N*(C), D*(C) unless `params` and `tokens` are given."""
  if params is None or tokens is None:
    if found.iso.params is None or found.iso.tokens is None:
      remedy = "give --predict_params and --predict_tokens, or widen the sizes of the sweep"
      raise BadInput(
        "N*(C) needs two budgets with an interior minimum", found.fitted.rows[0]["run_id"], remedy
      )
    params = float(found.iso.params(flops))
    tokens = flops / float(prediction.flops_per_nd(found.fitted, params) * params)
  target = prediction.Target(params, tokens, flops)
  made = prediction.forecast(found.fitted, found.iso, found.law, found.errors, target, found.seed)
  return dataclasses.replace(found, forecast=prediction.write(path, made))


def compare(found: Analysis, path: pathlib.Path) -> Analysis:
  """Adds the forecast written earlier and, when the run is among the held-out ones, what became of it."""
  earlier = read_json(path, "delete it and predict anew")
  found = dataclasses.replace(found, forecast=earlier)
  if not len(found.held_out):
    return found
  away = np.hypot(
    np.log(found.held_out.params / earlier["params"]), np.log(found.held_out.tokens / earlier["tokens"])
  )
  nearest = int(away.argmin())
  if away[nearest] > SAME_RUN:
    what = f"predicts N = {earlier['params']:.4g}, D = {earlier['tokens']:.4g}, which no held-out run has"
    raise BadInput(what, path, "hold out the predicted run, or give another --out")
  outcome = prediction.judge(earlier, found.fitted, found.held_out.rows[nearest])
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
  if found.outcome and not found.outcome["same_table"]:
    said.append("The prediction was made from other rows than the ones fitted here.")
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
      "params": _finite(p.params), "tokens": _finite(p.tokens), "loss": _finite(p.loss),
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
    "noise_sd": _finite(found.iso.noise),
    "outcome": found.outcome,
    "prediction": found.forecast,
    "roll_out_error": {name: _finite(value) for name, value in found.errors.items()},
    "rows_sha256": found.fitted.rows_sha256(),
    "table_sha256": found.fitted.table_sha256,
    "warnings": warnings(found),
  }


def _laws(laws: dict[str, PowerLaw | None]) -> dict[str, Any]:
  values = {name: None if law is None else law.exponent for name, law in laws.items()}
  intervals = {name: None if law is None else bootstrap.interval(law.draws[0]) for name, law in laws.items()}
  return values | {"ci95": intervals}


def _finite(value: float) -> float | None:
  return float(value) if np.isfinite(value) else None


def write(found: Analysis, out: pathlib.Path) -> None:
  """fit.json, the figures, and last report.html."""
  out.mkdir(parents=True, exist_ok=True)
  write_json_atomic(out / "fit.json", as_json(found))
  outcomes = found.held_out if len(found.held_out) else None

  def least(flops: float) -> float:
    at = prediction.optimum(found.law.law, found.fitted, flops)
    return float(found.law.law.loss(at.params, at.tokens))

  drawn = {
    "isoflop": figures.isoflop(found.iso, least, outcomes, found.forecast),
    "optima": figures.optima(found.iso),
    "residuals": figures.residuals(found.fitted, isoflop.budgets(found.fitted.flops), found.law.residuals),
  }
  for name, figure in drawn.items():
    figures.save(figure, out / name, provenance(found))
  write_report(
    out / "report.html",
    "Scaling law",
    sections(found, out),
    subtitle=summary(found),
    footer=provenance(found),
  )


def provenance(found: Analysis) -> str:
  """One line: table digest, revision of the runs."""
  revisions = sorted({row.get("git_revision", "") for row in found.fitted.rows} - {""})
  made = ", ".join(revision[:12] for revision in revisions[:3]) + (", ..." if len(revisions) > 3 else "")
  return f"run table {found.fitted.table_sha256[:16]}, {len(found.fitted)} runs" + (
    f", git {made}" if made else ""
  )


def summary(found: Analysis) -> str:
  """The finding in one sentence or two."""
  interior = f"{len(found.iso.interior)} of {len(found.iso.profiles)} budgets have an interior minimum"
  text = f"{len(found.fitted)} runs; {interior}."
  if found.forecast:
    text += f" Predicted at {found.forecast['times_largest_budget']:.1f} times the largest budget:"
    text += f" {found.forecast['loss']:.4f} nats per token."
  if found.outcome:
    text += f" Measured: {found.outcome['loss']:.4f}, an error of {found.outcome['loss_error_percent']:+.2f}%"
    if found.outcome["drop_error_percent"] is not None:
      text += f" ({found.outcome['drop_error_percent']:+.0f}% of the drop)"
    text += "."
  return text


def sections(found: Analysis, out: pathlib.Path) -> list[Section]:
  """The report's sections; the demo puts them between its own."""
  picture = {name: Figure(out / f"{name}.png", alt, alt) for name, alt in FIGURES.items()}
  fit = as_json(found)
  budgets: list[list[Cell]] = [
    [b["flops"], b["runs"], b["params"], b["tokens"], b["loss"], b["edge"] or "interior"]
    for b in fit["approach2"]["budgets"]
  ]
  profile = Table(("C (FLOPs)", "runs", "N*", "D*", "L*", "minimum"), budgets, isoflop.METHOD)
  exponents: list[list[Cell]] = [
    [name, law, value, *(interval or (None, None))]
    for name, law, value, interval in (
      ("a", "N* ~ C^a, profiles", fit["approach2"]["a"], fit["approach2"]["ci95"]["a"]),
      ("b", "D* ~ C^b, profiles", fit["approach2"]["b"], fit["approach2"]["ci95"]["b"]),
      *(
        (name, meaning, fit["approach3"][name], fit["approach3"]["ci95"][name])
        for name, meaning in (
          ("a", "N* ~ C^a, parametric"), ("b", "D* ~ C^b, parametric"), ("E", "irreducible loss"),
          ("A", "L = E + A/N^alpha + B/D^beta"), ("B", ""), ("alpha", ""), ("beta", ""),
        )
      ),
    )
  ]  # fmt: skip
  made = [
    Section("IsoFLOP profiles", (), (picture["isoflop"], profile)),
    Section("Compute-optimal size and data", (), (picture["optima"],)),
    Section(
      "Coefficients",
      (f"Intervals are 95%, from {fit['bootstrap_draws']} bootstrap draws; loss: {found.kind}.",),
      (Table(("", "meaning", "value", "low", "high"), exponents), picture["residuals"]),
      fit["warnings"],
    ),
  ]
  return ([_forecast_section(found)] if found.forecast else []) + made


def _forecast_section(found: Analysis) -> Section:
  forecast, outcome = found.forecast or {}, found.outcome or {}
  low, high = forecast["ci95"] or (None, None)
  drop_low, drop_high = forecast["drop_ci95"] or (None, None)
  drop_error, loss_error = outcome.get("drop_error_percent"), outcome.get("loss_error_percent")
  rows: list[list[Cell]] = [
    ["loss (nats per token)", forecast["loss"], low, high, outcome.get("loss"), loss_error],
    ["drop from the largest budget's best", forecast["drop"], drop_low, drop_high, outcome.get("drop"), drop_error],
  ]  # fmt: skip
  header = ("", "predicted", "low", "high", "measured", "error (%)")
  rolled: list[list[Cell]] = [
    [name, forecast["estimates"][name], None if error is None else 100 * error, name == forecast["estimator"]]
    for name, error in forecast["roll_out_error"].items()
  ]
  text = f"N = {forecast['params']:.3g}, D = {forecast['tokens']:.3g}, C = {forecast['flops']:.3g} FLOPs,"
  text += f" {forecast['times_largest_budget']:.1f} times the largest fitted budget."
  text += f" Written {forecast['time']}"
  if outcome.get("started_at"):
    text += f", before the run started ({outcome['started_at']})" if outcome["written_before"] else ""
  return Section(
    "A larger run, predicted",
    (text + ".", f"Estimator chosen by a rule that sees no outcome: {forecast['rule']}."),
    (
      Table(header, rows),
      Table(("estimator", "prediction", "roll-out error (%)", "used"), rolled, "Candidates"),
    ),
  )
