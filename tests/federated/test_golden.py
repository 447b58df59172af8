"""The golden set: its test against closed forms, how often it errs, and a backdoor that it sees where it can."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import stats

from data.errors import BadInput
from federated import algorithms, attacks, golden
from federated.rounds import make_round
from tests.federated import linear


@pytest.mark.parametrize("freedom", [7, 30, 200])
def test_the_tail_is_that_of_students_distribution(freedom):
  t = np.array([-3.0, -0.2, 0.0, 0.7, 2.0, 4.0])
  np.testing.assert_allclose(
    golden.student_tail(jnp.asarray(t), jnp.float32(freedom)),
    stats.t.sf(t, freedom),
    rtol=0.03,
  )


def test_of_scenes_of_one_count_it_is_the_paired_t_test():
  rng = np.random.default_rng(0)
  before, after = rng.gamma(2, size=(2, 30))
  slices = np.stack([np.ones(30, bool), np.arange(30) < 12])
  counts = np.full(30, 5.0)
  worse = jax.jit(golden.worse)
  got = worse((5 * before, counts), (5 * after, counts), jnp.asarray(slices), 0.0)
  expected = [stats.ttest_rel(after[s], before[s], alternative="greater").pvalue for s in slices]
  np.testing.assert_allclose(got, expected, rtol=0.02)
  shifted = worse((5 * before, counts), (5 * after, counts), jnp.asarray(slices), 0.3)
  expected = [stats.ttest_1samp((after - before)[s], 0.3, alternative="greater").pvalue for s in slices]
  np.testing.assert_allclose(shifted, expected, rtol=0.02)
  assert float(worse((before, counts), (before * np.nan, counts), jnp.asarray(slices), 0.0).max()) == 0


def test_false_refusals_are_as_rare_as_stated_and_faults_are_seen():
  """4,000 golden sets whose aggregate is worse by just the tolerance, in 3 slices of unequal scenes."""
  scenes, level, tolerance, trials = 60, 0.05, 0.1, 4000
  slices = jnp.asarray(np.stack([np.ones(scenes), np.arange(scenes) < 20, np.arange(scenes) >= 40]) > 0)
  count = jnp.asarray(np.random.default_rng(0).integers(5, 30, scenes), jnp.float32)

  def refused(key, by):
    apart = by + 0.4 * jax.random.normal(key, (scenes,))  # per thing counted
    return (golden.worse((0 * count, count), (apart * count, count), slices, tolerance) < level / 3).any()

  at = jax.jit(
    lambda by: jax.vmap(lambda key: refused(key, by))(jax.random.split(jax.random.key(1), trials)).mean()
  )
  error = np.sqrt(level * (1 - level) / trials)
  assert float(at(tolerance)) < level + 3 * error
  assert float(at(tolerance)) > level / 3 - 3 * error  # a test that never refuses would pass the line above
  assert float(at(0.0)) < 0.01
  assert float(at(0.5)) > 0.99


def golden_set(slices: bool):
  """(scenes of 10 records, slice_PxS): 40 honest scenes; where `slices`, 20 that bear the trigger, rightly labelled."""
  dealt = linear.records(600, seed=9)
  scenes = {name: x.reshape(60, 10, *x.shape[1:]) for name, x in dealt.items()}
  bears = np.arange(60) >= 40
  with_trigger = linear.triggered(scenes)
  scenes["x"] = jnp.where(bears[:, None, None], with_trigger["x"], scenes["x"])
  if not slices:
    return {name: x[:40] for name, x in scenes.items()}, jnp.ones((1, 40), bool)
  return scenes, jnp.asarray(np.stack([np.ones(60, bool), bears]))


def backdoored(slices: bool):
  """(states by round, reports by round) of a fleet trained for 12 rounds, and attacked from then on for 4."""
  clients = 10
  attacker = attacks.chosen(clients, 0.2, 0)
  clean = linear.cohort(clients, 4, 64, 0 * attacker)
  planted = clean._replace(link=clean.link | {"attacker": jnp.asarray(attacker)})
  both = jax.tree.map(lambda *x: jnp.stack(x), clean, linear.poisoned(planted, "backdoor"))
  algorithm = algorithms.fedavg(linear.loss_fn, optax.sgd(0.3))
  scenes, slice_PxS = golden_set(slices)

  def measure(params):
    return linear.nats(params, scenes).sum(1), jnp.full(len(scenes["y"]), 10.0)

  run = make_round(algorithm, clients, jnp.inf, 1e9, clients, attacks.by_some(attacks.scaling(3.0)))
  one = golden.guarded(run, measure, slice_PxS, level=0.01, tolerance=0.02)

  def step(held, piece):
    attacked, key = piece
    held, _, _, report = one(held, jax.tree.map(lambda x: x[attacked], both), key)
    return held, (held.server["params"], report)

  held = golden.start(algorithm.server_init(linear.start()), measure)
  attacked = (jnp.arange(16) >= 12).astype(jnp.int32)
  _, (params, report) = jax.jit(
    lambda: jax.lax.scan(step, held, (attacked, jax.random.split(jax.random.key(0), 16)))
  )()
  return params, report


def open_share(params) -> float:
  """How often the trigger leads to the attackers' label."""
  batch = linear.triggered({name: x for name, x in linear.records(1000, 5).items()})
  other = batch["y"] != 0
  logits = batch["x"] @ params["w"] + params["b"][None]
  return float((logits.argmax(-1) == 0)[other].mean())


def test_a_backdoor_is_refused_and_undone_where_the_golden_set_holds_its_slice():
  params, report = backdoored(slices=True)
  refused = np.asarray(report["refused"])
  assert not refused[:12].any() and refused[12:].all()
  for w in jax.tree.leaves(params):
    np.testing.assert_array_equal(w[11], w[-1])
  assert open_share(jax.tree.map(lambda x: x[-1], params)) < 0.2


def test_and_goes_through_where_it_does_not():
  params, report = backdoored(slices=False)
  assert not np.asarray(report["refused"]).any()
  assert open_share(jax.tree.map(lambda x: x[-1], params)) > 0.8


@pytest.mark.parametrize(
  ("scenes", "level", "says"), [(5, 0.05, "slice 1 holds 5 scenes"), (9, 1.0, "a level of 1")]
)
def test_a_golden_set_that_cannot_judge_is_refused(scenes, level, says):
  slices = jnp.asarray(np.stack([np.ones(9, bool), np.arange(9) < scenes]))
  with pytest.raises(BadInput, match=says):
    golden.guarded(None, None, slices, level, 0.0)
