"""The numbers of a fit as tables and sentences beside its figures."""

from collections.abc import Sequence
from typing import Any

from scaling import glossary
from scaling.analysis import Analysis
from scaling.figures.axes import MANY, short
from scaling.figures.stability import ESTIMATORS
from scaling.report import Cell, Figure, Section, Table

ROLLED = "The candidates, and how well each foretold larger budgets of this table from smaller ones (rms)."
MEANINGS = {
  "E": "irreducible loss (nats per token)", "A": "of A / N^alpha", "B": "of B / D^beta",
  "alpha": "exponent of size", "beta": "exponent of data", "a": "N* ~ C^a", "b": "D* ~ C^b",
}  # fmt: skip


def units(found: Analysis) -> list[str]:
  """What is counted, and in what."""
  counted = glossary.COUNTS[found.fitted.convention]
  text = f"N counts parameters ({counted}), D training tokens, C training FLOPs; losses are held-out nats per token."
  return [" ".join((text, glossary.one_token(found))).strip() + " Words are explained at the end."]


def in_short(fit: dict[str, Any]) -> list[Table]:
  rows: list[list[Cell]] = []
  for name, approach in (
    ("training curves", "approach1"),
    ("IsoFLOP minima", "approach2"),
    ("parametric law", "approach3"),
  ):
    own = fit[approach]
    if own is not None:
      for exponent in ("a", "b"):
        rows.append([MEANINGS[exponent], name, own[exponent], *_ends(own["ci95"][exponent])])
  law = fit["approach3"]
  rows.append(["irreducible loss E (nats per token)", "parametric law", law["E"], *_ends(law["ci95"]["E"])])
  header = ("", "from", "value", "95% low", "95% high")
  return [
    Table(
      header,
      rows,
      f"Intervals from {fit['bootstrap_draws']} bootstrap draws; a dash where too few of them allow one.",
    )
  ]


def budgets(fit: dict[str, Any]) -> Table:
  own = fit["approach2"]
  listed = [b for b in own["budgets"] if b["params"] is not None or len(own["budgets"]) <= MANY]
  rows: list[list[Cell]] = [
    [b["flops"], b["runs"], _short(b["params"]), _short(b["tokens"]), b["loss"], b["edge"] or "interior"]
    for b in listed
  ]
  header = ("C (FLOPs)", "runs", "N* (parameters)", "D* (tokens)", "L* (nats per token)", "minimum")
  unlisted = len(own["budgets"]) - len(listed)
  rest = f" {unlisted} budgets without any minimum are in fit.json only." if unlisted else ""
  return Table(header, rows, f"Minima by {own['method']}.{rest}")


def optima(fit: dict[str, Any]) -> list[Table]:
  """N*, D*, L* at some C, by approach."""
  rows: list[list[Cell]] = []
  for at in fit["optimum"]:
    for key, name in (("approach2", "IsoFLOP minima"), ("approach3", "parametric law")):
      found = at.get(key)
      if found:
        cells = [_with_interval(found[n], found["ci95"][n]) for n in ("params", "tokens", "loss")]
        rows.append([at["flops"], name, *cells])
  header = ("C (FLOPs)", "from", "N* (parameters)", "D* (tokens)", "L* (nats per token)")
  return [Table(header, rows, "Best use of a compute budget, with 95% intervals.")] if rows else []


def coefficients(fit: dict[str, Any]) -> list[Table]:
  law = fit["approach3"]
  if law["E"] is None:
    return []
  profiles = law["profile95"]
  if "a" in profiles:  # b is 1 - a
    low, high = profiles["a"]
    profiles = profiles | {"b": [None if end is None else 1 - end for end in (high, low)]}
  rows: list[list[Cell]] = [
    [
      name,
      meaning,
      law[name],
      law["standard_error"][name],
      _span(law["ci95"][name]),
      _span(profiles.get(name)),
    ]
    for name, meaning in MEANINGS.items()
  ]
  header = ("", "meaning", "value", "standard error", "95%, bootstrap", "95%, profile")
  return [
    Table(
      header,
      rows,
      "Two kinds of 95% interval: resampled runs, and profile likelihood; an end that the runs do not bound is open.",
    )
  ]


