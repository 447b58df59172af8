"""The parametric law: noiseless surfaces, published fits, invariance, and what it refuses to claim."""

import dataclasses

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaling.fitting import bootstrap, parametric
from scaling.laws.hoffmann import Law
from tests.scaling import published
from tests.scaling.surface import DRIVING, Surface

NAMES = ("E", "A", "B", "alpha", "beta")


def grid(surface: Surface, noise: float = 0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  params, tokens = (g.ravel() for g in np.meshgrid(np.geomspace(1e3, 1e6, 6), np.geomspace(1e5, 1e8, 5)))
  jitter = np.exp(noise * np.random.default_rng(0).standard_normal(len(params)))
  return params, tokens, surface.loss(params, tokens) * jitter


@pytest.mark.parametrize("exponents", [(0.34, 0.28), (0.465, 0.155), (0.155, 0.465)])
@pytest.mark.parametrize("kind", ["huber", "lad", "mse"])
def test_noiseless_surface_is_recovered(exponents, kind):
  truth = Surface(0.9, 30.0, 200.0, *exponents)
  law = parametric.fit(*grid(truth), kind).law
  for name in NAMES:
    assert getattr(law, name) == pytest.approx(getattr(truth, name), rel=1e-6)


def test_optimum_is_the_minimum_along_the_budget():
  law = parametric.Law(**dataclasses.asdict(DRIVING))
  params, tokens = law.optimum(1e12)
  assert 6 * params * tokens == pytest.approx(1e12)
  assert (params, tokens) == pytest.approx(DRIVING.optimum(1e12))
  for factor in (0.99, 1.01):
    assert law.loss(params * factor, tokens / factor) > law.loss(params, tokens)
  assert law.a + law.b == pytest.approx(1)


def test_units_and_weights_change_nothing():
  params, tokens, loss = grid(DRIVING, 0.01)
  once = parametric.fit(params, tokens, loss, "huber", np.ones((1, len(loss))))
  thousands = parametric.fit(params / 1e3, tokens / 1e6, loss, "huber")
  # A minimum fixes its place to the square root of the float64 precision.
  assert (thousands.law.alpha, thousands.law.beta) == pytest.approx((once.law.alpha, once.law.beta), rel=1e-7)
  assert thousands.law.loss(4.0, 5.0) == pytest.approx(once.law.loss(4e3, 5e6), rel=1e-7)
  for scale in (1e-3, 1e3):  # a sum, a mean, or anything between
    scaled = parametric.fit(params, tokens, loss, "huber", np.full((1, len(loss)), scale))
    for name in NAMES:
      assert getattr(scaled.draws, name)[0] == pytest.approx(getattr(once.law, name), rel=1e-6)


@settings(max_examples=8, deadline=None, derandomize=True)
@given(st.floats(-3, 3), st.floats(-6, 6), st.randoms(use_true_random=False))
def test_scale_order_and_units_of_n_move_nothing_but_a(log_weight, log_unit, shuffled):
  """The objective times 10^-3 to 10^3, rows in any order, N in other units: A alone scales, by unit^alpha."""
  params, tokens, loss = grid(DRIVING, 0.01)
  once = parametric.fit(params, tokens, loss, "huber")
  order = shuffled.sample(range(len(loss)), len(loss))
  unit = 10**log_unit
  weights = np.full((1, len(loss)), 10**log_weight)
  other = parametric.fit(params[order] / unit, tokens[order], loss[order], "huber", weights)
  for law in (other.law, Law(*(v[0] for v in dataclasses.astuple(other.draws)))):
    assert (law.E, law.B, law.alpha, law.beta) == pytest.approx(
      (once.law.E, once.law.B, once.law.alpha, once.law.beta), rel=1e-6
    )
    assert law.A * unit**law.alpha == pytest.approx(once.law.A, rel=1e-6)
  assert other.objective == pytest.approx(once.objective, rel=1e-9)


def test_noise_draws_refit_redrawn_losses():
  params, tokens, loss = grid(DRIVING, 0.01)
  exact = grid(DRIVING)[2]
  drawn = parametric.fit(params, tokens, loss, "mse", losses=np.stack([loss, exact])).draws
  once = parametric.fit(params, tokens, loss, "mse").law
  for name in NAMES:
    expected = [getattr(once, name), getattr(DRIVING, name)]
    assert getattr(drawn, name) == pytest.approx(expected, rel=1e-6)


def test_weight_two_is_the_run_twice():
  params, tokens, loss = grid(DRIVING, 0.01)
  weights = np.ones((1, len(loss)))
  weights[0, :7] = 2
  weighted = parametric.fit(params, tokens, loss, "mse", weights).draws
  again = np.r_[np.arange(len(loss)), np.arange(7)]
  twice = parametric.fit(params[again], tokens[again], loss[again], "mse").law
  for name in NAMES:
    assert getattr(weighted, name)[0] == pytest.approx(getattr(twice, name), rel=1e-5)


def test_an_outlier_bends_least_squares_but_not_huber():
  params, tokens, loss = grid(DRIVING)
  loss[3] *= 1.3
  far = {k: abs(parametric.fit(params, tokens, loss, k).law.E - DRIVING.E) for k in ("huber", "lad", "mse")}
  assert far["lad"] < 1e-4 and far["huber"] < 2e-3 < far["mse"]


def test_float64_stays_inside():
  parametric.fit(*grid(DRIVING), "mse")
  assert not jax.config.jax_enable_x64


def test_single_ray_and_missing_floor_are_told():
  params = np.geomspace(1e3, 1e6, 12)
  ray = parametric.fit(params, 20 * params, DRIVING.loss(params, 20 * params), "huber")
  assert any("along one line" in text for text in ray.warnings)
  floorless = parametric.fit(*grid(Surface(0.0, 30.0, 200.0, 0.3, 0.3)), "huber")
  assert any("E is at 0" in text for text in floorless.warnings)
  assert parametric.fit(*grid(DRIVING), "huber").warnings == ()


@pytest.fixture
def chinchilla(shared_data):
  return published.chinchilla(shared_data("scaling/chinchilla_epoch.csv"))


def test_chinchilla_huber(chinchilla):
  found = parametric.fit(*chinchilla, "huber")
  assert found.objective <= 1.0182740178006e-3 * (1 + 1e-7)
  expected = (1.8172181, 477.82590, 2143.4173, 0.34731050, 0.36717243)
  assert [getattr(found.law, n) for n in NAMES] == pytest.approx(expected, rel=1e-5)
  assert found.law.a == pytest.approx(0.513900, abs=1e-5)
  assert found.law.optimum(5.76e23) == pytest.approx((7.3190e10, 1.3117e12), rel=1e-4)


def test_chinchilla_least_absolute_deviation_is_the_published_point(chinchilla):
  found = parametric.fit(*chinchilla, "lad")
  assert found.objective <= 1.1294947 * (1 + 1e-6)
  a, b = found.law.A, found.law.B
  assert a == pytest.approx(482.01, rel=0.01)
  assert b == pytest.approx(2085.43, rel=0.03)
  assert (found.law.alpha, found.law.beta) == pytest.approx((0.34781303, 0.36585412), abs=0.002)


def test_chinchilla_least_squares(chinchilla):
  law = parametric.fit(*chinchilla, "mse").law
  expected = (1.86455, 593.322, 4875.64, 0.360253, 0.405883)
  assert [getattr(law, n) for n in NAMES] == pytest.approx(expected, rel=1e-5)


def test_chinchilla_bootstrap(chinchilla):
  """Standard errors and ends of the published notebook, from its very 4,000 resamples."""
  draws = parametric.fit(*chinchilla, "huber", bootstrap.case_weights(240, 4000, 42)).draws
  errors = {"A": 124.522, "B": 1293.284, "E": 0.02566, "alpha": 0.01540, "beta": 0.02060}
  ends = {"A": (285.214, 743.626), "B": (1042.357, 5810.344), "E": (1.769, 1.871)}
  for name, error in errors.items():
    assert getattr(draws, name).std(ddof=1) == pytest.approx(error, rel=5e-3)
  for name, end in ends.items():
    assert bootstrap.interval(getattr(draws, name)) == pytest.approx(end, rel=5e-3)
  assert bootstrap.interval(draws.a, 0.8) == pytest.approx((0.4913, 0.5428), abs=1e-4)
