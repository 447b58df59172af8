"""What must not be in a run table: cells that are no numbers, runs twice, other units, other counts, other tasks.

Every message names the row (as an editor counts lines), the column and the remedy.
"""

import math
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from data.errors import BadInput

COMPARABLE = ("family", "objective", "split_fingerprint")
# A run's FLOPs are 2 to 20 times its N D: attention, logits and small models push the factor up, embeddings
# left out of N further. Outside these bounds a column is in thousands, millions or billions.
FLOPS_PER_ND = (0.5, 500.0)
TOKENS_PER_PARAMETER = (1e-2, 1e6)
GAP = 1e4  # between neighbouring values of one column: nobody leaves that much out
LOSS_GAP = 30.0  # between neighbouring losses
UNITS = {3: "thousands", 6: "millions", 9: "billions", 12: "trillions"}
Rows = Sequence[Mapping[str, str]]
Numbers = Mapping[str, np.ndarray]


def numbers(path: pathlib.Path, name: str, cell: str, rows: Rows, lines: list[int]) -> np.ndarray:
  """float64 [R] of `name`, from the column `cell`."""
  values = np.empty(len(rows), np.float64)  # never int64: FLOPs pass 2^63
  for i, row in enumerate(rows):
    try:
      values[i] = float(row[cell])
    except ValueError:
      values[i] = np.nan
    if not (np.isfinite(values[i]) and values[i] > 0):
      remedy = "leave the run out or run it again: it must be a positive finite number"
      raise BadInput(f"{name} is {row[cell]!r}", f"{path} line {lines[i]}", remedy)
  return values


def refuse_duplicates(
  path: pathlib.Path, numbers: Numbers, rows: Rows, lines: list[int], checkpoints: bool
) -> None:
  """One row for each run; with `checkpoints`, one for each run and amount of tokens."""
  narrows = "a run counted twice narrows intervals"
  for name in ("run_id", "config_hash"):
    first: dict[str, list[int]] = {}
    for i, row in enumerate(rows):
      if not row.get(name):
        continue
      for k in first.setdefault(row[name], []):
        same = numbers["tokens"][i] == numbers["tokens"][k]
        if checkpoints and not same:
          continue
        what = f"{name} {row[name]!r} is already on line {lines[k]}"
        remedy = "keep one of the two" if same else "keep its end, or give --bootstrap_by=run for checkpoints"
        raise BadInput(what, f"{path} line {lines[i]}", f"{remedy}: {narrows}")
      first[row[name]].append(i)
  seen: dict[tuple, int] = {}
  for i, row in enumerate(rows):
    same_run = *(float(values[i]) for values in numbers.values()), row.get("seed", "")
    if same_run in seen:
      what = (
        f"params, tokens, flops, loss and seed are those of line {lines[seen[same_run]]}, to the last digit"
      )
      raise BadInput(what, f"{path} line {lines[i]}", f"keep one of the two: {narrows}")
    seen[same_run] = i


def refuse_units(
  path: pathlib.Path, numbers: Numbers, lines: list[int], names: Mapping[str, str], derived: str | None
) -> None:
  """Columns in thousands, millions or billions, in some rows or all.

  names: what columns are called in the file, where that is not our name. derived: the column that is not in it.
  """

  def called(name: str) -> str:
    return f"{name} ({names[name]})" if names.get(name, name) != name else name

  ratio = numbers["flops"] / (numbers["params"] * numbers["tokens"])
  wrong = (ratio < FLOPS_PER_ND[0]) | (ratio > FLOPS_PER_ND[1])
  if wrong.any():
    i = int(np.flatnonzero(wrong)[0])
    name, power = _suspect(numbers, ratio, wrong, i)
    times = f"flops are {ratio[i]:.3g} times params x tokens (6 is usual)"
    unit = UNITS.get(abs(power), f"units of 1e{abs(power)}")
    which = "" if not wrong.all() else " in all rows" if len(ratio) > 1 else ""
    seems = f"seems to be in {unit}" if power > 0 else f"seems to be 1e{-power} times too large"
    what = f"{times}{which}: {called(name)} is {numbers[name][i]:.4g} and {seems}"
    raise BadInput(what, f"{path} line {lines[i]}", f"give {name} in units of one")
  for name in ("params", "tokens", "flops", "loss"):
    if name == derived:
      continue
    order = np.argsort(numbers[name])
    values = numbers[name][order]
    jumps = values[1:] / values[:-1]
    if len(jumps) and jumps.max() > (LOSS_GAP if name == "loss" else GAP):
      k = int(jumps.argmax()) + 1
      i = int(order[k - 1] if k <= len(order) / 2 else order[k])  # the smaller side is the odd one
      between = f"{values[k - 1]:.4g} and {values[k]:.4g}"
      what = f"{called(name)} is {numbers[name][i]:.4g}, and no run lies between {between}"
      unit = "nats per token" if name == "loss" else "units of one"
      remedy = f"give {name} in {unit} in every row, or fit the two kinds of runs apart"
      raise BadInput(what, f"{path} line {lines[i]}", remedy)
  each = numbers["tokens"] / numbers["params"]
  odd = np.flatnonzero((each < TOKENS_PER_PARAMETER[0]) | (each > TOKENS_PER_PARAMETER[1]))
  if len(odd):
    given = [called(name) for name in ("params", "tokens", "flops") if name != derived]
    what = f"{' and '.join(given)} make {each[odd[0]]:.3g} tokens per parameter (1 to 1000 is usual)"
    raise BadInput(what, f"{path} line {lines[odd[0]]}", f"give {' and '.join(given)} in units of one")


