"""What quantisation costs a run, recipe by recipe, on the same held-out records.

  python benchmarks/quantisation.py --run=build/run --dataset=build/sumo --out=results/quantisation/run.json

Recipes: static INT8 by every method and of either sign, dynamic, weights of 4 bits, all with and without smoothing;
bits by sensitivity at several budgets, beside the same bytes given out at random. They are asked through the quantised
twin, which artifacts equal. Differences from float are paired; their errors are over scenes. Bits are chosen on records
of the training split.
"""

import argparse
import dataclasses
import json
import pathlib
import sys

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

METHODS = ("minmax", "percentile", "entropy", "mse")
SHARES = (0.2, 0.25)
RANDOM = 3  # draws of bits at random at each budget


def measured(found, batches, scene_R):
  """recipe -> its line of the table."""
  import jax
  import jax.numpy as jnp

  from export.adjustable import record_losses
  from export.recipe import Recipe
  from export.sensitivity import increase

  run, twin = found.run, found.twin
  losses = record_losses(run.task, run.params, found.weights, twin)
  exact = twin.settings(Recipe({}, {}))
  moves = run.config.family == "motion"

  @jax.jit
  @jax.vmap
  def answers(record):
    return answer(exact, record)

  def answer(settings, record):
    batch = {name: value[None] for name, value in record.items()}
    return dict(zip(twin.exported.outputs(), twin.answer(settings, batch), strict=True))

  @jax.jit
  def compared(settings, batch, expected):
    def one(record, expected):
      told = answer(settings, record)
      worst = 0.0
      for name, value in expected.items():
        real = jnp.abs(value) < 1e8
        off = jnp.where(real, told[name] - value, 0.0)
        worst = jnp.maximum(worst, jnp.linalg.norm(off) / jnp.linalg.norm(jnp.where(real, value, 0.0)))
      right, count = jnp.zeros(()), jnp.ones(())
      if moves:
        mask = record["mask_BxTxA"]
        hit = told["logits"][0].argmax(-1) == record["tokens_BxTxA"]
        right, count = (hit & mask).sum().astype(jnp.float32), mask.sum().astype(jnp.float32)
      return worst, right, count

    return jax.vmap(one)(batch, expected)

  expected = [jax.tree.map(np.asarray, answers(batch)) for batch in batches]

  def ask(recipe):
    settings = twin.settings(recipe)
    parts = [compared(settings, batch, told) for batch, told in zip(batches, expected, strict=True)]
    apart, right, count = (
      np.concatenate([np.asarray(part[i], np.float64) for part in parts]) for i in range(3)
    )
    return losses(settings, batches), apart, (right, count)

  before, _, right_before = ask(Recipe({}, {}))

  def line(recipe) -> dict:
    after, apart, right = ask(recipe)
    rise, error = increase(after["loss"], before["loss"], scene_R)
    told = {"relative_l2": apart.mean(), "worst_sample": apart.max(), "rise": rise, "rise_error": error}
    told["loss"] = after["loss"][0].sum() / after["loss"][1].sum()
    told["samples"] = after["loss"][1].sum()
    if moves:
      drop, error = increase(right_before, right, scene_R)
      told |= {"drop_points": 100 * drop, "drop_error": 100 * error}
      told["accuracy"] = 100 * right[0].sum() / right[1].sum()
      domain_R = np.concatenate([batch["domain_B"] for batch in batches])
      slices = {}
      for i, name in enumerate(run.dataset.domains):
        own = domain_R == i
        if own.any():
          pairs = [
            tuple(value[own] for value in pair)
            for pair in (after["loss"], before["loss"], right_before, right)
          ]
          slices[name] = {
            "rise": increase(*pairs[:2], scene_R[own]),
            "drop_points": 100 * np.asarray(increase(*pairs[2:], scene_R[own])),
          }
      told["slices"] = {
        name: {key: list(map(float, pair)) for key, pair in own.items()} for name, own in slices.items()
      }
      told["worst_slice_points"] = max(own["drop_points"][0] for own in slices.values())
    return {
      key: float(value) if np.ndim(value) == 0 and not isinstance(value, dict) else value
      for key, value in told.items()
    }

  return line


