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
KINDS = ("none", "sign flip x10", "scaling x30", "colluding Gaussian", "label flip")


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


def measure(aggregate, batch: int, sorted_share: float, seeds: int) -> np.ndarray:
  """Held-out loss [seeds, KINDS]."""
  import jax
  import jax.numpy as jnp
  import optax

  from federated import algorithms, attacks
  from federated.rounds import make_round
  from tests.federated import linear

  def many(kind, cohort, key):
    def step(server, key):
      own, common = jax.random.split(key)
      honest = attacks.scaling(1.0)
      made = [
        honest,
        attacks.sign_flip(10.0),
        attacks.scaling(30.0),
        attacks.colluding_gaussian(common, 1.0),
        honest,
      ]
      send = attacks.by_some(lambda update, key: jax.lax.switch(kind, made, update, key))
      algorithm = algorithms.fedavg(linear.loss_fn, optax.sgd(0.3))
      return make_round(algorithm, CLIENTS, jnp.inf, 1e9, CLIENTS, send, aggregate)(server, cohort, own)[
        0
      ], None

    start = {"params": linear.start(), "opt": optax.sgd(1.0).init(linear.start())}
    server, _ = jax.lax.scan(step, start, jax.random.split(key, ROUNDS))
    return linear.nats(server["params"], linear.records(4000, 1000)).mean()

  cohorts = []
  for seed in range(seeds):
    attacker = jnp.asarray(attacks.chosen(CLIENTS, BYZANTINE / CLIENTS, seed))
    clean = dealt(batch, sorted_share, seed)
    bad = clean._replace(link=clean.link | {"attacker": attacker})
    cohorts += [clean, bad, bad, bad, linear.poisoned(bad, "label_flip")]
  stacked = jax.tree.map(lambda *x: jnp.stack(x), *cohorts)
  kinds = jnp.tile(jnp.arange(len(KINDS)), seeds)
  keys = jnp.repeat(jax.random.split(jax.random.key(0), seeds), len(KINDS))
  return np.asarray(jax.jit(jax.vmap(many))(kinds, stacked, keys)).reshape(seeds, len(KINDS))


def main() -> None:
  from data.files import write_json_atomic
  from federated import robust

  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--out", type=pathlib.Path, required=True)
  parser.add_argument("--seeds", type=int, default=3)
  given = parser.parse_args()
  aggregates = {
    "mean (FedAvg)": None,
    "median": robust.median,
    "trimmed mean, 20 %": robust.trimmed_mean(0.2),
    "Krum": robust.krum(BYZANTINE),
    "multi-Krum, 16 kept": robust.multi_krum(BYZANTINE, 16),
    "centred clipping, 0.05": robust.centred_clipping(0.05, 3),
  }
  found: dict = {}
  for batch, sorted_share in ((128, 0.0), (32, 0.0), (128, 0.5)):
    setting = f"{STEPS * batch} records, {sorted_share:.0%} sorted"
    clean = None
    print(f"\n{setting}\n| aggregate | {' | '.join(KINDS)} |\n|{'---|' * (len(KINDS) + 1)}")
    for name, aggregate in aggregates.items():
      loss = measure(aggregate, batch, sorted_share, given.seeds)
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
