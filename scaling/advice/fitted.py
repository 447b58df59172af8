"""A fit read back: the law, its joint draws, the lines of Approach 2, and how far the table reaches.

fit.json names the draws.csv beside it and its digest: one row for each bootstrap draw, in which E, A, B, alpha, beta
belong together, so that an interval of anything computed from them knows how they vary together.
"""

import csv
import dataclasses
import io
import os
import pathlib
from typing import Any

import numpy as np

from data.errors import BadInput
from data.files import read_json, sha256
from scaling.fitting.bootstrap import Resampling
from scaling.fitting.isoflop import PowerLaw
from scaling.laws.hoffmann import Law

COEFFICIENTS = ("E", "A", "B", "alpha", "beta")
REMEDY = "give the fit.json of scaling.fit"
AGAIN = "fit the table again: scaling.fit --bootstrap=1000"
REACH = ("flops", "params", "tokens")
CONVENTION = "non_embedding"  # what our configs count as N


@dataclasses.dataclass(frozen=True)
class Fitted:
  """Attributes:
  law, draws: Approach 3, one law and one of [draws].
  lines: N*(C), D*(C), L*(C) of Approach 2 as "params", "tokens", "loss"; None where its profiles have no line.
  resampling: what the draws of Approach 3 are from.
  ranges: [least, largest] of "flops", "params", "tokens" in the table.
  flops_over_6nd: [least, largest] C / (6 N D) of its runs.
  noise: standard deviation of ln L between runs that differ by chance. roll_out: what Approach 3 erred by, in ln L,
    when asked for a budget from those below. NaN where the table cannot say.
  warnings: what the fit warns of. about: `n_runs`, `loss` (its kind), `table_sha256`.
  """

  path: pathlib.Path
  law: Law
  draws: Law
  resampling: Resampling
  lines: dict[str, PowerLaw | None]
  ranges: dict[str, tuple[float, float]]
  flops_over_6nd: tuple[float, float]
  noise: float
  roll_out: float
  warnings: tuple[str, ...]
  about: dict[str, Any]


def read(path: os.PathLike | str) -> Fitted:
  """Reads fit.json and the draws beside it.

  Raises BadInput for a file that is no fit.json or an older one, a law that was refused, another count of N, draws
  that are absent or belong to another fit.
  """
  path = pathlib.Path(path)
  values = read_json(path, REMEDY)
  for name in ("approach2", "approach3", "table_sha256", "n_runs", "loss"):
    if name not in values:
      raise BadInput(f"has no {name!r}", path, REMEDY)
  for name in ("draws", "ranges", "flops_over_6nd", "params_convention"):
    if name not in values:
      raise BadInput(f"has no {name!r}: it was written by an older scaling.fit", path, AGAIN)
  law = values["approach3"]
  if law is None or any(law.get(name) is None for name in COEFFICIENTS):
    why = next((r["what"] for r in (law or {}).get("refusals", ())), "its coefficients are refused")
    raise BadInput(f"holds no parametric law: {why}", path, "widen the table and fit it again")
  if values["params_convention"] != CONVENTION:
    what = f"counts N as {values['params_convention']}, our configs as {CONVENTION}"
    raise BadInput(what, path, "fit a table that counts so")
  columns = _draws(path, values["draws"])
  return Fitted(
    path,
    Law(*(_positive(path, f"approach3.{name}", law[name]) for name in COEFFICIENTS)),
    Law(*(columns[name] for name in COEFFICIENTS)),
    _resampling(path, values["draws"]),
    _lines(values["approach2"], columns),
    {n: _ends(path, f"ranges.{n}", values["ranges"][n]) for n in REACH},
    _ends(path, "flops_over_6nd.range", values["flops_over_6nd"]["range"]),
    _or_nan(values.get("noise_sd")),
    _or_nan(values.get("roll_out_error", {}).get("parametric")),
    tuple(values.get("warnings", ())),
    {name: values[name] for name in ("n_runs", "loss", "table_sha256")},
  )


def _lines(found: dict[str, Any], columns: dict[str, np.ndarray]) -> dict[str, PowerLaw | None]:
  """Lines of least squares pass through the mean of their points: that is where their intercepts are from."""
  interior = [b for b in found["budgets"] if b["interior"]]
  lines: dict[str, PowerLaw | None] = {}
  for name, column in (("params", "a"), ("tokens", "b"), ("loss", "loss")):
    exponent = found["frontier"]["exponent"] if name == "loss" else found[column]
    if exponent is None or found.get("line", "ols") != "ols":
      lines[name] = None
      continue
    intercept = np.mean([np.log(b[name]) - exponent * np.log(b["flops"]) for b in interior])
    drawn = np.stack([columns[f"approach2_{column}"], columns[f"approach2_{column}_intercept"]])
    lines[name] = PowerLaw(float(exponent), float(intercept), drawn)
  return lines


def _draws(path: pathlib.Path, said: dict[str, Any] | None) -> dict[str, np.ndarray]:
  """The columns of draws.csv; empty cells are NaN."""
  if said is None:
    raise BadInput("was fitted without draws (--bootstrap=0): nothing can have an interval", path, AGAIN)
  beside = path.with_name(said["file"])
  if not beside.exists():
    remedy = f"keep it beside {path.name}, or {AGAIN}"
    raise BadInput("is missing, and intervals come from it", beside, remedy)
  if sha256(beside) != said["sha256"]:
    raise BadInput(f"does not belong to {path.name}: its digest is another", beside, AGAIN)
  rows = list(csv.reader(io.StringIO(beside.read_text(encoding="utf-8"))))
  cells = np.array([[float(cell or "nan") for cell in row] for row in rows[1:]])
  return dict(zip(rows[0], cells.T, strict=True))


def _resampling(path: pathlib.Path, said: dict[str, Any]) -> Resampling:
  try:
    return Resampling(**said["parametric"])
  except (KeyError, TypeError):
    raise BadInput("does not say what its draws are from", path, AGAIN) from None


def _ends(path: pathlib.Path, name: str, values: Any) -> tuple[float, float]:
  low, high = values
  return _positive(path, name, low), _positive(path, name, high)


def _positive(path: pathlib.Path, name: str, value: Any) -> float:
  if not isinstance(value, int | float) or not 0 < value < float("inf"):
    raise BadInput(f"{name} is {value!r}, no positive number", path, AGAIN)
  return float(value)


def _or_nan(value: float | None) -> float:
  return float("nan") if value is None else float(value)
