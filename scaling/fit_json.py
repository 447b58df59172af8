"""fit.json and draws.csv: what a fit leaves for machines, key by key.

draws.csv holds one row per bootstrap draw: E, A, B, alpha, beta of Approach 3, whose five belong together, and the
lines ln N* = intercept + exponent ln C (a), ln D* (b) and ln L* of Approaches 1 and 2. Approaches resample different
things, so that only columns of one approach belong together. fit.json carries its digest.
"""

import csv
import dataclasses
import hashlib
import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from scaling import curves
from scaling.fitting import bootstrap, identifiability, isoflop, parametric
from scaling.fitting.bootstrap import Resampling
from scaling.fitting.envelope import Envelope
from scaling.fitting.isoflop import IsoFlop, PowerLaw
from scaling.fitting.prediction import finite
from scaling.fitting.profile import Interval
from scaling.fitting.refusals import AtBound, NoFloor, Refusal
from scaling.table import Runs

DRAWS = "draws.csv"
NAMES = ("E", "A", "B", "alpha", "beta", "a", "b")


def approach1(found: Envelope | None, made_of: int, files: Sequence[str]) -> dict[str, Any] | None:
  """None without training curves."""
  if found is None:
    return None
  return _lines({"a": found.size, "b": found.data}) | {
    "curves": made_of,
    "curves_sha256": list(files),
    "curves_loss": curves.LOSS,
    "points": len(found.flops),
    "sizes": len(np.unique(found.params)),
    "flops": [finite(v) for v in found.flops[[0, -1]]] if len(found.flops) else None,
    "progress": finite(found.progress),
    "refusals": _refusals(found.refusals),
  }


def approach2(found: IsoFlop) -> dict[str, Any]:
  budgets = [
    {
      "flops": p.flops, "runs": len(p.runs), "interior": not p.edge, "edge": p.edge,
      "params": finite(p.params), "tokens": finite(p.tokens), "loss": finite(p.loss),
    }
    for p in found.profiles
  ]  # fmt: skip
  return _lines({"a": found.params, "b": found.tokens}) | {
    "frontier": _lines({"exponent": found.loss}),
    "budgets": budgets,
    "minimum": found.method,
    "method": isoflop.METHODS[found.method],
    "line": found.line,
    "refusals": _refusals(found.refusals),
  }


def approach3(
  found: parametric.Fit, settled: bool, profiles: dict[str, Interval], resampling: Resampling
) -> dict[str, Any]:
  """Coefficients are None when the table cannot settle them."""
  intervals = {
    n: None
    if found.draws is None or not settled
    else resampling.interval(getattr(found.draws, n), float(getattr(found.law, n)))
    for n in NAMES
  }
  return {n: float(getattr(found.law, n)) if settled else None for n in NAMES} | {
    "objective": found.objective,
    "ci95": intervals,
    "standard_error": {
      n: None
      if found.draws is None or not settled
      else finite(float(np.std(getattr(found.draws, n), ddof=1)))
      for n in NAMES
    },
    "profile95": {
      n: [None if v is None else finite(v) for v in (i.low, i.high)] for n, i in profiles.items()
    },
    "condition": finite(found.condition),
    "agreeing_starts": found.agreeing,
    "at_bounds": [r.what for r in found.refusals if isinstance(r, AtBound | NoFloor)],
    "refusals": _refusals(found.refusals),
  }


def table(runs: Runs) -> dict[str, Any]:
  """What the rows cover, how their FLOPs compare with 6 N D, and how they were read."""
  ratio = runs.flops / (6 * runs.params * runs.tokens)
  seen = identifiability.coverage(runs.params, runs.tokens)
  ranges = {n: [float(v.min()), float(v.max())] for n, v in _columns(runs).items()}
  return {
    "coverage": {k: v if isinstance(v, int) else finite(v) for k, v in dataclasses.asdict(seen).items()},
    "ranges": ranges,
    "flops_over_6nd": {"median": float(np.median(ratio)), "range": [float(ratio.min()), float(ratio.max())]},
    "params_convention": runs.convention,
    "rules": list(runs.rules),
    "n_runs": len(runs),
    "rows_sha256": runs.rows_sha256(),
    "table_sha256": runs.table_sha256,
  }


def _columns(runs: Runs) -> dict[str, np.ndarray]:
  return {
    "params": runs.params,
    "tokens": runs.tokens,
    "flops": runs.flops,
    "tokens_per_parameter": runs.tokens / runs.params,
  }


def draws_csv(law: parametric.Fit, iso: IsoFlop, envelope: Envelope | None) -> str | None:
  """The text of draws.csv; None without draws."""
  if law.draws is None:
    return None
  columns = {n: np.asarray(getattr(law.draws, n)) for n in NAMES[:5]}
  lines = {"approach2_a": iso.params, "approach2_b": iso.tokens, "approach2_loss": iso.loss}
  if envelope is not None:
    lines |= {"approach1_a": envelope.size, "approach1_b": envelope.data}
  for name, line in lines.items():
    if line is not None:
      columns |= {name: line.draws[0], f"{name}_intercept": line.draws[1]}
  text = io.StringIO()
  writer = csv.writer(text, lineterminator="\n")
  writer.writerow(columns)
  for row in zip(*(values.tolist() for values in columns.values()), strict=True):
    writer.writerow("" if value != value else repr(value) for value in row)
  return text.getvalue()


def draws(text: str | None, resampling: Resampling, seed: int) -> dict[str, Any] | None:
  """Where the draws are, what was drawn, and from which seed; "parametric" is what their intervals need besides."""
  if text is None:
    return None
  return {
    "file": DRAWS,
    "sha256": hashlib.sha256(text.encode()).hexdigest(),
    "seed": seed,
    "resampled": {"approach1": "run", "approach2": "noise", "approach3": resampling.way},
    "parametric": dataclasses.asdict(resampling),
  }


def _refusals(found: Sequence[Refusal]) -> list[dict[str, str]]:
  return [refusal.as_json() for refusal in found]


def _lines(laws: dict[str, PowerLaw | None]) -> dict[str, Any]:
  values = {name: None if law is None else law.exponent for name, law in laws.items()}
  intervals = {name: None if law is None else bootstrap.interval(law.draws[0]) for name, law in laws.items()}
  return values | {"ci95": intervals}
