"""What a design promises against what refits of simulated tables show, beside grids that people run at its cost.

  python benchmarks/design_refits.py --design=results/design/design.json [--tables=1000]

Each grid's losses are drawn anew from the design's prior law with its noise; every table is fitted by scaling.fit's
parametric law, by squares (for which the promise is made) and by the Huber loss of the published recipe. Prints one
row for each grid: standard errors of a and of the loss at the target, promised and simulated, in percent where they
are relative. Two minutes for 1,000 tables.
"""

import argparse
import json
import pathlib
import sys

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from scaling.advice import allocation, family, information, rivals
from scaling.advice.designer import Design
from scaling.fitting import parametric
from scaling.laws.hoffmann import Law


def read(path: str) -> tuple[Design, Law, float, float]:
  """The design, its prior law and noise, and the target compute."""
  made = json.loads(pathlib.Path(path).read_text())
  trials, budgets = made["trials"], np.array([b["flops"] for b in made["budgets"]])
  columns = {
    name: np.array([t[name] for t in trials]) for name in ("width", "params", "tokens", "flops", "seed")
  }
  budget = np.abs(np.log(columns.pop("flops"))[:, None] - np.log(budgets)).argmin(1)
  centres = np.array([b["optimal_params"] for b in made["budgets"]])
  columns["tokens"] = columns["tokens"].astype(float)
  design = Design(budgets, centres, budget, **columns, spread=made["spread"], inside=made["inside"])
  law = Law(*(made["prior"][name] for name in ("E", "A", "B", "alpha", "beta")))
  return design, law, made["prior"]["noise_sd"], made["asked"]["target"]


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--design", required=True)
  parser.add_argument("--config", default="experiments/configs/motion_ladder.py")
  parser.add_argument("--tables", type=int, default=1000)
  asked = parser.parse_args()
  design, law, noise, target = read(asked.design)
  members = family.load(asked.config)
  at = allocation.for_budget(law, members, target)
  point = np.array([at.params]), np.array([at.tokens])
  grids = {"the design": (design.params, design.tokens)} | rivals.all_of(members, law, design)
  print("| grid | runs | a: promised | squares | Huber | loss at the target: promised | squares | Huber |")
  print("|---|---|---|---|---|---|---|---|")
  for name, grid in grids.items():
    expected = information.expect(law, *grid, noise, point)
    loss = law.loss(*grid)
    tables = loss * np.exp(noise * np.random.default_rng(0).standard_normal((asked.tables, len(loss))))
    spread = {"a": [expected.errors["a"]], "loss": [expected.loss_errors[0]]}
    for kind in ("mse", "huber"):
      refits = parametric.fit(*grid, loss, kind, losses=tables).draws
      assert refits is not None
      spread["a"].append(float(np.std(refits.a)))
      spread["loss"].append(float(np.std(np.log(refits.loss(at.params, at.tokens)))))
    cells = [*(f"{v:.4f}" for v in spread["a"]), *(f"{v:.2%}" for v in spread["loss"])]
    print(f"| {name} | {len(loss)} | {' | '.join(cells)} |")


if __name__ == "__main__":
  main()
