"""How fast the parametric law is fitted, against the recipe of its published re-analysis.

  python benchmarks/fit_speed.py --points=chinchilla_epoch.csv [--starts=60] [--resamples=40]

Besiroglu et al. (arXiv:2404.10102) fit 240 points with 4,500 starts of SciPy's L-BFGS-B (finite differences) and
4,000 resamples with its BFGS and the gradients of the package autograd. Both are timed here on a random sample of
their starts and resamples, and scaled to the full number; the objective they call is leaner than the published one
(plain NumPy, logarithms taken once), which favours them. The resamples are timed twice: with a gradient by hand,
which favours the recipe again, and with autograd where it is installed (pip install autograd), as published. Ours
runs whole: cold is the first call in the process with compilation (no cache), warm the second. Processor seconds of
one process, BLAS on one thread (idle ones would spin, and their seconds count); prints one JSON object with the
ratios, and how the objectives compare resample by resample.
"""

import argparse
import csv
import itertools
import json
import os
import pathlib
import sys
import time

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # read when NumPy is imported

import jax
import numpy as np
from scipy.optimize import minimize

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from scaling.fitting import bootstrap, parametric

DELTA, STARTS, RESAMPLES = 1e-3, 4500, 4000
GRID = list(
  itertools.product(range(0, 30, 5), range(0, 30, 5), np.arange(-1, 1.5, 0.5), *[np.arange(0, 2.5, 0.5)] * 2)
)


def points(path: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """N, D, L of the 240 points kept by the source: the five largest losses are dropped."""
  with open(path, newline="") as file:
    rows = list(csv.DictReader(file))
  n, c, loss = (np.array([float(r[name]) for r in rows]) for name in ("Model Size", "Training FLOP", "loss"))
  kept = loss < np.sort(loss)[-5]
  return n[kept], (c / 6 / n)[kept], loss[kept]


class Recipe:
  """The sum of Huber losses on ln L, and its gradient, in NumPy."""

  def __init__(self, params, tokens, loss, weights=1.0):
    self.n, self.d, self.y, self.weights = np.log(params), np.log(tokens), np.log(loss), weights

  def terms(self, theta):
    a, b, e, alpha, beta = theta
    parts = np.exp(a - alpha * self.n), np.exp(b - beta * self.d), np.exp(e)
    total = parts[0] + parts[1] + parts[2]
    return parts, total, np.log(total) - self.y

  def __call__(self, theta):
    r = np.abs(self.terms(theta)[2])
    return np.sum(self.weights * np.where(r <= DELTA, r * r / 2, DELTA * (r - DELTA / 2)))

  def gradient(self, theta):
    parts, total, r = self.terms(theta)
    pull = self.weights * np.clip(r, -DELTA, DELTA) / total
    by_n, by_d = pull * parts[0], pull * parts[1]
    return np.array([by_n.sum(), by_d.sum(), pull.sum() * parts[2], -by_n @ self.n, -by_d @ self.d])


def by_autograd(recipe: Recipe):
  """The gradient of `recipe` as its source takes it, or None without the package."""
  try:
    import autograd
    import autograd.numpy as anp
  except ImportError:
    return None

  def objective(theta):
    a, b, e, alpha, beta = theta
    total = anp.exp(a - alpha * recipe.n) + anp.exp(b - beta * recipe.d) + anp.exp(e)
    r = anp.abs(anp.log(total) - recipe.y)
    return anp.sum(recipe.weights * anp.where(r <= DELTA, r * r / 2, DELTA * (r - DELTA / 2)))

  return autograd.grad(objective)


def timed(function):
  """(processor seconds, result)."""
  begin = time.process_time()
  result = function()
  return time.process_time() - begin, result


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--points", required=True, help="CSV of the digitised points.")
  parser.add_argument("--starts", type=int, default=60, help="Starts of the recipe that are run, of 4,500.")
  parser.add_argument(
    "--resamples", type=int, default=40, help="Resamples of the recipe that are run, of 4,000."
  )
  asked = parser.parse_args()
  jax.config.update("jax_enable_compilation_cache", False)
  table = points(asked.points)

  with jax.enable_x64(True):
    jax.numpy.zeros(1).block_until_ready()  # the backend itself
  cold, fitted = timed(lambda: parametric.fit(*table, "huber"))
  warm, _ = timed(lambda: [parametric.fit(*table, "huber") for _ in range(5)])
  warm /= 5
  weights = bootstrap.case_weights(len(table[2]), RESAMPLES, 42)
  draws_cold, law = timed(lambda: parametric.resample(fitted, *table, weights, None))
  draws_warm, _ = timed(lambda: parametric.resample(fitted, *table, weights, None))

  recipe = Recipe(*table)
  starts = [GRID[k] for k in np.random.default_rng(0).permutation(len(GRID))[: asked.starts]]
  with np.errstate(all="ignore"):
    seconds, found = timed(lambda: [minimize(recipe, start, method="L-BFGS-B").fun for start in starts])
  recipe_point = seconds / len(starts) * STARTS

  best = np.array(
    [np.log(fitted.law.A), np.log(fitted.law.B), np.log(fitted.law.E), fitted.law.alpha, fitted.law.beta]
  )
  ours = np.stack([np.log(law.A), np.log(law.B), np.log(law.E), law.alpha, law.beta], -1)
  which = range(0, RESAMPLES, max(RESAMPLES // asked.resamples, 1))
  excess, seconds = [], np.zeros(2)
  for k in which:
    again = Recipe(*table, weights[k])
    lowest = []
    for way, gradient in enumerate((again.gradient, by_autograd(again))):
      if gradient is not None:
        took, found_k = timed(lambda f=again, g=gradient: minimize(f, best, jac=g, method="BFGS").fun)
        seconds[way] += took
        lowest.append(found_k)
    excess.append(again(ours[k]) / min(lowest) - 1)
  by_hand, published = (float(s) or None for s in seconds / len(excess) * RESAMPLES)

  def times(recipe_s, own_s):
    return None if recipe_s is None else round(recipe_s / own_s, 1)

  print(
    json.dumps(
      {
        "point": {
          "cold_s": round(cold, 3), "warm_s": round(warm, 5), "objective": fitted.objective,
          "recipe_s": round(recipe_point, 1), "recipe_starts_run": len(starts), "recipe_best": float(np.nanmin(found)),
          "recipe_within_1e-4": float(np.mean(np.array(found) <= fitted.objective * 1.0001)),
          "times_faster_cold": round(recipe_point / cold, 1), "times_faster_warm": round(recipe_point / warm),
        },
        "bootstrap": {
          "cold_s": round(draws_cold, 2), "warm_s": round(draws_warm, 2), "recipe_resamples_run": len(excess),
          "recipe_s": {"gradient_by_hand": by_hand, "autograd_as_published": published},
          "times_faster_cold": {"by_hand": times(by_hand, draws_cold), "autograd": times(published, draws_cold)},
          "times_faster_warm": {"by_hand": times(by_hand, draws_warm), "autograd": times(published, draws_warm)},
          "worst_excess": float(max(excess)),
          "better_by_1e-6": float(np.mean(np.array(excess) < -1e-6)),
          "standard_errors": {n: float(np.std(getattr(law, n), ddof=1)) for n in ("A", "B", "E", "alpha", "beta")},
        },
      },
      indent=1,
    )
  )  # fmt: skip


if __name__ == "__main__":
  main()