def recipes(found) -> dict:
  from export import calibration
  from export.recipe import Recipe, Site

  made = {
    f"{method}, {'signed' if sign else 'unsigned'}": calibration.static_recipe(
      found.observed, method, sign, 8, {}
    )
    for method in METHODS
    for sign in (False, True)
  }
  every = list(found.twin.weights)
  made["dynamic"] = Recipe(dict.fromkeys(every, Site(8, "dynamic")), {})
  made["int8 weights alone"] = Recipe(dict.fromkeys(every, Site(8, "float")), {})
  made["int4 weights alone"] = Recipe(dict.fromkeys(every, Site(4, "float")), {})
  four = made["mse, unsigned"]
  made["int4 weights, int8 activations"] = Recipe(
    {name: dataclasses.replace(own, bits=4) for name, own in four.sites.items()}, {}
  )
  return made


def at_random(found, budget: int, seed: int):
  """INT4 everywhere, then products made INT8, then float, in an order drawn at random, while the budget lasts."""
  from export.allocation import recipe_bytes
  from export.recipe import Recipe

  sites = dict(found.candidates["int4 weights alone"].sites)
  order = np.random.default_rng(seed).permutation(len(found.groups))
  for better in (found.candidates["int8"].sites, {}):
    for place in order:
      group = found.groups[place]
      tried = {name: own for name, own in sites.items() if name not in group} | {
        s: better[s] for s in group if s in better
      }
      if recipe_bytes(Recipe(tried, {}), found.twin.weights) <= budget:
        sites = tried
  return Recipe(sites, {})


def main() -> int:
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--run", required=True)
  parser.add_argument("--dataset", default="")
  parser.add_argument("--out", required=True)
  parser.add_argument("--records", type=int, default=384)
  parser.add_argument("--sensitivity", type=int, default=256)
  parser.add_argument("--calibrate", type=int, default=64)
  parser.add_argument("--smooth", default="weights,inputs,none")
  given = parser.parse_args()

  from experiments import run as runs
  from export import allocation, sensitivity
  from export.candidates import prepare, scene_batches
  from export.recipe import Recipe

  run = runs.open_run(given.run, given.dataset)
  batches, scene_R = scene_batches(run, run.config.data.eval_split, given.records)
  result = {
    "run": run.row["run_id"],
    "records": len(scene_R),
    "scenes": len(set(scene_R.tolist())),
    "lines": {},
  }
  lines = result["lines"]
  for smooth in given.smooth.split(","):
    found = prepare(run, runs.deployed(run), "train", given.calibrate, "mse", smooth)
    line = measured(found, batches, scene_R)
    suffix = {"weights": "", "inputs": ", inputs smoothed, too", "none": ", not smoothed"}[smooth]
    if smooth == "weights":
      lines["float"] = line(Recipe({}, {}))
    for name, recipe in recipes(found).items():
      lines[name + suffix] = line(recipe)
      print(
        name + suffix, {k: round(v, 5) for k, v in lines[name + suffix].items() if k != "slices"}, flush=True
      )
    if smooth != "weights":
      continue
    judged_on, scenes = scene_batches(run, "train", given.sensitivity)
    rows = sensitivity.scan(found.losses(judged_on), found.groups, found.candidates, scenes)
    print(sensitivity.table(rows), flush=True)
    result["sensitivity"] = [dataclasses.asdict(row) for row in rows]
    weights = found.twin.weights
    float_bytes = allocation.recipe_bytes(Recipe({}, {}), weights)
    uniform = allocation.recipe_bytes(found.candidates["int8"], weights)
    result["bytes"] = {
      "float": float_bytes,
      "int8": uniform,
      "int4": allocation.recipe_bytes(found.candidates["int4 weights alone"], weights),
    }
    budgets = {"int8 bytes": uniform} | {f"{share:g}": int(share * float_bytes) for share in SHARES}
    for title, budget in budgets.items():
      if budget < result["bytes"]["int4"]:
        continue
      recipe = allocation.allocated(rows, found.candidates, weights, budget)
      told = line(recipe)
      told["bits"] = {
        sensitivity.title(group): f"{recipe.of(group[0]).bits}, {recipe.of(group[0]).activation}"
        for group in found.groups
      }
      told["bytes"] = allocation.recipe_bytes(recipe, weights)
      lines[f"allocated, {title}"] = told
      drawn = [line(at_random(found, budget, seed)) for seed in range(RANDOM)]
      lines[f"random, {title}"] = {
        key: float(np.mean([own[key] for own in drawn])) for key in ("rise", "relative_l2", "loss")
      } | {"rise_spread": float(np.std([own["rise"] for own in drawn], ddof=1))}
      print(
        f"allocated, {title}",
        told["rise"],
        told["rise_error"],
        "random",
        lines[f"random, {title}"]["rise"],
        told["bits"],
        flush=True,
      )
  pathlib.Path(given.out).write_text(json.dumps(result, indent=1) + "\n")
  return 0


if __name__ == "__main__":
  sys.exit(main())
