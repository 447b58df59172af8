"""The solver: optima known in closed form, nothing absolute, bounds, held coefficients, lanes that agree alone."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize

from scaling.fitting import parametric, solver
from scaling.laws import hoffmann
from tests.scaling import published

FREE, FREE5 = np.full(3, np.inf), np.full(5, np.inf)


def decay(theta, columns):
  """c + exp(a - b x)."""
  return theta[2] + jnp.exp(theta[0] - theta[1] * columns[0])


def location(theta, columns):
  return theta[0] + 0 * columns[0]


def table(noise: float = 0.0, seed: int = 0):
  x = np.linspace(0, 5, 23)
  rng = np.random.default_rng(seed)
  return (x,), 0.7 + np.exp(0.4 - 0.9 * x) + noise * rng.standard_normal(len(x))


@pytest.mark.parametrize("kind", solver.KINDS)
@pytest.mark.parametrize("start", [[0.0, 0.3, 0.0], [-2.0, 3.0, 5.0], [3.0, 0.1, -4.0]])
def test_noiseless_curve_is_recovered_from_anywhere(kind, start):
  columns, y = table()
  found = solver.minimise(decay, columns, y, np.array([start]), kind, -FREE, FREE)
  assert found.theta == pytest.approx([0.4, 0.9, 0.7], rel=1e-8)


def test_losses_have_the_optima_they_are_named_for():
  """A constant: the mean, the median, and for Huber the root of sum clip(y - m, -d, d)."""
  y = np.array([0.0, 1.0, 2.0, 4.0, 30.0])
  start = np.array([[3.0]])
  bound = np.full(1, np.inf)

  def at(kind, **kwargs):
    return solver.minimise(location, (y,), y, start, kind, -bound, bound, **kwargs)

  assert at("mse").theta[0] == pytest.approx(7.4)
  assert at("mse").objective == pytest.approx(np.square(y - 7.4).sum() / 2)
  lad = at("lad")
  assert lad.theta[0] == pytest.approx(2.0, abs=1e-6) and lad.objective == pytest.approx(33.0)
  huber = at("huber", delta=3.0)
  assert huber.theta[0] == pytest.approx((0 + 1 + 2 + 4 + 3) / 4)  # 30 pulls with 3 only
  assert np.clip(y - huber.theta[0], -3, 3).sum() == pytest.approx(0, abs=1e-12)
  assert at("mse", weights=np.array([1.0, 1, 1, 1, 0])).theta[0] == pytest.approx(1.75)


def test_a_factor_on_the_objective_changes_nothing():
  columns, y = table(0.02)
  starts = np.array([[0.0, 0.3, 0.0]])
  once = solver.minimise(decay, columns, y, starts, "huber", -FREE, FREE)
  for factor in (1e-3, 1 / len(y), 1e3):
    weights = np.full(len(y), factor)
    scaled = solver.minimise(decay, columns, y, starts, "huber", -FREE, FREE, weights)
    assert scaled.theta == pytest.approx(once.theta, rel=1e-6)
    assert scaled.objective == pytest.approx(factor * once.objective, rel=1e-9)


def test_scipy_stops_early_where_this_does_not(shared_data):
  """The historic mistake: L-BFGS-B on a mean of Huber losses never leaves the published coefficients."""
  params, tokens, loss = published.chinchilla(shared_data("scaling/chinchilla_epoch.csv"))
  start = np.array([6.0073404, 6.0179186, 0.5267228, 0.33917, 0.28491])

  def huber(theta):
    terms = (
      theta[0] - theta[3] * np.log(params),
      theta[1] - theta[4] * np.log(tokens),
      np.full(len(loss), theta[2]),
    )
    r = np.abs(np.logaddexp.reduce(terms) - np.log(loss))
    return np.where(r <= 1e-3, r**2 / 2, 1e-3 * (r - 5e-4))

  def stops_at(factor):
    return minimize(lambda t: factor * huber(t).sum(), start, method="L-BFGS-B").x

  best = parametric.fit(params, tokens, loss, "huber").objective
  mean, whole, thousandfold = (stops_at(factor) for factor in (1 / len(loss), 1.0, 1e3))
  assert mean[:3] == pytest.approx(start[:3], abs=1e-3) and huber(mean).sum() > 1.1 * best
  assert huber(whole).sum() > 1.1 * best and huber(thousandfold).sum() < best * (1 + 1e-5)
  for factor in (1e-3, 1 / len(loss), 1.0, 1e3):
    columns, weights = (np.log(params), np.log(tokens)), np.full(len(loss), factor)
    ours = solver.minimise(
      hoffmann.log_loss, columns, np.log(loss), start[None], "huber", -FREE5, FREE5, weights
    )
    assert ours.objective == pytest.approx(factor * best, rel=1e-9)


def test_bounds_hold_and_the_rest_makes_the_best_of_it():
  columns, y = table()
  low = np.array([-np.inf, -np.inf, 0.8])
  found = solver.minimise(decay, columns, y, np.array([[0.0, 0.3, 1.0]]), "mse", low, FREE)
  assert found.theta[2] == 0.8
  free = np.array([True, True, False])
  held = solver.minimise(decay, columns, y, np.array([[0.0, 0.3, 0.8]]), "mse", -FREE, FREE, free=free)
  assert held.theta == pytest.approx(found.theta, rel=1e-7)
  assert held.objective == pytest.approx(found.objective, rel=1e-12)


def test_a_lane_among_many_is_the_lane_alone():
  columns, y = table(0.05)
  rng = np.random.default_rng(1)
  weights = rng.multinomial(len(y), np.full(len(y), 1 / len(y)), size=300).astype(float)
  start = np.array([0.4, 0.9, 0.7])
  many, values = solver.lanes(decay, columns, y, start, "mse", -FREE, FREE, weights)
  assert many.shape == (300, 3)
  for k in (0, 63, 64, 299):
    alone = solver.minimise(decay, columns, y, start[None], "mse", -FREE, FREE, weights[k])
    assert many[k] == pytest.approx(alone.theta, rel=1e-6)
    assert values[k] == pytest.approx(alone.objective, rel=1e-9)


def test_noise_lanes_take_their_own_targets():
  columns, y = table(0.01)
  targets = np.stack([y, y + 1.0])
  found, _ = solver.lanes(decay, columns, targets, np.array([0.4, 0.9, 0.7]), "mse", -FREE, FREE)
  assert found[1] == pytest.approx(found[0] + [0, 0, 1], rel=1e-7)


def test_share_of_starts_that_agree():
  """cos has two minima within the bounds, of equal depth only at the first: one start in three is caught."""
  x = np.linspace(0.1, 2, 30)

  def wave(theta, columns):
    return jnp.cos(theta[0] * columns[0])

  starts = np.array([[1.0], [1.2], [9.0]])
  found = solver.minimise(wave, (x,), np.cos(1.1 * x), starts, "mse", np.zeros(1), np.full(1, 20.0))
  assert found.theta[0] == pytest.approx(1.1) and found.agreeing == pytest.approx(2 / 3)
