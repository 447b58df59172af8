"""How fast forecasts are scored, against the library of Argoverse 2 in the same process.

  python benchmarks/forecast_metrics.py [--scenarios=512] [--repeats=7] [--out=results/forecast_metrics/speed.json]

Needs av2 (pip install --no-deps av2==0.3.6, with universal-pathlib). Scenarios of one agent and of eight, six modes,
60 steps, all steps valid, because the library knows no masks. It is asked scenario by scenario for what its
benchmarks report: ADE, FDE, miss and the two Brier variants of every mode, of which the best by end point is taken;
of eight agents also the world errors and collisions. Ours are the same numbers, in batches under jit and vmap. Both
are timed in turn, in processor seconds of the process and in seconds; medians over the repeats, and the largest
difference between the results.
"""

import argparse
import importlib.metadata
import json
import os
import pathlib
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from av2.datasets.motion_forecasting.eval import metrics as av2

from evaluation.metrics import displacement, joint

MODES, STEPS = 6, 60


def scenarios(count: int, agents: int) -> dict[str, np.ndarray]:
  rng = np.random.default_rng(0)
  truth = np.cumsum(rng.normal(1, 0.3, (count, agents, STEPS, 2)), 2) + rng.uniform(
    -40, 40, (count, agents, 1, 2)
  )
  forecast = truth[:, None] + np.cumsum(rng.normal(0, 0.2, (count, MODES, agents, STEPS, 2)), 3)
  return {"forecast": forecast, "truth": truth, "probability": rng.dirichlet(np.ones(MODES), (count, agents))}


def library(forecast: np.ndarray, truth: np.ndarray, probability: np.ndarray) -> list[float]:
  """One scenario: means over its agents, then what is reported of its worlds."""
  rows = []
  for a in range(len(truth)):
    modes, p = forecast[:, a], probability[a]
    fde = av2.compute_fde(modes, truth[a])
    best = fde.argmin()
    missed = av2.compute_is_missed_prediction(modes, truth[a])
    brier_ade, brier_fde = (
      av2.compute_brier_ade(modes, truth[a], p),
      av2.compute_brier_fde(modes, truth[a], p),
    )
    ade = av2.compute_ade(modes, truth[a])
    rows.append([ade[best], fde[best], missed[best], brier_ade[best], brier_fde[best]])
  found = np.mean(rows, 0).tolist()
  if len(truth) > 1:
    worlds = forecast.swapaxes(0, 1)
    fde = av2.compute_world_fde(worlds, truth)
    best = fde.argmin()
    brier = av2.compute_world_brier_fde(worlds, truth, probability[0])
    found += [av2.compute_world_ade(worlds, truth)[best], fde[best], brier[best]]
    found += [av2.compute_world_misses(worlds, truth)[:, best].mean()]
    found += [av2.compute_world_collisions(worlds)[:, best].mean()]
  return found


def ours(forecast: jax.Array, truth: jax.Array, probability: jax.Array) -> jax.Array:
  """The same of one scenario, for vmap."""
  valid, keep = jnp.ones(truth.shape[:2], bool), jnp.ones(len(truth), bool)
  pairs = displacement.forecast_errors(forecast, truth, valid, keep)
  pairs |= displacement.brier_errors(forecast, probability.T, truth, valid, keep)
  found = [total / count for total, count in pairs.values()]
  if len(truth) > 1:
    found += joint.joint_errors(forecast, probability[0], truth, valid, keep).values()
  return jnp.stack(found)


def measure(count: int, agents: int, repeats: int, dtype: type) -> dict:
  given = scenarios(count, agents)
  scored = jax.jit(jax.vmap(ours))
  batch = [jnp.asarray(given[name], dtype) for name in ("forecast", "truth", "probability")]
  scored(*batch).block_until_ready()
  times: dict[str, list] = {"library": [], "ours": []}
  for _ in range(repeats):
    begin = time.process_time(), time.perf_counter()
    by_library = [
      library(*one) for one in zip(given["forecast"], given["truth"], given["probability"], strict=True)
    ]
    middle = time.process_time(), time.perf_counter()
    for _ in range(20):
      by_us = scored(*batch).block_until_ready()
    end = time.process_time(), time.perf_counter()
    times["library"].append([m - b for m, b in zip(middle, begin, strict=True)])
    times["ours"].append([(e - m) / 20 for e, m in zip(end, middle, strict=True)])
  row = {"agents": agents, "scenarios": count, "dtype": np.dtype(dtype).name}
  for name, values in times.items():
    cpu, wall = np.median(values, 0) / count * 1e6
    row |= {f"{name}_cpu_us": round(float(cpu), 3), f"{name}_wall_us": round(float(wall), 3)}
  ratios = np.array(times["library"]) / np.array(times["ours"])
  for k, clock in enumerate(("cpu", "wall")):
    row[f"ratio_{clock}"] = {name: round(float(f(ratios[:, k])), 1) for name, f in
                             (("median", np.median), ("least", np.min), ("most", np.max))}  # fmt: skip
  row["largest_difference"] = float(np.abs(np.asarray(by_library) - np.asarray(by_us)).max())
  return row


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--scenarios", type=int, default=512, help="Scenarios in a batch.")
  parser.add_argument("--repeats", type=int, default=7, help="How often either is timed.")
  parser.add_argument("--out", type=pathlib.Path, help="File for the JSON object.")
  asked = parser.parse_args()
  rows = [measure(asked.scenarios, agents, asked.repeats, np.float32) for agents in (1, 8)]
  with jax.enable_x64(True):
    rows += [measure(asked.scenarios, agents, asked.repeats, np.float64) for agents in (1, 8)]
  versions = {name: importlib.metadata.version(name) for name in ("av2", "jax", "numpy")}
  text = json.dumps({"versions": versions, "cores": os.cpu_count(), "rows": rows}, indent=1)
  print(text)
  if asked.out:
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    asked.out.write_text(text + "\n")


if __name__ == "__main__":
  main()
