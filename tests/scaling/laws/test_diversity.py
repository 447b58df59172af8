"""Scenario diversity: its limits, recovery, and what a table without contrast leaves alone."""

import numpy as np
import pytest

from scaling.laws import diversity, hoffmann, muennighoff

BASE = hoffmann.Law(0.8, 4.2, 110.0, 0.40, 0.42)
LAW = diversity.Law(BASE, 0.02, 6.0)


def table():
  params, scenes, per_scene, passes = (
    g.ravel()
    for g in np.meshgrid(
      np.geomspace(1e3, 1e5, 3), np.geomspace(100, 1e4, 4), [50.0, 500.0], [1.0, 4.0, 20.0]
    )
  )
  return params, scenes, per_scene, passes


def test_limits():
  free = diversity.Law(BASE, 0.0, 6.0)
  assert free.loss(1e4, 1000, 200, 1) == pytest.approx(BASE.loss(1e4, 2e5))
  repeated = muennighoff.Law(BASE, 6.0, 1.0)
  assert free.effective_tokens(1000, 200, 5) == pytest.approx(repeated.effective_data(1e6, 2e5))
  one = diversity.Law(BASE, 1.0, 6.0)
  assert one.effective_tokens(1000, 200, 1) == pytest.approx(1000)  # scenes are the currency
  assert LAW.effective_tokens(1000, 1e9, 1) == pytest.approx(1000 / 0.02, rel=1e-6)
  assert LAW.effective_tokens(1000, 200, 1e9) == pytest.approx(7 * LAW.effective_tokens(1000, 200, 1))


def test_new_scenes_beat_passes_over_old_ones():
  assert LAW.loss(1e4, 4000, 200, 1) < LAW.loss(1e4, 1000, 200, 4) < LAW.loss(1e4, 1000, 200, 1)
  assert 0 < LAW.repeat_worth(1000, 200, 50) < LAW.repeat_worth(1000, 200, 2) < 1


@pytest.mark.parametrize("kind", ["huber", "mse"])
def test_noiseless_surface_is_recovered(kind):
  params, scenes, per_scene, passes = table()
  law, found = diversity.fit(
    params, scenes, per_scene, passes, LAW.loss(params, scenes, per_scene, passes), kind
  )
  assert (law.correlation, law.r_scenes) == pytest.approx((0.02, 6.0), rel=1e-5)
  made = law.base
  assert (made.E, made.A, made.B, made.alpha, made.beta) == pytest.approx(
    (0.8, 4.2, 110, 0.4, 0.42), rel=1e-5
  )
  assert found.agreeing > 0.5


def test_one_pass_over_scenes_of_one_length_is_the_plain_law():
  params, scenes, per_scene, passes = table()
  plain = (per_scene == 50) & (passes == 1)
  some = [v[plain] for v in (params, scenes, per_scene, passes)]
  law, _ = diversity.fit(*some, BASE.loss(some[0], some[1] * 50), "mse")
  assert law.correlation == 0
  assert law.loss(3e4, 500, 50, 1) == pytest.approx(BASE.loss(3e4, 500 * 50), rel=1e-6)
