"""Do winter vehicles better winter without their logs leaving them, also in a region that no vehicle has seen?

  python -m data.build --source=sumo --weathers=clear,snow --scenes_per_domain=16 --steps=120 --seed=11 \
    --fractions=0.6,0.12,0.28 --out=build/climates
  python -m benchmarks.two_climates --dataset=build/climates --out=results/two_climates

A model is trained centrally on logs of summer alone, and shipped. Then vehicles, a scene of one place and one weather
each, go on: half of them drive in snow. One domain is left out of everything, in either weather: its held-out scenes in
snow are the region that nobody has seen. Another one with every seed. All ways take as many local steps, from the same
base. Writes two_climates.json (sums and counts of every cell of domain and weather) and two_climates.svg.
"""

import argparse
import dataclasses
import functools
import json
import pathlib
from collections.abc import Callable
from typing import Any

CLIMATES = {"summer": "clear", "winter": "snow"}
REGIONS = ("rural", "suburb", "roundabout", "highway", "urban_grid")  # the one of each seed
CLIENTS, STEPS, ROUNDS, BASE_STEPS = 8, 32, 24, 8000
RATES = {"adamw": 0.003, "sgd": 0.1, "server adam": 0.003, "proximal": 0.1}


@dataclasses.dataclass(frozen=True)
class Study:
  """Everything that the ways to learn have in common: data on the device, fleets, the base, and who judges."""

  task: Any
  data: dict
  fleets: dict  # "both", "summer"
  winter_V: Any  # bool, vehicles of "both"
  base: Any
  judge: Callable  # (params, split) -> (sums [cells], counts [cells])
  winter_G: Any  # bool, cells in snow
  key: Any
  seed: int

  def loss_on(self, data) -> Callable:
    def loss_fn(params, record_B, key):
      return self.task.loss_fn(params, {name: value[record_B] for name, value in data.items()}, key)

    return loss_fn


def prepare(dataset: str, region: str, seed: int, width: int) -> Study:
  import jax
  import jax.numpy as jnp
  import numpy as np

  from data import reader, scene_labels
  from data.datasets import open_dataset
  from experiments import federation
  from experiments.configs import fleet as config_file
  from experiments.configs import motion
  from experiments.federation_config import parse
  from experiments.task import make_task

  opened = open_dataset(dataset)
  values = config_file.get_config("demo").to_dict()
  values["train"] = motion.get_config(f"w{width}").to_dict()
  values["seed"] = values["train"]["seed"] = seed
  values["train"]["data"]["dataset"] = dataset
  fleets = {}
  for name, also in (("both", ""), ("summer", ";weather=snow")):
    without = f"domain={region}{also}"
    values["fleet"] |= {"axes": "domain,weather", "without": without, "reached": 1.0}
    values["fleet"]["vehicles"] = _scenes(opened, without)
    config, train = parse(values)
    fleets[name] = federation.make_fleet(config, opened, "train")
  _, names = scene_labels.of_records(opened, "train", ["weather"])
  snow = names["weather"].index(CLIMATES["winter"])
  winter_V = np.array([cell["weather"] == snow for cell in fleets["both"].cells])[fleets["both"].home_V]

  places, weathers = len(opened.domains), len(names["weather"])
  task = make_task(train, opened.config, places * weathers)  # which judges by cell of domain and weather

  def read(split: str) -> dict:
    source = reader.RecordSource(opened, split, task.fields)
    labels, _ = scene_labels.of_records(opened, split, ["weather"])
    stacked = source.stacked(np.arange(len(source)))
    stacked["domain"] = labels["domain"] * weathers + labels["weather"]
    return task.to_batch(stacked)

  held = {split: _in_pieces(read(split), 64) for split in ("tune", "validation")}

  @jax.jit
  def lost(params, pieces):
    found = jax.lax.map(lambda b: task.held_out(params, b, jax.random.key(0))["by_domain"], pieces)
    return jax.tree.map(lambda x: x.sum(0), found)

  def judge(params, split: str):
    return tuple(np.asarray(x, np.float64) for x in lost(params, held[split]))

  data = {name: jnp.asarray(value) for name, value in read("train").items()}
  key = jax.random.key(seed)
  example = {name: value[:1] for name, value in data.items()}
  fresh = jax.jit(lambda key: _unboxed(task.init(key, example)["params"]))(key)
  winter_G = np.tile(np.arange(weathers) == snow, places)
  found = Study(task, data, fleets, winter_V, fresh, judge, winter_G, key, seed)
  return dataclasses.replace(found, base=central(found, "summer", BASE_STEPS, 0.006))


def _scenes(opened: Any, without: str) -> int:
  """How many scenes of train are in none of the slices."""
  import numpy as np

  from data import scene_labels, slices

  labels, names = scene_labels.of_records(opened, "train", slices.axes(without))
  gone = np.any([slices.members(one, labels, names) for one in without.split(";")], 0)
  return len(np.unique(labels["scene"][~gone]))


