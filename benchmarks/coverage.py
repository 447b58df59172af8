"""Whether 95% intervals hold the truth in 95 of 100 tables: noisy tables of known surfaces, refitted.

  python benchmarks/coverage.py [--tables=400] [--draws=400]

For each surface, loss and way to an interval: in how many tables of 100 the interval of each coefficient, and of the
allocation exponent a, holds its true value. Profile intervals are asked at the truth itself: it lies inside exactly
when the ratio there is below its quantile. Bootstraps are those of scaling.fitting.bootstrap over runs (case) or with
redrawn residuals (noise), for the coefficients and for N* and the least loss ten times beyond the largest budget.
Prints one JSON object; a share of T tables has a standard error of 22 / sqrt(T) of 100.
"""

import argparse
import dataclasses
import json
import pathlib
import sys

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from scaling.fitting import bootstrap, parametric, profile, solver
from scaling.laws import hoffmann
from scaling.laws.hoffmann import Law

NAMES = ("A", "B", "E", "alpha", "beta")
# E, A, B, alpha, beta, then the ranges of N and D.
SURFACES = {
  "language": (Law(1.8172, 482.01, 2085.43, 0.3478, 0.3658), (5e7, 2e10), (1e9, 3e11)),
  "driving": (Law(0.80, 4.2, 110.0, 0.40, 0.42), (1e3, 1e6), (1e5, 1e8)),
  "asymmetric": (Law(0.9, 30.0, 20.0, 0.465, 0.155), (1e3, 1e6), (1e5, 1e8)),
}
BEYOND = 10


class Study:
  """`tables` noisy copies of one surface on a grid of `side` by `side` runs; `sd` of ln L."""

  def __init__(self, name: str, kind: str, tables: int, side: int = 8, sd: float = 0.01, seed: int = 5):
    self.law, n_range, d_range = SURFACES[name]
    self.params, self.tokens = (
      g.ravel() for g in np.meshgrid(np.geomspace(*n_range, side), np.geomspace(*d_range, side))
    )
    exact = np.log(self.law.loss(self.params, self.tokens))
    self.losses = np.exp(exact + sd * np.random.default_rng(seed).standard_normal((tables, len(exact))))
    self.flops = BEYOND * 6 * self.params.max() * self.tokens.max()
    self.kind = kind
    self.exactly = parametric.fit(self.params, self.tokens, np.exp(exact), kind)
    self.found = parametric.resample(self.exactly, self.params, self.tokens, np.exp(exact), None, self.losses)

  def of_table(self, k: int) -> Law:
    return Law(*(float(getattr(self.found, name)[k]) for name in ("E", "A", "B", "alpha", "beta")))

  def by_profile(self) -> dict[str, int]:
    """Tables whose profile interval holds the truth, by coefficient and for a."""
    by_exponents = self._inside(hoffmann.log_loss, _theta(self.law), _theta(self.found))
    by_allocation = self._inside(
      hoffmann.log_loss_by_allocation, _allocation(self.law), _allocation(self.found)
    )
    return dict(zip((*NAMES, "a"), [*by_exponents.sum(1).tolist(), int(by_allocation[4].sum())], strict=True))

  def _inside(self, model, truth: np.ndarray, found: np.ndarray) -> np.ndarray:
    """bool [P, tables]: whether the profile of each coefficient, held at `truth` [P], stays below its quantile."""
    columns, targets = (np.log(self.params), np.log(self.tokens)), np.log(self.losses)
    tables, count = found.shape
    low, high = np.full(count, -np.inf), np.full(count, np.inf)
    free = np.repeat(~np.eye(count, dtype=bool), tables, axis=0)
    every = np.tile(targets, (count, 1))
    at_truth = solver.lanes(model, columns, every, truth, self.kind, low, high, free=free)[1]
    least = solver.lanes(model, columns, targets, found, self.kind, low, high)[1]
    units = np.empty((count, tables))
    for k, theta in enumerate(found):
      predicted, jacobian = solver.linearise(model, columns, theta)
      units[:, k] = profile.units(self.kind, predicted - targets[k], jacobian, np.ones(count, bool))
    critical = bootstrap.quantile(0.95, targets.shape[1] - count) ** 2
    return (at_truth.reshape(count, tables) - least) * units <= critical

  def by_bootstrap(self, way: str, draws: int) -> dict[str, int]:
    """The same for bootstrap.corrected; and for N* and the least loss beyond the table."""
    true = self._quantities(self.law)
    covered = dict.fromkeys(true, 0)
    for k, loss in enumerate(self.losses):
      law, weights, losses = self.of_table(k), None, None
      if way == "case":
        weights = bootstrap.case_weights(len(loss), draws, k)
      else:
        fitted = np.log(law.loss(self.params, self.tokens))
        losses = np.exp(bootstrap.redrawn(fitted, np.log(loss) - fitted, parametric.PARAMETERS, draws, k))
      estimates = self._quantities(law)
      fit = dataclasses.replace(self.exactly, law=law)
      drawn = parametric.resample(fit, self.params, self.tokens, loss, weights, losses)
      for name, values in self._quantities(drawn).items():
        ends = bootstrap.corrected(values, estimates[name], len(loss), parametric.PARAMETERS, way)
        covered[name] += bool(ends and ends[0] <= true[name] <= ends[1])
    return covered

  def _quantities(self, law: Law) -> dict:
    beyond = {"N*": law.optimum(self.flops)[0], "least loss": law.least_loss(self.flops)}
    return {name: getattr(law, name) for name in (*NAMES, "a")} | beyond


def _theta(law: Law) -> np.ndarray:
  return np.stack([np.log(law.A), np.log(law.B), np.log(law.E), law.alpha, law.beta], -1)


def _allocation(law: Law) -> np.ndarray:
  theta = _theta(law)
  theta[..., 3], theta[..., 4] = law.alpha + law.beta, law.a
  return theta


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--tables", type=int, default=400, help="Noisy tables of each surface.")
  parser.add_argument("--draws", type=int, default=400, help="Bootstrap draws behind each interval.")
  asked = parser.parse_args()
  found: dict[str, dict] = {}
  for name in SURFACES:
    for kind in ("mse", "huber"):
      study = Study(name, kind, asked.tables)
      ways = {"profile": study.by_profile()}
      if asked.draws:
        ways |= {way: study.by_bootstrap(way, asked.draws) for way in ("case", "noise")}
      found[f"{name}, {kind}"] = {
        w: {n: round(100 * c / asked.tables, 1) for n, c in v.items()} for w, v in ways.items()
      }
  print(json.dumps({"tables": asked.tables, "draws": asked.draws, "covered_of_100": found}, indent=1))


if __name__ == "__main__":
  main()