def _suspect(numbers: Numbers, ratio: np.ndarray, wrong: np.ndarray, i: int) -> tuple[str, int]:
  """The column that row i most likely has in another unit, and the power of ten that mends it.

  Beside right rows it is the one that mending brings among them; when all are wrong, the smallest column.
  """
  power = 3 * max(round(abs(math.log10(ratio[i] / 6)) / 3), 1)
  up = ratio[i] > 6  # N or D too small, or C too large
  signs = {"params": 1 if up else -1, "tokens": 1 if up else -1, "flops": -1 if up else 1}
  if wrong.all():
    small = [name for name, sign in signs.items() if sign > 0]
    return min(small, key=lambda name: float(np.median(numbers[name]))), power

  def away(name: str) -> float:
    mended = math.log(numbers[name][i]) + signs[name] * power * math.log(10)
    return abs(mended - float(np.median(np.log(numbers[name][~wrong]))))

  name = min(signs, key=away)
  return name, signs[name] * power


def refuse_counts(path: pathlib.Path, numbers: Numbers, rows: Rows, lines: list[int], counted: str) -> None:
  """Rows whose N counts other parameters than their neighbours' does, told by `params_total` and `flops_6nd`."""
  if counted != "params":
    return
  total = [_number(row.get("params_total")) for row in rows]
  equal = [t == n for t, n in zip(total, numbers["params"], strict=True) if not math.isnan(t)]
  for i, row in enumerate(rows):
    params, where = numbers["params"][i], f"{path} line {lines[i]}"
    if total[i] < params:
      what = f"params is {params:.10g}, more than params_total, {total[i]:.10g}"
      raise BadInput(what, where, "exchange them, or count again")
    if total[i] == params and not all(equal):
      what = f"params is {params:.10g}, as params_total, which other rows count apart"
      raise BadInput(what, where, "count params without embeddings in every row")
    stated, own = _number(row.get("flops_6nd")), 6 * params * numbers["tokens"][i]
    if abs(stated / own - 1) > 0.01:
      what = (
        f"flops_6nd is {stated:.5g}, but 6 params tokens is {own:.5g}: params or tokens counts something else"
      )
      raise BadInput(what, where, "count params without embeddings in every row, and mend flops_6nd")


def _number(cell: str | None) -> float:
  """NaN, which no comparison holds for, when there is none."""
  try:
    return float(cell or "nan")
  except ValueError:
    return math.nan


def refuse_collapsing(path: pathlib.Path, rows: Rows, lines: list[int]) -> None:
  """Runs whose loss is a distance to targets of their own making: it is least when their features say nothing."""
  for row, line in zip(rows, lines, strict=True):
    if row.get("loss_ranks") == "False":
      what = f"the loss of {row.get('objective')} falls when features collapse, and ranks no runs"
      remedy = (
        "add a column of 1 - score, of a target in the column probes, and fit that: --columns=loss:NAME"
      )
      raise BadInput(what, f"{path} line {line}", remedy)


def refuse_mixtures(where: object, rows: Rows) -> None:
  """Losses of other tasks, of models that see less, or on other held-out data do not lie on one surface."""
  for name in COMPARABLE:
    first = {row.get(name, ""): row["run_id"] for row in reversed(rows)}
    if len(first) > 1:
      (one, run), (other, another) = sorted(first.items())[:2]
      what = f"{name} is {one!r} in run {run} and {other!r} in run {another}: their losses do not compare"
      raise BadInput(what, where, "fit each alone")
