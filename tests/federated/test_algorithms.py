"""Rounds against closed forms, in float64: where algorithms come to rest, and what one round is."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from federated import algorithms
from federated.rounds import make_round
from tests.federated import quadratics
from tests.federated.quadratics import cohort, loss_fn, moved, problem, weighted_rest

RATE, STEPS = 0.1, 5


@pytest.fixture(autouse=True)
def float64():
  with jax.enable_x64(True):
    yield


def rest(algorithm, steps, rounds=400, lanes=4, clients=None):
  """(parameters after many rounds, server) of the quadratic clients."""
  a, b, weights = clients or problem()
  server = algorithm.server_init({"x": jnp.zeros(a.shape[1])})
  memory = jax.tree.map(
    lambda x: jnp.zeros((len(weights), *x.shape)), algorithm.memory_init(server["params"])
  )
  one = make_round(algorithm, lanes, jnp.inf, heaviest=jnp.inf, vehicles=8)

  @jax.jit
  def many(server, memory):
    def step(carry, key):
      server, memory = carry
      server, memory, _, _ = one(server, cohort(a, b, weights, steps, memory), key)
      return (server, memory), None

    return jax.lax.scan(step, (server, memory), jax.random.split(jax.random.key(0), rounds))[0]

  server, _ = many(server, memory)
  return np.asarray(server["params"]["x"]), server


def test_fedavg_of_one_full_step_is_gradient_descent():
  a, b, weights = problem()
  x, _ = rest(algorithms.fedavg(loss_fn, optax.sgd(RATE)), 1, rounds=3)
  expected, share = np.zeros(3), weights / weights.sum()
  for _ in range(3):
    expected = expected - RATE * np.einsum("c,cij,cj->i", share, a, expected - b)
  np.testing.assert_allclose(x, expected, rtol=1e-12)


def test_fedavg_comes_to_rest_where_its_drift_says_and_not_at_the_optimum():
  a, b, weights = problem()
  x, _ = rest(algorithms.fedavg(loss_fn, optax.sgd(RATE)), STEPS)
  np.testing.assert_allclose(x, weighted_rest(moved(a, RATE, STEPS), b, weights), rtol=1e-9)
  assert np.abs(x - weighted_rest(a, b, weights)).max() > 1e-3


def test_nesterov_outside_comes_to_the_same_rest():
  a, b, weights = problem()
  outer = optax.sgd(0.7, momentum=0.9, nesterov=True)
  x, _ = rest(algorithms.fedavg(loss_fn, optax.sgd(RATE), outer), STEPS)
  np.testing.assert_allclose(x, weighted_rest(moved(a, RATE, STEPS), b, weights), rtol=1e-8)


def test_fedprox_comes_to_rest_where_its_own_closed_form_says():
  """y <- y - rate (A (y - b) + mu (y - x)): after K steps y - x = S A (b - x), S = rate sum_j (I - rate (A + mu))^j."""
  a, b, weights = problem()
  mu, eye = 2.0, np.eye(3)
  steps = np.stack(
    [
      sum(RATE * np.linalg.matrix_power(eye - RATE * (one + mu * eye), j) for j in range(STEPS)) @ one
      for one in a
    ]
  )
  x, _ = rest(algorithms.fedavg(loss_fn, optax.sgd(RATE), proximal=mu), STEPS, rounds=800)
  np.testing.assert_allclose(x, weighted_rest(steps, b, weights), rtol=1e-8)
  drifted = weighted_rest(moved(a, RATE, STEPS), b, weights)
  best = weighted_rest(a, b, weights)
  assert np.linalg.norm(x - best) < np.linalg.norm(drifted - best)


def test_scaffold_comes_to_the_optimum_and_its_control_to_the_mean_gradient():
  a, b, weights = problem()
  x, server = rest(algorithms.scaffold(loss_fn, RATE), STEPS, rounds=1500)
  np.testing.assert_allclose(x, weighted_rest(a, b, weights), rtol=1e-8)
  np.testing.assert_allclose(server["control"]["x"], 0, atol=1e-8)


def test_mime_lite_momentum_is_the_running_mean_of_whole_gradients():
  a, b, weights = problem()
  _, server = rest(algorithms.mime_lite(loss_fn, 0.0, 0.9), 2, rounds=2)  # nobody moves
  slope = -np.einsum("c,cij,cj->i", weights / weights.sum(), a, b)
  np.testing.assert_allclose(server["momentum"]["x"], (1 - 0.9**2) * slope, rtol=1e-12)


def test_what_is_a_clients_own_stays_with_it():
  a, b, weights = problem()

  def loss(params, batch, key):
    return loss_fn({"x": params["x"] + params["own"]}, batch, key)

  algorithm = algorithms.personal(loss, optax.sgd(RATE), lambda path: path[0] == "own")
  params = {"x": jnp.zeros(3), "own": jnp.zeros(3)}
  server = algorithm.server_init(params)
  memory = jax.tree.map(lambda x: jnp.zeros((8, 3)), params)
  server, memory, _, _ = make_round(algorithm, 8, jnp.inf, heaviest=jnp.inf, vehicles=8)(
    server, cohort(a, b, weights, 1, memory), jax.random.key(0)
  )
  steps = RATE * np.einsum("cij,cj->ci", a, b)
  np.testing.assert_allclose(memory["own"], steps, rtol=1e-12)
  np.testing.assert_allclose(server["params"]["own"], 0)
  np.testing.assert_allclose(server["params"]["x"], (weights / weights.sum()) @ steps, rtol=1e-12)


@pytest.mark.parametrize("lanes", [1, 2, 8])
def test_a_round_does_not_depend_on_how_many_clients_run_at_a_time(lanes):
  algorithm = algorithms.scaffold(loss_fn, RATE)
  expected, _ = rest(algorithm, STEPS, rounds=5, lanes=4)
  np.testing.assert_allclose(rest(algorithm, STEPS, rounds=5, lanes=lanes)[0], expected, rtol=1e-12)


def test_batches_that_are_not_there_change_nothing():
  a, b, weights = problem()
  algorithm = algorithms.fedavg(loss_fn, optax.adam(RATE))
  one, server = (
    make_round(algorithm, 8, jnp.inf, heaviest=jnp.inf, vehicles=8),
    algorithm.server_init({"x": jnp.ones(3)}),
  )
  long = cohort(a, b, weights, 4)
  cut = long._replace(real_CxK=long.real_CxK.at[:, 2:].set(False))
  short = cohort(a, b, weights, 2)
  got, expected = (one(server, c, jax.random.key(0))[0]["params"]["x"] for c in (cut, short))
  np.testing.assert_allclose(got, expected, rtol=1e-12)


@pytest.mark.parametrize("planted", [np.nan, np.inf, 1e9])
def test_updates_that_are_not_finite_or_too_long_are_rejected_and_counted(planted):
  a, b, weights = problem()
  algorithm = algorithms.scaffold(loss_fn, RATE)
  server = algorithm.server_init({"x": jnp.zeros(3)})
  memory = {"x": jnp.ones((8, 3))}
  one = make_round(algorithm, 4, longest=1e3, heaviest=jnp.inf, vehicles=8)
  bad = b.copy()
  bad[2] = planted
  got, kept, _, report = one(server, cohort(a, bad, weights, STEPS, memory), jax.random.key(0))
  without = weights.copy()
  without[2] = 0.0
  expected, _, _, clean = one(server, cohort(a, b, without, STEPS, memory), jax.random.key(0))
  np.testing.assert_allclose(got["params"]["x"], expected["params"]["x"], rtol=1e-12)
  assert (int(report["rejected"]), int(report["took_part"])) == (1, 7)
  assert (int(clean["rejected"]), int(clean["took_part"])) == (0, 7)
  np.testing.assert_array_equal(kept["x"][2], 1.0)  # it remembers what it did before


def test_a_client_weighs_what_its_objective_counts_and_no_more_than_it_may():
  a, b, _ = problem()
  said = jnp.asarray([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 1e9])

  def counted(params, batch, key):
    total, _ = loss_fn(params, batch, key)["objective"]
    return {"objective": (total * batch["count"], batch["count"])}

  one = cohort(a, b, np.ones(8), 1)
  one = one._replace(batches=one.batches | {"count": said[:, None]})
  algorithm = algorithms.fedavg(counted, optax.sgd(RATE))
  server = algorithm.server_init({"x": jnp.zeros(3)})
  got, _, _, _ = make_round(algorithm, 8, jnp.inf, heaviest=8.0, vehicles=8)(server, one, jax.random.key(0))
  share = np.arange(1.0, 9.0) / 36
  np.testing.assert_allclose(got["params"]["x"], RATE * share @ np.einsum("cij,cj->ci", a, b), rtol=1e-12)


def test_a_round_without_anybody_moves_nothing():
  a, b, weights = problem()
  algorithm = algorithms.fedavg(loss_fn, optax.sgd(RATE), optax.sgd(1.0, momentum=0.9))
  server = algorithm.server_init({"x": jnp.ones(3)})
  server, _, _, report = make_round(algorithm, 8, jnp.inf, heaviest=jnp.inf, vehicles=8)(
    server, cohort(a, b, 0 * weights, STEPS), jax.random.key(0)
  )
  np.testing.assert_array_equal(server["params"]["x"], 1.0)
  assert int(report["took_part"]) == 0


def test_lanes_that_do_not_divide_the_clients_are_refused():
  algorithm = algorithms.fedavg(loss_fn, optax.sgd(RATE))
  with pytest.raises(ValueError, match="8 clients are no whole sets of 3"):
    make_round(algorithm, 3, jnp.inf, heaviest=jnp.inf, vehicles=8)(
      algorithm.server_init({"x": jnp.zeros(3)}), cohort(*problem(), 1), jax.random.key(0)
    )


def test_the_library_is_what_the_quadratics_say():
  """The problem itself: K steps of gradient descent by hand."""
  a, b, _ = quadratics.problem()
  x = np.zeros(3)
  for _ in range(STEPS):
    x = x - RATE * a[0] @ (x - b[0])
  np.testing.assert_allclose(x, moved(a, RATE, STEPS)[0] @ b[0], rtol=1e-12)
