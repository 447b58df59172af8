"""Slices in which a compressed model parts from the full one: planted ones are found, and a mixture reads them."""

import types

import numpy as np
import pytest

from data import mixtures
from experiments import reinforcement

NAMES = {"domain": ("town", "highway", "rural")}
RNG = np.random.default_rng(0)
SCENES = 24
SCENE = np.repeat(np.arange(SCENES), 6)
DOMAIN = SCENE % 3
LABELS = {"domain": DOMAIN, "rare": (SCENE >= 20).astype(int), "weather": np.zeros(len(SCENE), int)}


def replayed(planted: dict[int, float]):
  """Losses of the full model, and of one that loses so many nats a token more in some domains, 0.02 in all."""
  counts = RNG.integers(50, 200, len(SCENE)).astype(float)
  full = 1.2 * counts
  added = 0.02 + np.vectorize(lambda domain: planted.get(domain, 0.0))(DOMAIN)
  added = added + 0.005 * RNG.standard_normal(SCENES)[SCENE]
  replay = types.SimpleNamespace(scene_R=SCENE, slices=reinforcement.slices(LABELS, NAMES))
  return replay, (full + added * counts, counts), (full, counts)


def test_the_slice_that_parts_stands_out_and_others_do_not():
  found = reinforcement.gaps(*replayed({1: 0.05}))
  assert list(found) == ["all", "domain=town", "domain=highway", "domain=rural", "rare=0", "rare=1"]
  assert [name for name, gap in found.items() if gap.stands_out] == ["domain=highway"]
  assert found["domain=highway"].nats == pytest.approx(0.07, abs=3 * found["domain=highway"].error)
  assert found["domain=town"].nats == pytest.approx(0.02, abs=3 * found["domain=town"].error)
  assert found["domain=highway"].records == (DOMAIN == 1).sum()
  assert reinforcement.boosts(reinforcement.gaps(*replayed({})), 4.0) == ""


def test_boosts_are_what_a_mixture_reads():
  found = reinforcement.gaps(*replayed({0: 0.05, 1: 0.06}))
  text = reinforcement.boosts(found, 4.0)
  assert text == "domain=town*4;domain=highway*4"
  group_N, share_G = mixtures.groups(LABELS, NAMES, "", 1.0, text)
  often, seldom = (
    share_G[group_N[d == DOMAIN][0]] / (group_N == group_N[d == DOMAIN][0]).sum() for d in (1, 2)
  )
  assert often == pytest.approx(4 * seldom)
