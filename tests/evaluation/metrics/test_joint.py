"""Joint errors and the conventions of nuScenes: closed forms, and inputs on which the conventions differ."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from evaluation.metrics import displacement, joint, nuscenes

TRUTH = jnp.stack([jnp.zeros((3, 2)), jnp.full((3, 2), 50.0)])
VALID = jnp.ones((2, 3), bool)
KEEP = jnp.ones(2, bool)
_JOINT, _COLLIDED = jax.jit(joint.joint_errors), jax.jit(joint.world_collided)
_TOP = jax.jit(nuscenes.top_errors, static_argnums=5)


def missed_by(*by):
  """The truth with agent a sideways by by[a][n] metres at step n."""
  return TRUTH + jnp.stack([jnp.zeros((2, 3)), jnp.array(by, jnp.float32)], -1)


def test_one_world_is_chosen_for_all_agents():
  worlds = jnp.stack([missed_by([0, 0, 0], [5, 5, 5]), missed_by([6, 6, 6], [0, 0, 0])])
  found = _JOINT(worlds, jnp.array([0.25, 0.75]), TRUTH, VALID, KEEP)
  assert float(found["worldFDE"]) == 2.5  # agents on their own reach 0
  assert float(displacement.min_fde(worlds, TRUTH, VALID).sum()) == 0
  assert float(found["brier_worldFDE"]) == pytest.approx(2.5 + 0.75**2)
  assert float(found["world_miss_rate"]) == 0.5


def test_agents_that_do_not_count_do_not_matter_whatever_they_hold():
  worlds = jnp.stack([missed_by([0, 0, 1], [jnp.nan] * 3), missed_by([6, 6, 6], [0, 0, 0])])
  found = _JOINT(worlds, jnp.array([1.0, 0.0]), TRUTH, VALID, jnp.array([True, False]))
  assert float(found["worldFDE"]) == 1 and float(found["world_collision_rate"]) == 0
  nobody = _JOINT(worlds, jnp.array([1.0, 0.0]), TRUTH, VALID, jnp.zeros(2, bool))
  assert np.isnan(float(nobody["worldADE"]))


def test_a_collision_is_strictly_closer_than_a_metre_and_only_in_its_world():
  near = TRUTH.at[1].set(jnp.array([[9.0, 0], [0.999, 0], [9.0, 0]]))
  touching = near.at[1, 1, 0].set(1.0)
  worlds = jnp.stack([near, touching])
  np.testing.assert_array_equal(_COLLIDED(worlds, VALID, KEEP), [[True, True], [False, False]])
  absent = VALID.at[1, 1].set(False)
  assert not _COLLIDED(worlds, absent, KEEP).any()
  assert _COLLIDED(near.at[1, 0].set(jnp.nan)[None], absent, KEEP).all()  # not known is not safe


def test_the_conventions_differ_where_they_should():
  detour, brief = missed_by([9, 1, 0], [0, 0, 2]), missed_by([1, 1, 1], [3, 3, 3])
  modes, probability = jnp.stack([detour, brief]), jnp.array([[0.5, 0.9], [0.5, 0.1]])
  one = _TOP(modes, probability, TRUTH, VALID, KEEP, 1)
  two = _TOP(modes, probability, TRUTH, VALID, KEEP, 2)
  # Agent 0: a tie, so the first mode is kept, which misses on its way; agent 1: exactly 2 m is a miss here.
  assert [float(total) for total, _ in one.values()] == pytest.approx([10 / 3 + 2 / 3, 0 + 2, 2])
  # With both modes the minima come from different ones: 1 on average from the second, 0 at the end from the first.
  assert [float(total) for total, _ in two.values()] == pytest.approx([1 + 2 / 3, 0 + 2, 1])
  ours = displacement.forecast_errors(modes, TRUTH, VALID, KEEP)
  assert [float(total) for total, _ in ours.values()] == pytest.approx([10 / 3 + 2 / 3, 0 + 2, 0])


def test_nan_is_shown_and_masked_steps_are_not():
  broken = missed_by([0, jnp.nan, 0], [0, 0, 0])[None]
  probability = jnp.ones((1, 2))
  pairs = _TOP(broken, probability, TRUTH, VALID, KEEP, 1)
  assert np.isnan(float(pairs["top_ade_1"][0])) and float(pairs["top_missed_1"][0]) == 1
  masked = VALID.at[0, 1].set(False)
  pairs = _TOP(broken, probability, TRUTH, masked, KEEP, 1)
  assert [float(total) for total, _ in pairs.values()] == [0, 0, 0]
