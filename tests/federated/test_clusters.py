"""Clustered fleets against the closed form of two populations, each of which comes to its own rest."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from federated import clusters, compression, wire
from federated.rounds import make_round
from tests.federated.quadratics import cohort, loss_fn, moved, problem, weighted_rest

RATE, STEPS = 0.1, 5


@pytest.fixture(autouse=True)
def float64():
  with jax.enable_x64(True):
    yield


def test_two_populations_find_their_own_models_and_come_to_their_own_rest():
  a, b, weights = problem()
  of_C = np.arange(8) % 2
  b = b + 20.0 * (1 - 2 * of_C)[:, None]
  algorithm = clusters.clustered(loss_fn, optax.sgd(RATE), 3)
  # The third model is nobody's, wherever it is.
  server = algorithm.server_init({"x": jnp.asarray([[1.0] * 3, [-1.0] * 3, [900.0] * 3])})
  send = compression.through(clusters.chosen_alone(3), feedback=False)
  one = make_round(algorithm, 4, jnp.inf, heaviest=jnp.inf, vehicles=8, transmit=send)

  def step(server, key):
    here = cohort(a, b, weights, STEPS)._replace(link={"codec": {}, "unsent": {}})
    server, _, _, report = one(server, here, key)
    return server, report["metrics"]["chosen"][0]

  server, chosen = jax.jit(lambda s: jax.lax.scan(step, s, jax.random.split(jax.random.key(0), 300)))(server)
  np.testing.assert_array_equal(chosen[-1], [4, 4, 0])
  q = moved(a, RATE, STEPS)
  for model in (0, 1):
    own = of_C == model
    np.testing.assert_allclose(
      server["params"]["x"][model], weighted_rest(q[own], b[own], weights[own]), rtol=1e-9
    )
  np.testing.assert_array_equal(server["params"]["x"][2], 900.0)


def test_a_client_sends_one_model_and_its_number():
  update = {"x": jnp.zeros((3, 7), jnp.float32).at[1].set(jnp.arange(7.0, dtype=jnp.float32))}
  sent = {"update": update, "share": jax.nn.one_hot(1, 3, dtype=jnp.float32)}
  codec = clusters.chosen_alone(3)
  message, _ = codec.encode(sent, {}, jax.random.key(0))
  assert wire.size(message) == wire.size({"x": update["x"][0]}) + 1
  assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), codec.decode(message, sent), sent))
