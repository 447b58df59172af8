"""What quantising adds to the loss of each run, by recipe, and the laws of it: of a ladder's tables.

A recipe that keeps activations float and gives weights P bits follows the law of `laws/kumar.py` together with the
others of its kind; static INT8, whose activations are integers, too, has a law of its own without bits:

  delta = C_T D^g_D N^-g_N exp(-P / g_post),     delta_int8 = C_8 D^g_D' N^-g_N'

Draws: runs are drawn with all their recipes, and at the same time the scenes that all of them were judged on (crossed,
as in fitting/saturation.py); the law of the float loss is fitted to the same draws of runs, so that what is computed
from both knows how they vary together.
"""

import csv
import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from data.errors import BadInput
from scaling import metric_scores
from scaling.fitting import bootstrap, parametric
from scaling.fitting.saturation import Cells
from scaling.laws import hoffmann
from scaling.laws.kumar import PostTraining, fit_noisy_post_training
from scaling.table import Runs

FLOAT = "float32"
WEIGHTS = "weights"  # before the bits of a recipe with float activations
COLUMNS = ("params", "recipe", "bits", "bytes", "latency_ms", "joules")
COSTS = COLUMNS[3:]
_REMEDY = "give the costs.csv of export.ladder"
Costs = Mapping[str, Mapping[str, np.ndarray]]  # recipe to "params" and each of COSTS [sizes], by size


@dataclasses.dataclass(frozen=True)
class Laws:
  """Attributes:
  recipes: but for FLOAT; bits: of the weights of each.
  added: [P, R] measured, nats per token; error: [P, R] their standard errors over scenes.
  by_bits: the law of all recipes of float activations. others: recipe to its law.
  base: of the float loss.
  drawn_by_bits, drawn_others, drawn_base: the same of every draw.
  noise: nats, the standard error of the recipe that adds least. runs: how many.
  """

  recipes: tuple[str, ...]
  bits: np.ndarray
  added: np.ndarray
  error: np.ndarray
  base: hoffmann.Law
  by_bits: PostTraining
  others: dict[str, PostTraining]
  drawn_base: hoffmann.Law
  drawn_by_bits: PostTraining
  drawn_others: dict[str, PostTraining]
  noise: float
  runs: int

  def of(self, recipe: str, drawn: bool = False) -> PostTraining:
    """The law that `recipe` follows."""
    others, shared = (self.drawn_others, self.drawn_by_bits) if drawn else (self.others, self.by_bits)
    return others.get(recipe, shared)

  def interval(self, draws: np.ndarray, estimate: float, coefficients: int = 4) -> list[float] | None:
    """Of something computed from the laws of every draw."""
    return bootstrap.corrected(draws, estimate, self.runs, coefficients, "run")


def read_costs(path: pathlib.Path) -> tuple[Costs, dict[str, int]]:
  """Costs of recipes by ascending size, and the bits of their weights.

  Raises BadInput for a column that is missing and a cell that is no positive number.
  """
  try:
    with open(path, encoding="utf-8", newline="") as file:
      reader = csv.DictReader(file)
      if missing := [name for name in COLUMNS if name not in (reader.fieldnames or ())]:
        raise BadInput(f"column {missing[0]!r} is missing", path, _REMEDY)
      rows = list(reader)
  except (OSError, UnicodeDecodeError, csv.Error) as error:
    raise BadInput(f"cannot be read ({error})", path, _REMEDY) from None
  found: dict[str, dict[str, np.ndarray]] = {}
  bits: dict[str, int] = {}
  try:
    for name in dict.fromkeys(row["recipe"] for row in rows):
      own = sorted((row for row in rows if row["recipe"] == name), key=lambda row: float(row["params"]))
      found[name] = {key: np.array([float(row[key]) for row in own]) for key in ("params", *COSTS)}
      bits[name] = int(own[0]["bits"])
  except (TypeError, ValueError) as error:
    raise BadInput(f"a cell is no number ({error})", path, _REMEDY) from None
  if not found or not all((values > 0).all() for own in found.values() for values in own.values()):
    raise BadInput("a cell is no positive number", path, _REMEDY)
  return found, bits


def analyse(runs: Runs, scores: metric_scores.Scores, bits: Mapping[str, int], draws: int, seed: int) -> Laws:
  """The laws of a ladder, and `draws` of them.

  Args: scores: nats per token, metrics named as recipes. bits: of recipes.

  Raises BadInput for a recipe that was not priced or not judged.
  """
  if FLOAT not in scores:
    raise BadInput(f"has no {FLOAT}", "--scores", "give the scores.csv of export.ladder")
  recipes = tuple(name for name in bits if name in scores and name != FLOAT)
  if unknown := [name for name in scores if name not in bits]:
    raise BadInput(f"has no {unknown[0]!r}", "--costs", "give the two tables of one export.ladder")
  before = _joined(scores[FLOAT])
  clusters = before.mean.shape[1]
  scenes = np.ones((1 + draws, clusters))
  scenes[1:] = np.random.default_rng(seed).multinomial(clusters, np.full(clusters, 1 / clusters), size=draws)
  times = bootstrap.case_weights(len(runs), draws, seed)
  floats = before.drawn(scenes)
  added = np.stack([_joined(scores[name]).drawn(scenes) - floats for name in recipes], 1)  # [1 + draws, P, R]
  error = added[1:].std(0)
  order = np.array([bits[name] for name in recipes])
  shared = np.array([name.startswith(WEIGHTS) for name in recipes])
  noise = float(np.median(error[shared & (order == order[shared].max())]))

  def fitted(own: np.ndarray) -> tuple[PostTraining, PostTraining]:
    """Of the recipes where `own` [P], all as one table."""
    count = int(own.sum())
    table = (np.tile(runs.params, count), np.tile(runs.tokens, count), np.repeat(order[own], len(runs)))
    flat = added[:, own].reshape(1 + draws, -1)
    law, drawn = fit_noisy_post_training(*table, flat[0], noise, np.tile(times, count), flat[1:])
    assert drawn is not None
    return law, drawn

  by_bits, drawn_by_bits = fitted(shared)
  alone = {name: fitted(np.arange(len(recipes)) == k) for k, name in enumerate(recipes) if not shared[k]}
  base = parametric.fit(runs.params, runs.tokens, runs.loss, "mse", weights=times)
  assert base.draws is not None
  return Laws(
    recipes, order, added[0], error, base.law, by_bits, {name: pair[0] for name, pair in alone.items()},
    base.draws, drawn_by_bits, {name: pair[1] for name, pair in alone.items()}, noise, len(runs),
  )  # fmt: skip


