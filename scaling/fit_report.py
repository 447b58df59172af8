"""What people see of a fit: its figures, its report, and the finding in a few sentences."""

import pathlib

from data.files import write_json_atomic, write_text_atomic
from scaling import fit_json, fit_tables, glossary
from scaling.analysis import Analysis, as_json, draws_csv
from scaling.figures import gallery
from scaling.report import Figure, Section, write_report


def write(found: Analysis, out: pathlib.Path) -> None:
  """The figures, report.html, and last draws.csv and fit.json: a fit that fails on its way leaves the earlier pair."""
  out.mkdir(parents=True, exist_ok=True)
  gallery.save(found, out, provenance(found))
  write_report(
    out / "report.html",
    "Scaling law",
    sections(found, out),
    subtitle=summary(found),
    footer=provenance(found),
  )
  drawn = draws_csv(found)
  if drawn is None:
    (out / fit_json.DRAWS).unlink(missing_ok=True)
  else:
    write_text_atomic(out / fit_json.DRAWS, drawn)
  write_json_atomic(out / "fit.json", as_json(found))


def provenance(found: Analysis) -> str:
  """One line: table digest, revision of the runs."""
  revisions = sorted({row.get("git_revision", "") for row in found.fitted.rows} - {""})
  made = ", ".join(revision[:12] for revision in revisions[:3]) + (", ..." if len(revisions) > 3 else "")
  return f"run table {found.fitted.table_sha256} (sha256), {len(found.fitted)} runs" + (
    f", git {made}" if made else ""
  )


def summary(found: Analysis) -> str:
  """The finding in a few sentences, its verdict first."""
  text = verdict(found) or growth(found)
  known = f"{len(found.iso.interior)} of {len(found.iso.profiles)} budgets have an interior minimum"
  return f"{text} {len(found.fitted)} runs were fitted; {known}.".strip()


def growth(found: Analysis) -> str:
  """How the best size grows with compute, and the floor of the loss; empty where the law is not settled."""
  if not found.settled:
    return ""
  law, known = found.law.law, as_json(found)["approach3"]["ci95"]
  said = {
    name: "" if known[name] is None else f" [{known[name][0]:.3g}, {known[name][1]:.3g}]" for name in known
  }
  text = f"The best size grows as compute to the power {float(law.a):.3g}{said['a']};"
  return f"{text} the irreducible loss is {float(law.E):.4g}{said['E']} nats per token."


def verdict(found: Analysis) -> str:
  """Predicted, measured, and whether the one lies in the interval of the other; empty without a prediction."""
  forecast, outcome = found.forecast, found.outcome
  if not forecast:
    return ""
  times = f"{forecast['times_largest_budget']:.1f} times the largest fitted budget"
  text = f"Predicted at {times}: {forecast['loss']:.4f} nats per token"
  if forecast["ci95"]:
    text += f", 95% interval {forecast['ci95'][0]:.4f} to {forecast['ci95'][1]:.4f}"
  if not outcome:
    return f"{text}. Not measured yet."
  count, sd = len(outcome["run_ids"]), outcome["loss_sd"]
  seeds = "" if sd is None else f" (mean of {count} runs, sd {sd:.4f})"
  text += f". Measured: {outcome['loss']:.4f}{seeds}, "
  if outcome["inside_ci95"] is not None:
    text += "inside the interval" if outcome["inside_ci95"] else "outside the interval"
    text += ", "
  return text + f"an error of {outcome['loss_error_percent']:+.2f}%."


def sections(found: Analysis, out: pathlib.Path) -> list[Section]:
  """The report's sections, on the figures that `write` left in `out`; the demo puts them between its own."""
  picture = {
    name: Figure((out / name).with_suffix(".svg"), p.alt, p.caption)
    for name, p in gallery.PICTURES.items()
    if (out / name).with_suffix(".svg").exists()
  }

  def shown(*names: str) -> list[Figure]:
    return [picture[name] for name in names if name in picture]

  fit = as_json(found)
  made = [fit_tables.forecast(found, fit, shown("forecast"))] if found.forecast else []
  made += [
    Section("What the law says", fit_tables.units(found), fit_tables.in_short(fit), fit["warnings"]),
    Section(
      "IsoFLOP profiles",
      ("Approach 2: at each compute budget, the size of least loss.",),
      (*shown("isoflop"), fit_tables.budgets(fit)),
    ),
    Section("Compute-optimal size and data", (), (*shown("optima"), *fit_tables.optima(fit))),
    Section(
      "The parametric law",
      (f"Approach 3: L = E + A / N^alpha + B / D^beta, fitted to all runs at once (loss: {found.kind}).",),
      (*shown("contours"), *fit_tables.coefficients(fit), *shown("residuals")),
    ),
    Section(
      "How well the runs settle it",
      fit_tables.identifiability_words(found, fit),
      (*shown("clouds", "likelihood"), fit_tables.coverage(fit)),
    ),
    fit_tables.left_out(found, shown("left_out")),
    fit_tables.drift(found, shown("drift")),
    fit_tables.approach1(found, fit, shown("envelope")),
    Section("The run table", fit["rules"], (fit_tables.ranges(fit), *fit_tables.sensitivity(found))),
    glossary.section(found),
  ]
  return made
