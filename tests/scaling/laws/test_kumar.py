"""Precision: limits, recovery from synthetic tables (the runs of the source are not public), the turning point."""

import numpy as np
import pytest

from scaling.laws import hoffmann, kumar

BASE = hoffmann.Law(1.8, 480.0, 2000.0, 0.35, 0.36)
LAW = kumar.Law(BASE, (2.6, 2.2, 0.95))


def table():
  params, tokens = (g.ravel() for g in np.meshgrid(np.geomspace(3e7, 1e9, 4), np.geomspace(1e9, 3e10, 4)))
  settings = np.array([[16, 16, 16], [3, 16, 16], [16, 4, 16], [16, 16, 3], [6, 6, 6], [8, 4, 4.0]])
  bits = np.repeat(settings, len(params), axis=0)
  return np.tile(params, 6), np.tile(tokens, 6), bits


def test_limits():
  assert LAW.loss(1e9, 1e10, [1e3] * 3) == pytest.approx(BASE.loss(1e9, 1e10))
  one = LAW.effective_params(1e9, [2.6, 1e3, 1e3])
  assert one == pytest.approx(1e9 * (1 - np.exp(-1)))
  assert LAW.effective_params(1.0, [4, 4, 4]) == pytest.approx(
    np.prod([1 - np.exp(-4 / g) for g in (2.6, 2.2, 0.95)])
  )


@pytest.mark.parametrize("kind", ["huber", "mse"])
def test_noiseless_surface_is_recovered(kind):
  params, tokens, bits = table()
  law, _ = kumar.fit(params, tokens, bits, LAW.loss(params, tokens, bits), kind)
  assert law.gamma == pytest.approx(LAW.gamma, rel=1e-5)
  assert (law.base.E, law.base.A, law.base.B, law.base.alpha, law.base.beta) == pytest.approx(
    (1.8, 480.0, 2000.0, 0.35, 0.36), rel=1e-5
  )


def test_a_precision_that_never_varies_costs_nothing():
  params, tokens, bits = table()
  bits[:, 2] = 8
  loss = kumar.Law(BASE, (2.6, 2.2, 0.05)).loss(params, tokens, bits)
  law, _ = kumar.fit(params, tokens, bits, loss, "mse")
  assert law.gamma[:2] == pytest.approx((2.6, 2.2), rel=1e-5)
  assert LAW.effective_params(1.0, [4, 4, 4]) < law.effective_params(1.0, [4, 4, 4])


def test_quantising_afterwards():
  truth = kumar.PostTraining(np.log(0.04), 0.5, 0.4, 0.55)
  params, tokens, bits = (
    g.ravel() for g in np.meshgrid(np.geomspace(1e8, 1e9, 3), np.geomspace(1e9, 1e11, 3), [3.0, 4.0, 6.0])
  )
  added = truth.added(params, tokens, bits)
  made = kumar.fit_post_training(params, tokens, bits, added)
  assert (made.log_scale, made.g_d, made.g_n, made.g_post) == pytest.approx(
    (np.log(0.04), 0.5, 0.4, 0.55), rel=1e-9
  )
  best = truth.best_tokens(BASE, 3e8, 4.0)
  total = [BASE.loss(3e8, d) + truth.added(3e8, d, 4.0) for d in (best / 1.05, best, best * 1.05)]
  assert total[1] == min(total)  # beyond it, training on makes the quantised model worse