def of_runs(scores: metric_scores.Scores, keep: np.ndarray) -> metric_scores.Scores:
  """The scores of the runs where `keep` [R]."""
  return {
    metric: {name: Cells(cells.mean[keep], cells.count[keep]) for name, cells in slices.items()}
    for metric, slices in scores.items()
  }


def increases(scores: metric_scores.Scores, recipe: str) -> np.ndarray:
  """[R]: nats per token that a recipe adds to the loss of each run."""
  one = np.ones((1, _joined(scores[FLOAT]).mean.shape[1]))
  return (_joined(scores[recipe]).drawn(one) - _joined(scores[FLOAT]).drawn(one))[0]


def _joined(slices: Mapping[str, Cells]) -> Cells:
  """The clusters of all slices side by side."""
  parts = list(slices.values())
  return Cells(np.concatenate([c.mean for c in parts], 1), np.concatenate([c.count for c in parts], 1))


def markdown(found: Laws, runs: Runs) -> str:
  """Two tables for people: what each recipe adds at the ends of the ladder, and the laws."""
  lines = ["| recipe | bits | nats added, median of runs | least | greatest | law: nats added, median |"]
  lines.append("|---" * 6 + "|")
  for k, name in enumerate(found.recipes):
    told = found.of(name).added(runs.params, runs.tokens, found.bits[k])
    own = found.added[k]
    lines.append(
      f"| {name} | {found.bits[k]} | {np.median(own):.4f} | {own.min():.4f} | {own.max():.4f} | {np.median(told):.4f} |"
    )
  lines += ["", "| law of | g_D | g_N | g_post, bits | residual, factor |", "|---" * 5 + "|"]
  for name in (WEIGHTS, *found.others):
    own, drawn = found.of(name), found.of(name, drawn=True)
    cells = [
      said(getattr(own, key), found.interval(getattr(drawn, key), getattr(own, key)))
      if np.isfinite(getattr(own, key))
      else ""
      for key in ("g_d", "g_n", "g_post")
    ]
    lines.append(f"| {name} | {' | '.join(cells)} | {np.exp(residual(found, runs, name)):.2f} |")
  return "\n".join(lines)


def held_out(found: Laws, runs: Runs, scores: metric_scores.Scores) -> str:
  """A line for each recipe and run that the laws have not seen."""
  lines = ["| run | N | D | recipe | law: nats added | 95 % | measured |", "|---" * 7 + "|"]
  for r, row in enumerate(runs.rows):
    n, d = runs.params[r], runs.tokens[r]
    for k, name in enumerate(found.recipes):
      told = float(found.of(name).added(n, d, found.bits[k]))
      ends = found.interval(found.of(name, drawn=True).added(n, d, found.bits[k]), told)
      lines.append(
        f"| {row['run_id']} | {n:,.0f} | {d:,.0f} | {name} | {told:.4f} |"
        f" {'open' if ends is None else ', '.join(f'{v:.3g}' for v in ends)} | {increases(scores, name)[r]:.4f} |"
      )
  return "\n".join(lines)


def residual(found: Laws, runs: Runs, law: str) -> float:
  """Standard deviation of ln(measured / law) over what stands out of the noise, of the recipes of one law."""
  away: list[float] = []
  for k, name in enumerate(found.recipes):
    if (name in found.others and name != law) or (name not in found.others and law != WEIGHTS):
      continue
    told, own = found.of(name).added(runs.params, runs.tokens, found.bits[k]), found.added[k]
    clear = own > 3 * found.noise
    away += np.log(own[clear] / told[clear]).tolist()
  return float(np.std(away))


def as_json(found: Laws) -> dict[str, Any]:
  """Coefficients with their intervals, by law: WEIGHTS for all recipes of float activations."""

  def law(name: str) -> dict[str, Any]:
    own, drawn = found.of(name), found.of(name, drawn=True)
    return {
      key: {"value": float(value), "ci95": found.interval(getattr(drawn, key), value)}
      for key, value in dataclasses.asdict(own).items()
      if np.isfinite(value)
    }

  return {
    "laws": {name: law(name) for name in (WEIGHTS, *found.others)},
    "base": {key: float(value) for key, value in dataclasses.asdict(found.base).items()},
    "noise": found.noise,
    "added": {name: own.tolist() for name, own in zip(found.recipes, found.added, strict=True)},
  }


def said(value: float, ci95: Sequence[float] | None) -> str:
  """ "0.31 [0.25, 0.40]"."""
  ends = "open" if ci95 is None else ", ".join(f"{v:.3g}" for v in ci95)
  return f"{value:.3g} [{ends}]"
