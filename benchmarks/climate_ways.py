"""Ways of benchmarks/two_climates.py to go on from a base that has seen summer alone, all with as many local steps."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

CLIENTS, STEPS, ROUNDS = 8, 32, 16
RATES = {"client": 0.003, "central": 0.003, "sgd": 0.1, "server adam": 0.003, "proximal": 0.1, "lora": 0.01}
RANK, ALPHA = 4, 8.0


@dataclasses.dataclass(frozen=True)
class Study:
  """Everything that the ways to learn have in common: data on the device, fleets, the base, and who judges."""

  task: Any
  domains: tuple[str, ...]
  data: dict
  fleets: dict  # "both", "summer"
  winter_V: Any  # bool, vehicles of "both"
  base: Any
  judge: Callable  # (params, split) -> (sums [cells], counts [cells])
  winter_G: Any  # bool, cells in snow
  key: Any
  seed: int


def loss_on(task: Any, data: dict) -> Callable:
  """The loss over records given by their number."""

  def loss_fn(params, record_B, key):
    return task.loss_fn(params, {name: value[record_B] for name, value in data.items()}, key)

  return loss_fn


def central(study: Study, fleet: str, steps: int, rate: float, own: Any = None) -> Any:
  """AdamW where the logs of a fleet are, or of one vehicle, in random order; the rate falls to nothing."""
  import jax.numpy as jnp
  import numpy as np

  records = np.concatenate(study.fleets[fleet].records) if own is None else own
  rng = np.random.default_rng([study.seed, 7])
  order = np.concatenate([rng.permutation(records) for _ in range(-(-steps // len(records)))])[:steps]
  train = _trainer(study.task, steps, rate)
  return train(study.base, study.data, jnp.asarray(order[:, None], jnp.int32), study.key)


@functools.lru_cache(maxsize=4)  # vehicles of the same number of steps share what was compiled
def _trainer(task: Any, steps: int, rate: float) -> Callable:
  import jax
  import jax.numpy as jnp
  import optax

  from federated.algorithms import local_steps

  @jax.jit
  def train(start, data, order, key):
    falling = optax.cosine_decay_schedule(rate, steps)
    train = local_steps(loss_on(task, data), optax.adamw(falling))
    return train(start, order, jnp.ones(steps, bool), key)[0]

  return train


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
  algorithm = build(loss_on(study.task, study.data))
  server = algorithm.server_init(start)
  one = algorithm.memory_init(start)
  update = jax.eval_shape(lambda: algorithm.client(server, one, *shape)[0])
  sent = wire.size(compression.message_shapes(codec, update) if codec else update)
  memory = jax.tree.map(lambda x: jnp.broadcast_to(x, (own.vehicles, *x.shape)), one)

  @jax.jit
  def advance(server, memory, data, client_C, record, real, weight, key):
    link = {"codec": {}, "unsent": {}} if codec else {}
    cohort = Cohort(record, real, weight, jax.tree.map(lambda x: x[client_C], memory), link)
    run = make_round(build(loss_on(study.task, data)), 4, jnp.inf, jnp.inf, own.vehicles, send)
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

  client = optax.adamw(RATES["client"])

  def averaged(fleet: str, build: Callable) -> Callable:
    def run(study: Study):
      server, _, sent = federate(study, fleet, build, study.base)
      return [(server["params"], server["params"])], sent

    return run

  adam = optax.adam(RATES["server adam"], eps=1e-3)  # tau of arXiv:2003.00295
  return {
    "base, summer alone": lambda study: ([(study.base, study.base)], 0),
    "the same summer vehicles go on": averaged("summer", lambda f: algorithms.fedavg(f, client)),
    "FedAvg": averaged("both", lambda f: algorithms.fedavg(f, client)),
    "central": lambda study: ([(central(study, "both", ROUNDS * CLIENTS * STEPS, RATES["central"]),) * 2], 0),
    "each vehicle for itself": alone,
    "own norms (FedBN)": own_norms,
    "FedAdam": averaged("both", lambda f: algorithms.fedavg(f, client, adam)),
    "adapters alone (LoRA)": adapters,
    "clusters (IFCA)": two_clusters,
    "FedProx": averaged("both", lambda f: algorithms.fedavg(f, client, proximal=RATES["proximal"])),
    "SCAFFOLD": averaged("both", lambda f: algorithms.scaffold(f, RATES["sgd"])),
  }


def alone(study: Study):
  """Vehicles in snow, every sixth of them, and as many others: what each learns of its own scene."""
  import numpy as np

  fleet = study.fleets["both"]
  steps = round(ROUNDS * CLIENTS * STEPS / fleet.vehicles)
  found = []
  for winter in (False, True):
    some = np.flatnonzero(study.winter_V == winter)[::6]
    found.append([central(study, "both", steps, RATES["central"], fleet.records[v]) for v in some])
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
    return algorithms.personal(loss_fn, optax.adamw(RATES["client"]), norms)

  server, memory, sent = federate(study, "both", build, study.base)
  models = []
  for winter in (False, True):
    own = np.flatnonzero(study.winter_V == winter)
    mean = jax.tree.map(lambda x, own=own: x[own].mean(0), memory)
    models.append(trainable.insert(server["params"], trainable.select(mean, norms)))
  return [tuple(models)], sent


def adapters(study: Study):
  """FedAvg of low-rank deltas beside the base, which stays as it is and does not travel."""
  import jax
  import optax

  from federated import algorithms
  from models import lora, trainable

  example = {name: value[:1] for name, value in study.data.items()}
  named = jax.eval_shape(lambda: study.task.init(study.key, example)["params"])
  deltas = _plain(lora.init(study.key, named, RANK, trainable.rule(lora.MATRICES)))

  def build(loss_fn):
    def on_merged(params, record_B, key):
      return loss_fn(lora.merge(study.base, params, ALPHA), record_B, key)

    return algorithms.fedavg(on_merged, optax.adamw(RATES["lora"]))

  server, _, sent = federate(study, "both", build, deltas)
  return [(lora.merge(study.base, server["params"], ALPHA),) * 2], sent


def _plain(params):
  import flax.linen as nn

  return nn.unbox(params)


def two_clusters(study: Study):
  """Two vehicles drawn at random train first; their models are the first centres. A climate chooses by "tune"."""
  import jax
  import numpy as np
  import optax

  from federated import clusters

  fleet = study.fleets["both"]
  drawn = np.random.default_rng([study.seed, 8]).choice(fleet.vehicles, 2, replace=False)
  steps = round(ROUNDS * CLIENTS * STEPS / fleet.vehicles)
  first = [central(study, "both", steps, RATES["central"], fleet.records[v]) for v in drawn]

  def build(loss_fn):
    return clusters.clustered(loss_fn, optax.adamw(RATES["client"]), 2)

  server, _, sent = federate(study, "both", build, clusters.stacked(first), clusters.chosen_alone(2))
  models = [jax.tree.map(lambda x, j=j: x[j], server["params"]) for j in range(2)]
  lost = [study.judge(model, "tune")[0] for model in models]
  choice = [int(np.argmin([one[study.winter_G == winter].sum() for one in lost])) for winter in (False, True)]
  return [tuple(models[j] for j in choice)], sent
