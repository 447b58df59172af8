"""Gadre's law: the published C4 fit, its two forms, and downstream error."""

import numpy as np
import pytest

from scaling.laws import gadre, hoffmann
from tests.scaling import published

C4 = gadre.Law.published(113.693, 189.516, -0.242472, 1.50826)


def test_published_fit_of_c4(shared_data):
  n, d, multiplier, loss = published.columns(
    published.table(shared_data("scaling/gadre_c4.csv")), "N", "D", "tok_mult", "loss_c4_val"
  )
  used = ((multiplier == 20) & (n < 1e9)) | ((multiplier == 320) & (n < 2e7))
  assert used.sum() == 5
  law, found = gadre.fit(n[used], d[used], loss[used])
  expected = {"alpha_c": 113.693, "beta_c": 189.516, "b": -0.242472, "E": 1.50826}
  assert law.as_published() == pytest.approx(expected, rel=1e-4)
  assert 2 * found.objective == pytest.approx(4.1412e-4, rel=1e-4)


def test_forms_agree():
  params, multiplier = np.array([1e8, 1e9]), np.array([20.0, 640.0])
  tokens = params * multiplier
  by_source = 113.693 * params**-0.242472 + 189.516 * 6 ** (-0.242472 / 2) * tokens**-0.242472 + 1.50826
  assert C4.loss(params, tokens) == pytest.approx(by_source)
  assert C4.loss_at(6 * params * tokens, multiplier) == pytest.approx(by_source)
  tied = hoffmann.Law(C4.E, C4.A, C4.B, C4.alpha, C4.alpha)
  assert C4.optimum(1e21) == pytest.approx(tied.optimum(1e21))
  assert C4.multiplier == pytest.approx(C4.optimum(1e21)[1] / C4.optimum(1e21)[0])


def test_over_training_shifts_but_does_not_bend():
  """Reducible loss at 16 M*: the same share above that at M*, at every compute."""
  ratio = [
    (C4.loss_at(c, 16 * C4.multiplier) - C4.E) / (C4.loss_at(c, C4.multiplier) - C4.E) for c in (1e18, 1e24)
  ]
  eta = C4.alpha / 2
  assert ratio == pytest.approx([(16**eta + 16**-eta) / 2] * 2)


def test_noiseless_surface_is_recovered():
  params, tokens = (g.ravel() for g in np.meshgrid(np.geomspace(1e7, 1e9, 5), np.geomspace(1e9, 1e11, 4)))
  for kind in ("huber", "mse"):
    law = gadre.fit(params, tokens, C4.loss(params, tokens), kind)[0]
    assert law.as_published() == pytest.approx(C4.as_published(), rel=1e-6)


def test_downstream_error_is_recovered():
  truth = gadre.Downstream(0.85, 4.0, 0.9)
  losses = np.linspace(2.2, 4.5, 12)
  made, _ = gadre.fit_downstream(losses, truth.error(losses))
  assert (made.epsilon, made.k, made.gamma) == pytest.approx((0.85, 4.0, 0.9), rel=1e-6)