def identifiability_words(found: Analysis, fit: dict[str, Any]) -> list[str]:
  law = fit["approach3"]
  text = f"{law['agreeing_starts']:.0%} of the fit's starts end in the same optimum."
  if law["condition"] is not None:
    text += f" Condition number {law['condition']:.3g} (above 1e6 the coefficients are not identifiable)."
  by = {"case": "runs", "run": "runs with all their checkpoints", "noise": "residuals"}[
    found.options.bootstrap_by
  ]
  text += f" The bootstrap draws {by} anew, {fit['bootstrap_draws']} times."
  if found.law.draws is None:
    text += " Without draws there are no clouds."
  return [text, *(f"{r['what'].capitalize()}." for r in law["refusals"])]


def coverage(fit: dict[str, Any]) -> Table:
  seen = fit["coverage"]
  rows: list[list[Cell]] = [
    ["runs", seen["runs"]], ["sizes", seen["sizes"]], ["amounts of data", seen["amounts"]],
    ["decades of N", seen["params_decades"]], ["decades of D", seen["tokens_decades"]],
    ["decades of D / N", seen["ratio_decades"]],
    ["spread across the main line of (ln N, ln D), sd", seen["across"]],
  ]  # fmt: skip
  return Table(("the runs cover", ""), rows)


def left_out(found: Analysis, pictures: Sequence[Figure]) -> Section:
  """Leave-one-budget-out."""
  names = [n for n in ESTIMATORS if any(n in left.errors for left in found.left_out)]
  rows: list[list[Cell]] = [
    [left.flops, left.runs, *(left.errors.get(n) for n in names)] for left in found.left_out
  ]
  header = ("C left out (FLOPs)", "runs", *(f"{_plain(n)} (%)" for n in names))
  text = (
    "The law without each budget in turn, asked for that budget's loss: predicted above measured, in percent."
  )
  if not names:
    return Section("Each budget left out", ("Too few budgets: without any of them, nothing can be fitted.",))
  return Section("Each budget left out", (text,), (*pictures, Table(header, rows)))


def drift(found: Analysis, pictures: Sequence[Figure]) -> Section:
  """Fit-window drift."""
  if not found.drift:
    return Section("Windows of budgets", ("Fewer than three budgets make no window to compare.",))
  columns = {
    "approach2_a": "a, minima", "approach3_a": "a, parametric", "alpha": "alpha", "beta": "beta",
    "E": "E (nats per token)",
  }  # fmt: skip
  rows: list[list[Cell]] = [
    [*w.flops, w.runs, *(w.values.get(name) for name in columns)] for w in found.drift
  ]
  header = ("from C (FLOPs)", "to C (FLOPs)", "runs", *columns.values())
  return Section(
    "Windows of budgets",
    (
      "The fit repeated on the smallest and on the largest budgets only; a dash is what a window does not settle.",
    ),
    (*pictures, Table(header, rows)),
  )


def approach1(found: Analysis, fit: dict[str, Any], pictures: Sequence[Figure]) -> Section:
  """The training-curve envelope."""
  title, own = "Training-curve envelope", fit["approach1"]
  if own is None:
    return Section(
      title, ("Approach 1 needs training curves (curves.csv beside the run table); there are none.",)
    )
  rows: list[list[Cell]] = [[MEANINGS[n], own[n], *_ends(own["ci95"][n])] for n in ("a", "b")]
  text = f"Approach 1: at each compute the run of least {own['curves_loss']} loss, from {own['curves']} training curves"
  text += f" of {own['sizes']} sizes that win somewhere; intervals from whole runs drawn anew."
  if own["progress"] is not None:
    text += f" The winners stand at {own['progress']:.0%} of their schedule (median)."
  notes = [f"{r['what'].capitalize()}: {r['remedy']}." for r in own["refusals"]]
  return Section(title, (text,), (*pictures, Table(("", "value", "95% low", "95% high"), rows)), notes)


