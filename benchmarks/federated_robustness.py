"""What a fifth of attackers does to a fleet, by attack and aggregate, on the softmax regression of the tests.

  python benchmarks/federated_robustness.py --out=results/federated_robustness [--seeds=3]

20 vehicles, 30 rounds of 4 local steps, 4 attackers. Settings: records of a vehicle, and the share of them dealt in
order of their labels, so that vehicles differ. Held-out nats on 4,000 records, mean over seeds; the spread is over
seeds. Prints the tables and writes robustness.json.
"""

import argparse
import pathlib
import sys

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

CLIENTS, STEPS, ROUNDS, BYZANTINE = 20, 4, 30, 4


def dealt(batch: int, sorted_share: float, seed: int):
  """A cohort without attackers; `sorted_share` of the records lie in order of their labels."""
  import jax.numpy as jnp

  from federated.rounds import Cohort
  from tests.federated import linear

  count = CLIENTS * STEPS * batch
  found = linear.records(count, seed)
  place = np.random.default_rng([seed, 2]).permutation(count)
  own, rest = np.split(place, [round(sorted_share * count)])
  own = own[np.argsort(found["y"][own], kind="stable")]
  each = np.concatenate([own.reshape(CLIENTS, -1), rest.reshape(CLIENTS, -1)], 1)
  each = np.random.default_rng([seed, 3]).permuted(each, axis=1).reshape(CLIENTS, STEPS, batch)
  batches = {name: jnp.asarray(x[each]) for name, x in found.items()}
  link = {"attacker": jnp.zeros(CLIENTS, bool), "link": {}}
  return Cohort(batches, jnp.ones((CLIENTS, STEPS), bool), jnp.ones(CLIENTS), {}, link)


def measure(make_aggregate, batch: int, sorted_share: float, seeds: int) -> np.ndarray:
  """Held-out loss [seeds, KINDS]."""
  import jax
  import jax.numpy as jnp

  from federated import attacks
  from tests.federated import linear

  cohorts = [
    linear.of_each_kind(dealt(batch, sorted_share, seed), attacks.chosen(CLIENTS, BYZANTINE / CLIENTS, seed))
    for seed in range(seeds)
  ]
  stacked = jax.tree.map(lambda *x: jnp.concatenate(x), *cohorts)
  count = len(linear.KINDS)
  kinds = jnp.tile(jnp.arange(count), seeds)
  keys = jnp.repeat(jax.random.split(jax.random.key(0), seeds), count)

  def many(kind, cohort, key):
    return linear.attacked(kind, cohort, make_aggregate, key, ROUNDS)

  return np.asarray(jax.jit(jax.vmap(many))(kinds, stacked, keys)).reshape(seeds, count)


def main() -> None:
  from data.files import write_json_atomic
  from federated import robust
  from tests.federated.linear import KINDS

  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--out", type=pathlib.Path, required=True)
  parser.add_argument("--seeds", type=int, default=3)
  given = parser.parse_args()
  aggregates = {
    "mean (FedAvg)": lambda key: None,
    "median": lambda key: robust.median,
    "trimmed mean, 20 %": lambda key: robust.trimmed_mean(0.2),
    "Krum": lambda key: robust.krum(BYZANTINE),
    "multi-Krum, 16 kept": lambda key: robust.multi_krum(BYZANTINE, 16),
    "centred clipping, 0.05": lambda key: robust.centred_clipping(0.05, 3),
    "median of pairs": lambda key: robust.grouped(robust.median, 2, key),
    "centred clipping of pairs, 0.05": lambda key: robust.grouped(robust.centred_clipping(0.05, 3), 2, key),
  }
  found: dict = {}
  for batch, sorted_share in ((128, 0.0), (32, 0.0), (128, 0.5)):
    setting = f"{STEPS * batch} records, {sorted_share:.0%} sorted"
    clean = None
    print(f"\n{setting}\n| aggregate | {' | '.join(KINDS)} |\n|{'---|' * (len(KINDS) + 1)}")
    for name, make_aggregate in aggregates.items():
      loss = measure(make_aggregate, batch, sorted_share, given.seeds)
      clean = loss[:, :1] if clean is None else clean
      above = 100 * (loss / clean - 1)
      found[f"{setting}: {name}"] = {"loss": loss.tolist(), "above_clean_percent": above.mean(0).tolist()}
      cells = [f"{a:+.1f} ± {s:.1f}" for a, s in zip(above.mean(0), above.std(0, ddof=1), strict=True)]
      print(f"| {name} | {' | '.join(cells)} |", flush=True)
    found[f"{setting}: clean"] = float(clean.mean())
  given.out.mkdir(parents=True, exist_ok=True)
  write_json_atomic(given.out / "robustness.json", {"kinds": KINDS, "found": found})


if __name__ == "__main__":
  main()
