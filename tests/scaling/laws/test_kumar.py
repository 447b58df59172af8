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


def test_quantising_afterwards_in_noise():
  """Without noise the closed form, to rounding; with it, some increases negative, the planted exponents; and draws."""
  truth = kumar.PostTraining(np.log(20.0), 0.4, 0.3, 0.6)
  params, tokens, bits = (
    g.ravel() for g in np.meshgrid(np.geomspace(1e3, 2e4, 4), np.geomspace(1e5, 3e6, 4), [3.0, 4.0, 8.0])
  )
  added = truth.added(params, tokens, bits)
  noise = 2 * added[bits == 8].max()
  exact, _ = kumar.fit_noisy_post_training(params, tokens, bits, added, noise / 100)
  oracle = kumar.fit_post_training(params, tokens, bits, added)
  names = ("log_scale", "g_d", "g_n", "g_post")
  assert [getattr(exact, n) for n in names] == pytest.approx([getattr(oracle, n) for n in names], rel=1e-7)

  rng = np.random.default_rng(0)
  noisy = added + noise * rng.standard_normal((1 + 200, len(added)))
  assert (noisy[0] < 0).sum() >= 5
  law, drawn = kumar.fit_noisy_post_training(
    params, tokens, bits, noisy[0], noise, np.ones((200, len(added))), noisy[1:]
  )
  for name in names:
    spread = getattr(drawn, name).std()
    assert abs(getattr(law, name) - getattr(truth, name)) < 3 * spread, name
    assert spread < 0.15 * abs(getattr(truth, name)) or name == "log_scale", name
  alone, _ = kumar.fit_noisy_post_training(
    *(v[bits == 4] for v in (params, tokens, bits, added)), noise / 100
  )
  assert (alone.g_d, alone.g_n) == pytest.approx((0.4, 0.3), rel=1e-6)
  assert alone.g_post == np.inf
