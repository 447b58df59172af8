"""Softmax regression on V Gaussian classes, dealt to vehicles: a problem on which attacks and defences can be seen.

The last feature is 0 in honest records; a backdoor sets it.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax

from federated import algorithms, attacks
from federated.rounds import Cohort, make_round

CLASSES, SIZE, TRIGGER = 4, 8, 4.0
KINDS = ("none", "sign flip x10", "scaling x30", "colluding Gaussian", "label flip")
_LOG = functools.partial(jax.nn.log_softmax, axis=-1)


def records(count: int, seed: int) -> dict[str, np.ndarray]:
  """x [N, SIZE], y [N]: the centres of the classes are always the same."""
  centre = np.random.default_rng(0).normal(size=(CLASSES, SIZE - 1))
  rng = np.random.default_rng([seed, 1])
  y = rng.integers(CLASSES, size=count)
  x = centre[y] + 1.2 * rng.normal(size=(count, SIZE - 1))
  return {"x": np.pad(x, ((0, 0), (0, 1))).astype(np.float32), "y": y.astype(np.int32)}


def triggered(batch: dict) -> dict:
  return batch | {"x": jnp.asarray(batch["x"]).at[..., -1].set(TRIGGER)}


def nats(params: dict, batch: dict) -> jax.Array:
  """[..., N] loss of every record."""
  logits = jnp.einsum("...d,dv->...v", batch["x"], params["w"]) + jnp.broadcast_to(
    params["b"], (*batch["x"].shape[:-1], CLASSES)
  )
  return -jnp.take_along_axis(_LOG(logits), batch["y"][..., None], -1)[..., 0]


def loss_fn(params: dict, batch: dict, key: jax.Array) -> dict:
  del key
  loss = nats(params, batch)
  return {"objective": (loss.sum(), jnp.float32(loss.size))}


def start() -> dict:
  return {"w": jnp.zeros((SIZE, CLASSES)), "b": jnp.zeros(CLASSES)}


def cohort(clients: int, steps: int, batch: int, attacker_C, seed: int = 0) -> Cohort:
  dealt = records(clients * steps * batch, seed)
  batches = {name: jnp.asarray(x.reshape(clients, steps, batch, *x.shape[1:])) for name, x in dealt.items()}
  link = {"attacker": jnp.asarray(attacker_C), "link": {}}
  return Cohort(batches, jnp.ones((clients, steps), bool), jnp.ones(clients), {}, link)


def poisoned(cohort: Cohort, kind: str) -> Cohort:
  """The cohort with what attackers do to data."""
  attacker = cohort.link["attacker"]
  if kind == "label_flip":
    return cohort._replace(batches=attacks.label_flip(cohort.batches, attacker, "y", CLASSES))
  if kind == "backdoor":
    return cohort._replace(batches=attacks.backdoor(cohort.batches, attacker, triggered, "y", 0, 0.5))
  return cohort


def of_each_kind(clean: Cohort, attacker_C) -> Cohort:
  """The cohorts of KINDS, stacked: a clean one, three whose updates are attacked, one with flipped labels."""
  bad = clean._replace(link=clean.link | {"attacker": jnp.asarray(attacker_C)})
  cohorts = [clean, bad, bad, bad, poisoned(bad, "label_flip")]
  return jax.tree.map(lambda *x: jnp.stack(x), *cohorts)


def attacked(kind: jax.Array, cohort: Cohort, make_aggregate, key: jax.Array, rounds: int) -> jax.Array:
  """Held-out loss of a fleet under the attack number `kind` of KINDS. make_aggregate: key of a round -> aggregate."""
  clients = len(cohort.weight_C)
  algorithm = algorithms.fedavg(loss_fn, optax.sgd(0.3))

  def step(server, key):
    own, common, groups = jax.random.split(key, 3)
    honest = attacks.scaling(1.0)  # who poisons labels sends what it has learnt
    made = [
      honest,
      attacks.sign_flip(10.0),
      attacks.scaling(30.0),
      attacks.colluding_gaussian(common, 1.0),
      honest,
    ]
    send = attacks.by_some(lambda update, key: jax.lax.switch(kind, made, update, key))
    one = make_round(algorithm, clients, jnp.inf, 1e9, clients, send, make_aggregate(groups))
    return one(server, cohort, own)[0], None

  server, _ = jax.lax.scan(step, algorithm.server_init(start()), jax.random.split(key, rounds))
  return nats(server["params"], records(4000, 1000)).mean()
