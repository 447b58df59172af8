"""Trajectory mixtures and moves: closed forms, a mixture by hand, masks, order of modes, gradients that last."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from objectives import imitation
from objectives.likelihood import log_density

FULL = jnp.ones((1, 3), bool)


def _nats(future, mean, scale, logits, kind, mask=FULL):
  return float(imitation.mixture_nats(future, mask, mean, scale, logits, kind)[0])


@pytest.mark.parametrize(
  ("kind", "per_number"), [("gaussian", 0.5 * np.log(2 * np.pi)), ("laplace", np.log(2))]
)
def test_a_perfect_mode_costs_the_normaliser_and_its_weight(kind, per_number):
  future = jax.random.normal(jax.random.key(0), (1, 3, 2))
  mean = jnp.stack([future, future + 1e3], 1)
  nats = _nats(future, mean, jnp.ones_like(mean), jnp.log(jnp.array([[0.25, 0.75]])), kind)
  assert nats == pytest.approx(6 * per_number + np.log(4), rel=1e-5)


def test_a_mixture_by_hand():
  """One point at the origin between modes at x = 1 and x = -2, weights 0.4 and 0.6, sigma = 1."""
  mean = jnp.array([[[[1.0, 0.0]], [[-2.0, 0.0]]]])
  density = (0.4 * np.exp(-0.5) + 0.6 * np.exp(-2.0)) / (2 * np.pi)
  nats = _nats(
    jnp.zeros((1, 1, 2)), mean, jnp.ones_like(mean), jnp.log(jnp.array([[0.4, 0.6]])), "gaussian",
    jnp.ones((1, 1), bool),
  )  # fmt: skip
  assert nats == pytest.approx(-np.log(density), rel=1e-5)


@pytest.mark.parametrize("kind", ["gaussian", "laplace"])
def test_densities_integrate_to_one(kind):
  at = jnp.linspace(-40, 40, 80_001)
  area = jnp.exp(log_density(at, jnp.full_like(at, 0.7), kind)).sum() * (at[1] - at[0])
  assert float(area) == pytest.approx(1, rel=1e-3)


def test_the_order_of_modes_does_not_matter():
  keys = jax.random.split(jax.random.key(0), 4)
  future, mask = jax.random.normal(keys[0], (2, 3, 2)), jnp.ones((2, 3), bool)
  mean, raw = jax.random.normal(keys[1], (2, 2, 4, 3, 2))
  logits, scale = jax.random.normal(keys[2], (2, 4)), imitation.scale(raw)
  turn = jax.random.permutation(keys[3], 4)
  before = imitation.trajectory(future, mask, mean, scale, logits, "laplace")
  after = imitation.trajectory(future, mask, mean[:, turn], scale[:, turn], logits[:, turn], "laplace")
  for name in before:
    np.testing.assert_allclose(before[name][0], after[name][0], rtol=1e-5)


def test_unknown_points_neither_cost_nor_teach():
  mask = jnp.array([[True, False, True]])
  future = jnp.array([[[1.0, 0.0], [jnp.nan, jnp.nan], [2.0, 0.0]]])
  mean = jnp.zeros((1, 2, 3, 2))

  def loss(mean):
    parts = imitation.trajectory(future, mask, mean, jnp.ones_like(mean), jnp.zeros((1, 2)), "gaussian")
    return parts["loss"][0].sum(), parts

  gradient, parts = jax.grad(loss, has_aux=True)(mean)
  np.testing.assert_array_equal(gradient[:, :, 1], 0)
  assert float(jnp.abs(gradient[:, :, 2, 0]).min()) > 0
  assert float(parts["loss"][1][0]) == 2
  assert float(parts["minADE"][0][0]) == pytest.approx(1.5)


def test_displacements_of_the_best_and_of_the_likeliest_mode():
  future = jnp.zeros((1, 3, 2))
  mean = jnp.zeros((1, 2, 3, 2)).at[0, 0, :, 0].set(3.0).at[0, 1, :, 1].set(5.0)
  parts = imitation.trajectory(future, FULL, mean, jnp.ones_like(mean), jnp.array([[0.0, 1.0]]), "laplace")
  assert float(parts["minADE"][0][0]) == pytest.approx(3)
  assert float(parts["ADE"][0][0]) == pytest.approx(5)


def test_gradients_last_far_from_every_mode_and_at_tiny_scales():
  future, mean = jnp.full((1, 3, 2), 1e4), jnp.zeros((1, 2, 3, 2))

  def loss(mean, raw):
    return imitation.mixture_nats(
      future, FULL, mean, imitation.scale(raw), jnp.zeros((1, 2)), "gaussian"
    ).sum()

  for raw in (-100.0, 100.0):
    for gradient in jax.grad(loss, (0, 1))(mean, jnp.full_like(mean, raw)):
      assert bool(jnp.isfinite(gradient).all())


def test_moves_cost_their_cross_entropy():
  logits = jnp.log(jnp.array([[[0.5, 0.25, 0.25], [0.1, 0.8, 0.1]]]))
  parts = imitation.actions(logits, jnp.array([[1, 1]], jnp.uint8), jnp.array([[True, False]]))
  assert float(parts["loss"][0][0]) == pytest.approx(np.log(4), rel=1e-5)
  assert float(parts["loss"][1][0]) == 1
  assert float(parts["accuracy"][0][0]) == 0
