"""What replicas and local steps cost: a law of loss against size, data, replicas and local steps, fitted to fleets.

  python -m benchmarks.federated_law --dataset=build/sumo --workdir=build/federated_law --out=results/federated_law \
    [--widths=8,16] [--seed=0]

Every replica is a vehicle that takes part in every round and holds scenes of all kinds of place (Dirichlet shares of
alpha 1,000). Between two meetings it takes local steps of AdamW, which begins anew; the server takes the plain mean.
All runs see the same number of windows, whatever the replicas; each is judged at a quarter, a half and the whole of
them. Two laws are fitted: the power of N and M of the paper, and scaling/laws/charles.py, whose intervals are from
resampled runs, as rows of a run are not independent. One learning rate for all, so that what is measured is what
replicas cost who does not tune it again. A run is a run directory in --workdir: the same command adds what is missing.
"""

import argparse
import itertools
import pathlib
from typing import Any

WINDOWS = 2048
REPLICAS, STEPS = (1, 2, 4, 8), (8, 32)
# Widths, and the replicas and local steps that each is trained with.
GRID = {4: ((1, 4, 8), (32,)), 8: (REPLICAS, STEPS), 16: ((1, 4, 8), (32,))}
DRAWS = 1000


def values(dataset: str, width: int, replicas: int, steps: int, seed: int) -> dict[str, Any]:
  """A fleet of as many vehicles as replicas."""
  from experiments.configs import fleet as config_file
  from experiments.configs import motion

  made = config_file.get_config("demo").to_dict()
  made |= {"seed": seed, "rounds": WINDOWS // (replicas * steps), "steps": steps, "epochs": 1e6}
  made |= {"clients": replicas, "lanes": replicas, "evaluate_every": made["rounds"] // 4}
  made["fleet"] |= {"vehicles": replicas, "axes": "", "alpha": 1000.0, "reached": 1.0}
  made["train"] = motion.get_config(f"w{width}").to_dict() | {"seed": seed}
  made["train"]["data"]["dataset"] = dataset
  return made


def rows(folder: pathlib.Path, tokens: int, replicas: int, steps: int) -> list[dict[str, Any]]:
  """What a finished run says at a quarter, a half and all of its windows. tokens: of all windows, on average."""
  from data.files import read_json
  from experiments.run_directory import read_jsonl

  params = read_json(folder / "result.json", "run it again")["params"]
  judged = {
    record["step"]: record["loss"] for record in read_jsonl(folder / "metrics.jsonl") if "loss" in record
  }
  last = max(judged)
  return [
    {
      "params": params, "tokens": tokens * at // last, "replicas": replicas, "steps": steps,
      "loss": judged[at], "run": folder.name,
    }
    for at in (last // 4, last // 2, last)
  ]  # fmt: skip


def power_law(table: list[dict[str, Any]]) -> dict[str, Any]:
  """DiLoCo's own form, at all of the data: ln L = c + p ln N + q ln M, with Student's intervals."""
  import numpy as np

  from scaling.fitting import bootstrap

  most = max(row["tokens"] for row in table)
  here = [row for row in table if (row["steps"], row["tokens"]) == (STEPS[-1], most)]
  n, m, loss = (np.log([row[name] for row in here]) for name in ("params", "replicas", "loss"))
  design = np.stack([np.ones(len(here)), n, m], 1)
  solved, *_ = np.linalg.lstsq(design, loss, rcond=None)
  left, freedom = loss - design @ solved, len(here) - 3
  error = np.sqrt(np.diag(np.linalg.inv(design.T @ design)) * (left @ left) / freedom)
  reach = bootstrap.quantile(bootstrap.LEVEL, freedom) * error
  return {"runs": len(here)} | {
    name: {"value": float(solved[k]), "ci95": [float(solved[k] - reach[k]), float(solved[k] + reach[k])]}
    for k, name in ((1, "power of N"), (2, "power of M"))
  }


def whole_law(table: list[dict[str, Any]]) -> dict[str, Any] | None:
  """scaling/laws/charles.py with intervals over runs; None where runs are fewer than twice its coefficients."""
  import numpy as np

  from scaling.fitting import bootstrap
  from scaling.laws import charles

  columns = [
    np.array([row[name] for row in table], float)
    for name in ("params", "tokens", "replicas", "steps", "loss")
  ]
  runs = [row["run"] for row in table]
  count = len(set(runs))
  if count < 2 * charles.COEFFICIENTS:
    return None
  law, draws = charles.fit(*columns, bootstrap.cluster_weights(runs, DRAWS, seed=0))
  assert draws is not None
  resampling = bootstrap.Resampling(count, charles.COEFFICIENTS, "run")

  def told(value, drawn) -> dict[str, Any]:
    return {"value": float(value), "ci95": resampling.interval(drawn, float(value))}

  found: dict[str, Any] = {name: told(value, getattr(draws, name)) for name, value in vars(law).items()}
  found["worth of 8 replicas"] = told(law.worth(8), draws.worth(8))
  return found | {"rms_residual": float(np.sqrt(np.mean((columns[4] - law.loss(*columns[:4])) ** 2)))}


def draw(table: list[dict[str, Any]], path: pathlib.Path) -> None:
  import matplotlib as mpl
  import numpy as np
  from matplotlib.figure import Figure

  from scaling.figures import theme

  sizes = sorted({row["params"] for row in table})
  with mpl.rc_context(theme.STYLE):
    figure = Figure(figsize=(theme.WIDTH, 2.7), layout="constrained")
    for axes, params in zip(figure.subplots(1, len(sizes), sharey=True), sizes, strict=True):
      for replicas, colour in zip(REPLICAS, theme.budget_colours(np.array(REPLICAS)), strict=True):
        for steps, marker, line in zip(STEPS, "^o", ("--", "-"), strict=True):
          own = [
            row for row in table
            if (row["params"], row["replicas"], row["steps"]) == (params, replicas, steps)
          ]  # fmt: skip
          tokens = np.array([row["tokens"] for row in own], float)
          label = f"{replicas} replica{'s' if replicas > 1 else ''}" if own and steps == STEPS[-1] else None
          axes.plot(tokens, [row["loss"] for row in own], marker + line, color=colour, label=label)
      axes.set(xscale="log", title=f"{params:,} parameters", xlabel="tokens of all replicas")
    figure.axes[0].set(ylabel="held-out loss (nats per token)")
    max(figure.axes, key=lambda axes: len(axes.get_legend_handles_labels()[1])).legend()
    theme.finish(figure, f"circles: {STEPS[1]} local steps; triangles and dashes: {STEPS[0]}")
    theme.save_pictures(figure, path, png=True)


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--dataset", required=True)
  parser.add_argument("--workdir", required=True, type=pathlib.Path)
  parser.add_argument("--out", required=True, type=pathlib.Path)
  parser.add_argument("--widths", default="", help="To train now; all.")
  parser.add_argument("--seed", default=0, type=int)
  chosen = parser.parse_args()
  from data.datasets import open_dataset
  from data.files import write_json_atomic
  from experiments import federation

  train = open_dataset(chosen.dataset).manifest["splits"]["train"]
  tokens = round(train["tokens"] / train["windows"] * WINDOWS)
  wanted = [int(width) for width in chosen.widths.split(",") if width] or GRID
  table = []
  for width, (replicas_of, steps_of) in GRID.items():
    for replicas, steps in itertools.product(replicas_of, steps_of):
      folder = chosen.workdir / f"w{width}_{replicas}_{steps}_{chosen.seed}"
      if width in wanted:
        federation.simulate(str(folder), values(chosen.dataset, width, replicas, steps, chosen.seed))
      if (folder / "result.json").exists():
        table += rows(folder, tokens, replicas, steps)
  found = {"power_law": power_law(table), "law": whole_law(table)}
  chosen.out.mkdir(parents=True, exist_ok=True)
  write_json_atomic(chosen.out / "federated_law.json", found | {"runs": table})
  draw(table, chosen.out / "federated_law")
  print(found)


if __name__ == "__main__":
  main()
