"""What people see of a fit: its figures, its report, and the finding in one sentence."""

import pathlib

from data.files import write_json_atomic
from scaling import figures, isoflop, prediction
from scaling.analysis import Analysis, as_json
from scaling.report import Cell, Figure, Section, Table, write_report

FIGURES = {
  "isoflop": "Held-out loss over model size at each compute budget, and the least loss over compute.",
  "optima": "Compute-optimal size and data over compute, with power laws.",
  "residuals": "Measured over fitted loss of the parametric law, for every run.",
}


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
    count, sd = len(found.outcome["run_ids"]), found.outcome["loss_sd"]
    seeds = "" if sd is None else f" (mean of {count} runs, sd {sd:.4f})"
    text += f" Measured: {found.outcome['loss']:.4f}{seeds}, an error of {found.outcome['loss_error_percent']:+.2f}%"
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
