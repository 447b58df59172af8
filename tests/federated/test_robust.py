"""Robust aggregates: closed forms on small arrays, and a fleet of whom a fifth are attackers."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data.errors import BadInput
from federated import attacks, robust
from tests.federated import linear

SOME = np.array([1.0, 2.0, 1.0, 0.0, 3.0, 1.0], np.float32)  # the fourth took no part


def updates(clients: int = 6, seed: int = 0):
  rng = np.random.default_rng(seed)
  return {"a": jnp.asarray(rng.normal(size=(clients, 3))), "b": jnp.asarray(rng.normal(size=(clients, 2, 2)))}


def here(tree):
  return jax.tree.map(lambda x: x[SOME > 0], tree)


def flat(tree):
  return np.concatenate([np.asarray(x, np.float64).reshape(len(x), -1) for x in jax.tree.leaves(tree)], 1)


def same(got, expected):
  got = np.concatenate([np.asarray(x).reshape(-1) for x in jax.tree.leaves(got)])
  np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("weight", [SOME, np.ones(6, np.float32)])
def test_the_median_is_that_of_who_took_part(weight):
  made = updates()
  same(robust.median(made, jnp.asarray(weight)), np.median(flat(made)[weight > 0], axis=0))


def test_a_trimmed_mean_leaves_out_as_many_at_either_end():
  made = updates(10)
  ordered = np.sort(flat(made), axis=0)
  same(robust.trimmed_mean(0.2)(made, jnp.ones(10)), ordered[2:-2].mean(0))
  same(robust.trimmed_mean(0.0)(made, jnp.ones(10)), ordered.mean(0))
  same(robust.trimmed_mean(0.49)(made, jnp.ones(10)), ordered[4:-4].mean(0))
  some = updates()
  same(robust.trimmed_mean(0.2)(some, jnp.asarray(SOME)), np.sort(flat(here(some)), axis=0)[1:-1].mean(0))
  with pytest.raises(BadInput, match="leave out less than half"):
    robust.trimmed_mean(0.5)


def krum_scores(made: np.ndarray, byzantine: int):
  """Definition in Blanchard et al., section 4, client by client."""
  scores = []
  for i, one in enumerate(made):
    others = sorted(((one - other) ** 2).sum() for j, other in enumerate(made) if j != i)
    scores.append(sum(others[: len(made) - byzantine - 2]))
  return np.array(scores)


@pytest.mark.parametrize("weight", [np.ones(8, np.float32), np.array([1, 1, 0, 1, 1, 1, 1, 1], np.float32)])
def test_krum_chooses_what_lies_nearest_to_most(weight):
  made = updates(8)
  present = flat(made)[weight > 0]
  order = np.argsort(krum_scores(present, 2))
  same(robust.krum(2)(made, jnp.asarray(weight)), present[order[0]])
  same(robust.multi_krum(2, keep=3)(made, jnp.asarray(weight)), present[order[:3]].mean(0))


def test_vehicles_that_were_not_reached_leave_no_room_for_attackers():
  """Of ten clients two attack and two honest ones are silent: of the eight that came no more than six are kept."""
  honest = jnp.asarray([1.0, 1.1, 0.9, 1.05, 0.95, 1.0, 1.0, 1.0])
  made = {"x": jnp.concatenate([honest, jnp.asarray([100.0, -90.0])])[:, None]}
  weight = jnp.asarray([1.0] * 6 + [0.0] * 2 + [1.0] * 2)
  same(robust.multi_krum(2, keep=8)(made, weight), np.array([1.0]))


def test_krum_tells_near_clients_apart_however_long_their_updates_are():
  near = jnp.asarray([100.0, 100.001, 100.002, 100.004, 101.0, 1e7, -1e7])[:, None]
  assert float(robust.krum(2)({"x": near}, jnp.ones(7))["x"][0]) == np.float32(100.002)


def test_krum_refuses_a_round_that_cannot_withstand_its_attackers():
  with pytest.raises(BadInput, match="6 clients, of whom 2 may be attackers"):
    robust.krum(2)(updates(6), jnp.ones(6))
  few = robust.krum(2)(updates(8), jnp.asarray([1, 1, 1, 0, 0, 0, 1, 1]))
  same(few, np.zeros(7))


def test_centred_clipping_is_its_recursion_and_the_mean_where_nothing_is_clipped():
  made = updates()
  present = flat(here(made))
  centre = np.median(present, axis=0)
  for _ in range(3):
    apart = present - centre
    length = np.linalg.norm(apart, axis=1, keepdims=True)
    centre = centre + (apart * np.minimum(1, 1.5 / length)).mean(0)
  same(robust.centred_clipping(1.5, 3)(made, jnp.asarray(SOME)), centre)
  same(robust.centred_clipping(1e6, 1)(made, jnp.asarray(SOME)), present.mean(0))


@pytest.mark.parametrize(
  "aggregate", [robust.median, robust.trimmed_mean(0.2), robust.centred_clipping(1.0, 2)]
)
def test_a_round_without_anybody_aggregates_to_nothing(aggregate):
  same(aggregate(updates(), jnp.zeros(6)), np.zeros(7))


def test_groups_are_means_of_who_took_part_and_lose_nobody():
  """Of groups of one the median is the median; the mean of equal groups is the mean; who is absent is in none."""
  made, key = updates(), jax.random.key(0)
  one = robust.grouped(robust.median, 1, key)(made, jnp.asarray(SOME))
  same(one, np.median(flat(here(made)), axis=0))
  equal = robust.grouped(robust.trimmed_mean(0.0), 3, key)(made, jnp.ones(6))
  same(equal, flat(made).mean(0))
  pairs = robust.grouped(lambda updates, weight_G: jax.tree.map(lambda x: x[:3], updates), 2, key)
  seen = flat(pairs(made, jnp.asarray(SOME)))
  present = flat(here(made))
  both = [tuple(np.round((a + b) / 2, 4)) for k, a in enumerate(present) for b in present[k + 1 :]]
  alone = [tuple(np.round(a, 4)) for a in present]
  found = [tuple(np.round(group, 4)) for group in seen]
  assert sum(group in both for group in found) == 2 and sum(group in alone for group in found) == 1


CLIENTS, ROUNDS = 20, 30
AGGREGATES = {
  "mean": robust.trimmed_mean(0.0),  # all clients weigh the same
  "median": robust.median,
  "trimmed_mean": robust.trimmed_mean(0.2),
  "multi_krum": robust.multi_krum(4, keep=16),
  "centred_clipping": robust.centred_clipping(0.05, 3),
}


@functools.cache
def held_out():
  """{aggregate: {kind: held-out loss after ROUNDS rounds}}, all as one program: most of the time is compiling."""
  clean = linear.cohort(CLIENTS, 4, 128, np.zeros(CLIENTS, bool))
  stacked = linear.of_each_kind(clean, attacks.chosen(CLIENTS, 0.2, seed=0))

  def many(which, kind, cohort):
    def aggregate(updates, weight_C):
      return jax.lax.switch(which, list(AGGREGATES.values()), updates, weight_C)

    return linear.attacked(kind, cohort, lambda key: aggregate, jax.random.key(0), ROUNDS)

  grid = jax.vmap(jax.vmap(many, (None, 0, 0)), (0, None, None))
  kinds = jnp.arange(len(linear.KINDS))
  loss = np.asarray(jax.jit(grid)(jnp.arange(len(AGGREGATES)), kinds, stacked)).tolist()
  return {name: dict(zip(linear.KINDS, row, strict=True)) for name, row in zip(AGGREGATES, loss, strict=True)}


def test_a_mean_is_broken_by_a_fifth_of_attackers():
  loss = held_out()["mean"]
  assert loss["none"] < 0.6 < np.log(linear.CLASSES)  # it has learnt
  for kind in linear.KINDS[1:]:
    assert not loss[kind] < 1.1 * loss["none"], kind


@pytest.mark.parametrize("name", ["median", "trimmed_mean", "multi_krum", "centred_clipping"])
def test_robust_aggregates_stay_within_two_hundredths_of_the_clean_loss(name):
  loss, clean = held_out()[name], held_out()["mean"]["none"]
  for kind in linear.KINDS:
    assert abs(loss[kind] / clean - 1) < 0.02, (kind, loss[kind], clean)