def ranges(fit: dict[str, Any]) -> Table:
  names = {
    "params": "N (parameters)", "tokens": "D (tokens)", "flops": "C (FLOPs)", "tokens_per_parameter": "D / N",
  }  # fmt: skip
  rows: list[list[Cell]] = [[words, *fit["ranges"][name]] for name, words in names.items()]
  rows.append(["C / (6 N D)", *fit["flops_over_6nd"]["range"]])
  text = f"{fit['n_runs']} fitted runs; N counts {fit['params_convention'].replace('_', '-')} parameters."
  return Table(("", "least", "most"), rows, text)


def sensitivity(found: Analysis) -> list[Table]:
  """What the rule on the largest losses changes."""
  if not found.cuts:
    return []
  names = ("E", "A", "B", "alpha", "beta", "a")
  rows: list[list[Cell]] = [[c.dropped, c.runs, *(c.values[n] for n in names)] for c in found.cuts]
  return [
    Table(("largest losses dropped", "runs", *names), rows, "What dropping the largest losses changes.")
  ]


def forecast(found: Analysis, fit: dict[str, Any], pictures: Sequence[Figure]) -> Section:
  """Prediction against outcome."""
  made, outcome = fit["prediction"], fit["outcome"] or {}
  header = ("", "predicted", "95% low", "95% high", "measured", "error (%)")
  rows: list[list[Cell]] = [
    [f"{n} (nats per token)", made[n], *_ends(made[c]), outcome.get(n), outcome.get(f"{n}_error_percent")]
    for n, c in (("loss", "ci95"), ("drop", "drop_ci95"))
  ]
  rolled: list[list[Cell]] = [
    [_plain(name), made["estimates"][name], None if e is None else 100 * e, name == made["estimator"]]
    for name, e in made["roll_out_error"].items()
  ]
  text = f"N = {short(made['params'])} parameters, D = {short(made['tokens'])} tokens, C = {made['flops']:.3g} FLOPs,"
  text += f" {made['times_largest_budget']:.1f} times the largest fitted budget. Written {made['time']}"
  if outcome.get("started_at"):
    text += (
      f", {'before' if outcome['written_before'] else 'not before'} the run started ({outcome['started_at']})"
    )
  words = [text + "."]
  if outcome.get("inside_ci95") is not None:
    where = "inside" if outcome["inside_ci95"] else "outside"
    words.insert(0, f"The outcome lies {where} the 95% interval of the prediction.")
  words.append(
    "Drop: the best loss of the largest fitted budget less this one. The estimator was chosen by a rule that sees no"
    f" outcome: {made['rule']}."
  )
  tables = (
    Table(header, rows),
    Table(("estimator", "prediction", "roll-out error (%)", "used"), rolled, ROLLED),
  )
  return Section("A larger run, predicted", words, (*pictures, *tables))


def _short(value: float | None) -> Cell:
  return None if value is None else short(value)


def _plain(estimator: str) -> str:
  """What figures call an estimator, without their notation."""
  return ESTIMATORS.get(estimator, (estimator,))[0].replace("$", "")


def _ends(interval: Sequence[float | None] | None) -> tuple[Cell, Cell]:
  return (None, None) if interval is None else (interval[0], interval[1])


def _span(interval: Sequence[float | None] | None) -> Cell:
  if interval is None:
    return None
  return " to ".join("open" if end is None else f"{end:.4g}" for end in interval)


def _with_interval(value: float, interval: Sequence[float] | None) -> str:
  return short(value) + ("" if interval is None else f" [{short(interval[0])}, {short(interval[1])}]")
