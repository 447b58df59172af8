"""Clipping and noise against closed forms; an attack on membership that succeeds without privacy and not with it."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from data.errors import BadInput
from federated import accounting, algorithms, membership, privacy
from federated.rounds import Cohort, make_round
from tests.federated.quadratics import cohort, loss_fn, problem

RATE = 0.1


def one_round(build, size=3, key=0, clients=None):
  """(server before, server after, report) of the quadratic clients, one local step of the identity's gradient."""
  a, b, _ = clients or problem(size=size)
  algorithm = build(algorithms.fedavg(loss_fn, optax.sgd(RATE)), jax.random.key(key))
  server = algorithm.server_init({"x": jnp.zeros(b.shape[1])})
  run = make_round(algorithm, 4, jnp.inf, heaviest=jnp.inf, vehicles=8)
  moved, _, _, report = run(server, cohort(a, b, np.ones(8), 1), jax.random.key(9))
  return server, moved, report


def steps(size=3):
  a, b, _ = problem(size=size)
  return RATE * np.einsum("cij,cj->ci", a, b)


def test_without_noise_it_is_the_sum_of_clipped_updates_over_the_expected_number():
  update = steps()
  length = np.linalg.norm(update, axis=1, keepdims=True)
  clip = float(np.median(length))
  expected = (update * np.minimum(1, clip / length)).sum(0) / 5.0
  _, moved, report = one_round(lambda made, key: privacy.central(made, clip, 0.0, 5.0, 8, key))
  np.testing.assert_allclose(moved["params"]["x"], expected, rtol=1e-5)
  assert float(report["metrics"]["objective"][1]) == 8  # each counts as one
  _, same, _ = one_round(lambda made, key: privacy.local(made, clip, 0.0))
  np.testing.assert_allclose(same["params"]["x"], expected * 5 / 8, rtol=1e-5)


@pytest.mark.parametrize(
  ("build", "deviation"),
  [
    (lambda made, key: privacy.central(made, 1e-6, 3.0, 5.0, 8, key), 3 * 1e-6 / 5),
    (lambda made, key: privacy.local(made, 1e-6, 3.0), 2 * 3 * 1e-6 / np.sqrt(8)),
  ],
)
def test_noise_has_the_stated_deviation(build, deviation):
  size = 500
  rng = np.random.default_rng(0)
  clients = (
    np.broadcast_to(np.eye(size, dtype=np.float32) * 0, (8, size, size)),
    rng.normal(size=(8, size)),
    None,
  )
  _, moved, _ = one_round(build, clients=clients)  # nobody's gradient is anything but zero
  x = np.asarray(moved["params"]["x"], np.float64)
  assert abs(x.std() / deviation - 1) < 4 / np.sqrt(2 * size)  # four standard errors
  assert abs(x.mean()) < 4 * deviation / np.sqrt(size)


def test_the_clip_follows_the_quantile_of_lengths():
  """One step in closed form; after many, as many updates are longer as the quantile says."""
  quantile = privacy.Quantile(share=0.75, rate=0.2, noise=0.0)
  length = np.sort(np.linalg.norm(steps(), axis=1))
  clip = float(length[1:3].mean())  # 2 of 8 are within
  _, moved, _ = one_round(lambda made, key: privacy.central(made, clip, 0.0, 8.0, 8, key, quantile))
  np.testing.assert_allclose(moved["clip"], clip * np.exp(-0.2 * (2 / 8 - 0.75)), rtol=1e-5)

  a, b, _ = problem()
  made = privacy.central(
    algorithms.fedavg(loss_fn, optax.sgd(RATE), optax.sgd(0.0)),
    1e-4,
    0.0,
    8.0,
    8,
    jax.random.key(0),
    quantile,
  )
  run, all_of_them = make_round(made, 8, jnp.inf, jnp.inf, 8), cohort(a, b, np.ones(8), 1)

  @jax.jit
  def many(server):
    return jax.lax.fori_loop(0, 150, lambda i, s: run(s, all_of_them, jax.random.key(0))[0], server)

  server = many(made.server_init({"x": jnp.zeros(3)}))
  assert length[5] * np.exp(-0.1) < float(server["clip"]) < length[6] * np.exp(0.1)