def _in_pieces(batch: dict, size: int) -> dict:
  """[pieces, size, ...]; records of zeros at the end supervise no move."""
  import jax.numpy as jnp
  import numpy as np

  def cut(value):
    missing = -len(value) % size
    full = np.concatenate([value, np.zeros((missing, *value.shape[1:]), value.dtype)])
    return jnp.asarray(full.reshape(-1, size, *value.shape[1:]))

  return {name: cut(np.asarray(value)) for name, value in batch.items()}


def _unboxed(params):
  import flax.linen as nn

  return nn.unbox(params)


def central(study: Study, fleet: str, steps: int, rate: float, own: Any = None) -> Any:
  """AdamW where the logs of a fleet are, or of one vehicle, in random order; the rate falls to nothing."""
  import jax.numpy as jnp
  import numpy as np

  records = np.concatenate(study.fleets[fleet].records) if own is None else own
  rng = np.random.default_rng([study.seed, 7])
  order = np.concatenate([rng.permutation(records) for _ in range(-(-steps // len(records)))])[:steps]
  train = _central(study, steps, rate)
  return train(study.base, study.data, jnp.asarray(order[:, None], jnp.int32), study.key)


@functools.lru_cache(maxsize=4)
def _trainer(task: Any, steps: int, rate: float) -> Callable:
  import jax
  import jax.numpy as jnp
  import optax

  from federated.algorithms import local_steps

  @jax.jit
  def train(start, data, order, key):
    def loss_fn(params, record_B, key):
      return task.loss_fn(params, {name: value[record_B] for name, value in data.items()}, key)

    falling = optax.cosine_decay_schedule(rate, steps)
    return local_steps(loss_fn, optax.adamw(falling))(start, order, jnp.ones(steps, bool), key)[0]

  return train


def _central(study: Study, steps: int, rate: float) -> Callable:
  return _trainer(study.task, steps, rate)


def federate(
  study: Study, fleet: str, build: Callable, start: Any, codec: Any = None
) -> tuple[Any, Any, int]:
  """(server, what vehicles remember [V, ...], bytes that a client sends) after all rounds of an algorithm."""
  import jax
  import jax.numpy as jnp

  from federated import compression, drafting, wire
  from federated.rounds import Cohort, make_round, plain

  own = study.fleets[fleet]
  send = compression.through(codec, feedback=False) if codec else plain
  shape = jnp.zeros((STEPS, 1), jnp.int32), jnp.ones(STEPS, bool), study.key
  algorithm = build(study.loss_on(study.data))
  server = algorithm.server_init(start)
  one = algorithm.memory_init(start)
  update = jax.eval_shape(lambda: algorithm.client(server, one, *shape)[0])
  sent = wire.size(compression.message_shapes(codec, update) if codec else update)
  memory = jax.tree.map(lambda x: jnp.broadcast_to(x, (own.vehicles, *x.shape)), one)

  @jax.jit
  def advance(server, memory, data, client_C, record, real, weight, key):
    link = {"codec": {}, "unsent": {}} if codec else {}
    cohort = Cohort(record, real, weight, jax.tree.map(lambda x: x[client_C], memory), link)
    run = make_round(build(study.loss_on(data)), 4, jnp.inf, jnp.inf, own.vehicles, send)
    server, kept, _, _ = run(server, cohort, key)
    return server, jax.tree.map(lambda all, new: all.at[client_C].set(new), memory, kept)

  for number in range(ROUNDS):
    drafted = drafting.draft(own, number, CLIENTS, STEPS, 1, 1.0, study.seed)
    server, memory = advance(
      server, memory, study.data, jnp.asarray(drafted.client_C), jnp.asarray(drafted.record_CxKxB, jnp.int32),
      jnp.asarray(drafted.real_CxK), jnp.asarray(drafted.weight_C), jax.random.fold_in(study.key, number),
    )  # fmt: skip
  return server, memory, sent


def ways() -> dict[str, Callable]:
  """Name -> study -> ([(weight, model of summer, model of winter)], bytes that one client sends in a round)."""
  import optax

  from federated import algorithms

  client = optax.adamw(RATES["adamw"])

  def averaged(fleet: str, build: Callable) -> Callable:
    def run(study: Study):
      server, _, sent = federate(study, fleet, build, study.base)
      return [(server["params"], server["params"])], sent

    return run

  adam = optax.adam(RATES["server adam"], eps=1e-3)  # tau of arXiv:2003.00295
  return {
    "base, summer alone": lambda study: ([(study.base, study.base)], 0),
    "the same summer vehicles go on": averaged("summer", lambda f: algorithms.fedavg(f, client)),
    "each vehicle for itself": alone,
    "FedAvg": averaged("both", lambda f: algorithms.fedavg(f, client)),
    "FedProx": averaged("both", lambda f: algorithms.fedavg(f, client, proximal=RATES["proximal"])),
    "FedAdam": averaged("both", lambda f: algorithms.fedavg(f, client, adam)),
    "SCAFFOLD": averaged("both", lambda f: algorithms.scaffold(f, RATES["sgd"])),
    "own norms (FedBN)": own_norms,
    "clusters (IFCA)": two_clusters,
    "central": lambda study: ([(central(study, "both", ROUNDS * CLIENTS * STEPS, RATES["adamw"]),) * 2], 0),
  }


def alone(study: Study):
  """Vehicles in snow, every sixth of them, and as many others: what each learns of its own scene."""
  import numpy as np

  fleet = study.fleets["both"]
  steps = round(ROUNDS * CLIENTS * STEPS / fleet.vehicles)
  found = []
  for winter in (False, True):
    some = np.flatnonzero(study.winter_V == winter)[::6]
    found.append([central(study, "both", steps, RATES["adamw"], fleet.records[v]) for v in some])
  return list(zip(*found, strict=False)), 0


def own_norms(study: Study):
  """Each climate is judged with the mean of its vehicles' own normalisation, as an unseen vehicle would begin."""
  import jax
  import numpy as np
  import optax

  from federated import algorithms
  from models import trainable

  norms = trainable.rule(trainable.NORM)

  def build(loss_fn):
    return algorithms.personal(loss_fn, optax.adamw(RATES["adamw"]), norms)

  server, memory, sent = federate(study, "both", build, study.base)
  models = []
  for winter in (False, True):
    own = np.flatnonzero(study.winter_V == winter)
    mean = jax.tree.map(lambda x, own=own: x[own].mean(0), memory)
    models.append(trainable.insert(server["params"], trainable.select(mean, norms)))
  return [tuple(models)], sent


def two_clusters(study: Study):
  """Two vehicles drawn at random train first; their models are the first centres. A climate chooses by "tune"."""
  import jax
  import numpy as np
  import optax

  from federated import clusters

  fleet = study.fleets["both"]
  drawn = np.random.default_rng([study.seed, 8]).choice(fleet.vehicles, 2, replace=False)
  steps = round(ROUNDS * CLIENTS * STEPS / fleet.vehicles)
  first = [central(study, "both", steps, RATES["adamw"], fleet.records[v]) for v in drawn]

  def build(loss_fn):
    return clusters.clustered(loss_fn, optax.adamw(RATES["adamw"]), 2)

  server, _, sent = federate(study, "both", build, clusters.stacked(first), clusters.chosen_alone(2))
  models = [jax.tree.map(lambda x, j=j: x[j], server["params"]) for j in range(2)]
  lost = [study.judge(model, "tune")[0] for model in models]
  choice = [int(np.argmin([one[study.winter_G == winter].sum() for one in lost])) for winter in (False, True)]
  return [tuple(models[j] for j in choice)], sent


def measured(study: Study, way: Callable, split: str) -> dict[str, Any]:
  """Sums over the cells of each climate under its model, counts, and bytes; the mean over several models."""
  import numpy as np

  pairs, sent = way(study)
  sums = []
  for summer, winter in pairs:
    by_model = [study.judge(model, split) for model in ((summer,) if summer is winter else (summer, winter))]
    sums.append(np.where(study.winter_G, by_model[-1][0], by_model[0][0]))
  counts = by_model[0][1]
  return {"sums": np.mean(sums, 0).tolist(), "counts": counts.tolist(), "bytes": sent}


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--dataset", required=True)
  parser.add_argument("--out", required=True, type=pathlib.Path)
  parser.add_argument("--seeds", default="0,1,2")
  parser.add_argument("--width", default=16, type=int)
  parser.add_argument("--ways", default="", help="Names joined by ';'; empty: all.")
  parser.add_argument("--split", default="validation")
  chosen = parser.parse_args()
  from benchmarks import two_climates_figure
  from data.files import write_json_atomic

  chosen.out.mkdir(parents=True, exist_ok=True)
  path = chosen.out / "two_climates.json"
  found = json.loads(path.read_text()) if path.exists() else {}
  for seed in chosen.seeds.split(","):
    region = REGIONS[int(seed) % len(REGIONS)]
    here = found.setdefault(seed, {"region": region, "ways": {}})
    wanted = [name for name in ways() if name not in here["ways"]]
    wanted = [name for name in wanted if not chosen.ways or name in chosen.ways.split(";")]
    study = prepare(chosen.dataset, region, int(seed), chosen.width) if wanted else None
    for name in wanted:
      here["ways"][name] = measured(study, ways()[name], chosen.split)
      write_json_atomic(path, found)
      print(seed, region, name, flush=True)
  print(two_climates_figure.table(found))
  two_climates_figure.draw(found, chosen.out / "two_climates")


if __name__ == "__main__":
  main()
