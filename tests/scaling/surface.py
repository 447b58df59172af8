"""Synthetic loss surfaces L = E + A / N^alpha + B / D^beta, and run tables drawn from them."""

import csv
import dataclasses
import pathlib

import numpy as np


@dataclasses.dataclass(frozen=True)
class Surface:
  E: float
  A: float
  B: float
  alpha: float
  beta: float

  def loss(self, params, tokens):
    return self.E + self.A / params**self.alpha + self.B / tokens**self.beta

  def optimum(self, flops: float) -> tuple[float, float]:
    """Closed form of Hoffmann et al. (arXiv:2203.15556), eq. 4: N*, D* at C = 6 N D."""
    g = (self.alpha * self.A / (self.beta * self.B)) ** (1 / (self.alpha + self.beta))
    params = g * (flops / 6) ** (self.beta / (self.alpha + self.beta))
    return params, flops / 6 / params


CHINCHILLA = Surface(1.8172, 482.01, 2085.43, 0.3478, 0.3658)
# Reads like the driving ladder: about 1 nat per move, thousands of parameters, millions of moves.
DRIVING = Surface(0.80, 4.2, 110.0, 0.40, 0.42)


def isoflop(surface: Surface, budgets, factors, noise: float, seeds: int = 1, seed: int = 0) -> list[dict]:
  """Rows of profiles at C = 6 N D, sizes at `factors` times N*; `noise` is the sd of ln L."""
  rng = np.random.default_rng(seed)
  rows = []
  for budget in budgets:
    for factor in factors:
      for repeat in range(seeds):
        params = round(surface.optimum(budget)[0] * factor)
        tokens = budget / 6 / params
        loss = surface.loss(params, tokens) * np.exp(noise * rng.standard_normal())
        row = {"run_id": f"run{len(rows)}", "params": params, "tokens": tokens}
        rows.append(row | {"flops": 6 * params * tokens, "loss": loss, "seed": repeat})
  return rows


def write(path: pathlib.Path, rows: list[dict]) -> pathlib.Path:
  with open(path, "w", newline="") as file:
    writer = csv.DictWriter(file, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
  return path