def test_noise_on_the_quantile_is_paid_for():
  """Gaussian mechanisms add up as inverse squares: z^-2 = z_updates^-2 + (2 u)^-2."""
  own = privacy.split_noise(1.0, privacy.Quantile(0.5, 0.2, 5.0))
  np.testing.assert_allclose(own**-2 + 10.0**-2, 1.0)
  assert privacy.split_noise(1.0, None) == 1.0
  with pytest.raises(BadInput, match=r"noise 0\.4 on the quantile spends all that 1 allows"):
    privacy.split_noise(1.0, privacy.Quantile(0.5, 0.2, 0.4))


def test_an_update_that_is_not_finite_is_rejected_not_clipped():
  a, b, _ = problem()
  b = b.copy()
  b[2] = np.nan
  _, moved, report = one_round(
    lambda made, key: privacy.central(made, 1.0, 0.1, 8.0, 8, key), clients=(a, b, None)
  )
  assert int(report["rejected"]) == 1 and np.isfinite(moved["params"]["x"]).all()


def test_areas_and_advantages_of_an_attack():
  members, strangers = np.array([0.1, 0.2, 0.3]), np.array([0.2, 0.9])
  assert membership.auc(members, strangers) == pytest.approx((2 * 3 - 1 - 0.5) / 6)
  assert membership.advantage(members, strangers) == pytest.approx(1 - 1 / 2)
  assert membership.auc(members, members) == 0.5 and membership.advantage(members, members) == 0
  assert membership.greatest_advantage(0.0, 0.0) == 0 and membership.greatest_advantage(1e4, 0.0) == 1


CLIENTS, SEEDS, SIZE, ROUNDS = 16, 12, 80, 25
DELTA = 1e-2


def softmax(params, batch, key):
  del key
  logits = batch["x"] @ params["w"]
  loss = -jnp.take_along_axis(jax.nn.log_softmax(logits), batch["y"][:, None], 1)[:, 0]
  return {"objective": (loss.sum(), jnp.float32(loss.size))}


def attacked(noises):
  """AUC [len(noises), SEEDS] of the attack on vehicles whose labels are random: they can only be learnt by heart."""

  def one(noise, key):
    data, learn = jax.random.split(key)
    x = jax.random.normal(data, (2, CLIENTS, 4, SIZE)) / np.sqrt(SIZE)
    y = jax.random.bernoulli(jax.random.fold_in(data, 1), 0.5, (2, CLIENTS, 4)).astype(jnp.int32)
    batches = {"x": x[0][:, None].repeat(3, 1), "y": y[0][:, None].repeat(3, 1)}
    members = Cohort(batches, jnp.ones((CLIENTS, 3), bool), jnp.ones(CLIENTS), {}, {})

    def step(params, key):
      own, secret = jax.random.split(key)
      made = algorithms.fedavg(softmax, optax.sgd(3.0))
      made = privacy.central(made, 1.0, noise, CLIENTS, CLIENTS, secret)
      run = make_round(made, CLIENTS, jnp.inf, jnp.inf, CLIENTS)
      return run(made.server_init(params), members, own)[0]["params"], None

    params, _ = jax.lax.scan(step, {"w": jnp.zeros((SIZE, 2))}, jax.random.split(learn, ROUNDS))

    def loss(x, y):
      return softmax(params, {"x": x, "y": y}, None)["objective"][0]

    return jax.vmap(jax.vmap(loss))(x, y)

  seeds = jax.vmap(one, (None, 0))
  loss = jax.jit(jax.vmap(seeds, (0, None)))(jnp.asarray(noises), jax.random.split(jax.random.key(0), SEEDS))
  return np.array([[membership.auc(*both) for both in row] for row in np.asarray(loss)])


def test_membership_shows_without_privacy_and_not_with_it():
  noises = (0.0, 12.0, 40.0)
  schedule = accounting.Schedule(CLIENTS, CLIENTS, ROUNDS, "poisson")
  plain, some, much = attacked(noises)
  assert plain.mean() > 0.9
  for found, noise in ((some, 12.0), (much, 40.0)):
    error = found.std(ddof=1) / np.sqrt(SEEDS)
    # The area is the mean of true less false positives over thresholds, above 1/2: no more than the greatest.
    bound = membership.greatest_advantage(accounting.epsilon(schedule, noise, DELTA), DELTA)
    assert found.mean() < 0.5 + bound < plain.mean()
  assert error < 0.05 and abs(much.mean() - 0.5) < 3 * error
