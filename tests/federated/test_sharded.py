"""A round whose clients are spread over eight devices is that of one device, and only sums travel between them."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from federated import algorithms, compression
from federated.rounds import Cohort, client_mesh, make_round

CLIENTS, STEPS, BATCH = 16, 2, 4


def mlp(params, batch, key):
  del key
  hidden = jnp.tanh(batch["x"] @ params["up"])
  nats = -jnp.take_along_axis(jax.nn.log_softmax(hidden @ params["head"]), batch["y"][:, None], 1)
  return {"objective": (nats.sum(), jnp.float32(len(nats)))}


@pytest.fixture(scope="module")
def both():
  """{devices: (what a round returns, its compiled text)}, of clients that remember and a link that does, too."""
  rng = np.random.default_rng(0)
  params = {
    "up": jnp.asarray(rng.normal(size=(3, 8)), jnp.float32),
    "head": jnp.asarray(rng.normal(size=(8, 4)), jnp.float32),
  }
  algorithm, codec = algorithms.scaffold(mlp, 0.1), compression.top_k(0.2)
  server = algorithm.server_init(params)

  def of_each(tree):
    return jax.tree.map(lambda x: jnp.asarray(0.01 * rng.normal(size=(CLIENTS, *x.shape)), x.dtype), tree)

  batches = {
    "x": jnp.asarray(rng.normal(size=(CLIENTS, STEPS, BATCH, 3)), jnp.float32),
    "y": jnp.asarray(rng.integers(4, size=(CLIENTS, STEPS, BATCH))),
  }
  link = of_each(compression.link_init(codec, {"params": params, "control": params}, True))
  weight = jnp.ones(CLIENTS).at[5].set(0.0)
  real = jnp.ones((CLIENTS, STEPS), bool).at[3, 1].set(False)
  cohort = Cohort(batches, real, weight, of_each(algorithm.memory_init(params)), link)
  found = {}
  for devices in (1, 8):
    mesh = client_mesh(jax.devices()[:devices]) if devices > 1 else None
    send = compression.through(codec, True)
    one = make_round(algorithm, 2, jnp.inf, jnp.inf, CLIENTS, send, mesh=mesh)
    compiled = jax.jit(one).lower(server, cohort, jax.random.key(0)).compile()
    found[devices] = compiled(server, cohort, jax.random.key(0)), compiled.as_text()
  return found


def test_eight_devices_are_one(both):
  (one, _), (eight, _) = both[1], both[8]
  assert (
    len(jax.tree.leaves(eight[1])[0].sharding.device_set) == 8
  )  # what clients remember stays where they are
  for got, expected in zip(jax.tree.leaves(eight), jax.tree.leaves(one), strict=True):
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-6)
  assert int(eight[3]["took_part"]) == CLIENTS - 1


def test_sums_alone_travel(both):
  text = both[8][1]
  kinds = (
    "all-reduce",
    "all-gather",
    "all-to-all",
    "collective-permute",
    "reduce-scatter",
    "collective-broadcast",
  )
  found = {kind: len(re.findall(rf"\b{kind}(?:-start)?\(", text)) for kind in kinds}
  assert found.pop("all-reduce") > 0 and not any(found.values()), found
