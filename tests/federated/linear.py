"""Softmax regression on V Gaussian classes, dealt to vehicles: a problem on which attacks and defences can be seen.

The last feature is 0 in honest records; a backdoor sets it.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from federated import attacks
from federated.rounds import Cohort

CLASSES, SIZE, TRIGGER = 4, 8, 4.0
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
