"""Several tasks: fixed weights, the optimum of learned ones, sums that add up, records that are not real."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from objectives import multi_task

STEPS = 4


def _batch(size):
  return {
    "a_B": jnp.arange(1.0, size + 1),
    "ego_BxTxS": jnp.zeros((size, STEPS, 1)),
    "domain_B": jnp.arange(size) % 2,
    "real_B": jnp.ones(size, bool),
  }


def _loss_fn(weights=None, answers=None):
  terms = {
    "one": lambda answers, batch: {"loss": (batch["a_B"], jnp.ones_like(batch["a_B"]))},
    "two": lambda answers, batch: {
      "loss": (batch["a_B"] ** 2, jnp.ones_like(batch["a_B"])),
      "both": (jnp.stack([batch["a_B"], batch["a_B"]], 1), jnp.ones((len(batch["a_B"]), 2))),
    },
  }
  apply = lambda variables, batch: answers or {}  # noqa: E731
  return multi_task.make_loss(apply, lambda batch, key: batch, terms, weights or {"one": 2.0, "two": 0.5}, 2)


def test_fixed_weights_add_up_per_step():
  found = _loss_fn()({}, _batch(3), jax.random.key(0))
  assert float(found["objective"][0]) == pytest.approx(2 * 6 + 0.5 * 14)
  assert float(found["objective"][1]) == 3 * STEPS
  assert (float(found["one"][0]), float(found["two"][0])) == (6, 14)
  np.testing.assert_allclose(found["by_domain"][0], [2 * 4 + 0.5 * 10, 2 * 2 + 0.5 * 4])
  np.testing.assert_allclose(found["two_both"][0], [6, 6])


def test_halves_add_up_to_the_whole_also_with_learned_weights():
  answers = {"log_variance_I": jnp.array([0.3, -1.0])}
  batch = _batch(4)
  whole = _loss_fn(answers=answers)({}, batch, jax.random.key(0))
  halves = [
    _loss_fn(answers=answers)({}, {name: value[part] for name, value in batch.items()}, jax.random.key(0))
    for part in (slice(0, 1), slice(1, 4))
  ]
  for name, (total, count) in whole.items():
    np.testing.assert_allclose(total, halves[0][name][0] + halves[1][name][0], rtol=1e-6)
    np.testing.assert_allclose(count, halves[0][name][1] + halves[1][name][1])


def test_learned_weights_are_best_at_the_losses_themselves():
  """0.5 (exp(-s) L + s) is least at exp(s) = L, where it is 0.5 (1 + log L)."""
  losses, count = jnp.array([0.2, 7.0]), 5.0
  best = jnp.log(losses)
  value, slope = jax.value_and_grad(multi_task.learned)(best, losses * count, count)
  np.testing.assert_allclose(slope, 0, atol=1e-6)
  assert float(value) == pytest.approx(count * 0.5 * float((1 + best).sum()), rel=1e-6)
  assert all(float(multi_task.learned(best + d, losses * count, count)) > float(value) for d in (-0.1, 0.1))


def test_records_that_fill_up_a_batch_count_nowhere():
  batch = _batch(3)
  padded = {name: jnp.concatenate([value, value[:1]]) for name, value in batch.items()}
  padded["real_B"] = padded["real_B"].at[3].set(False)
  before, after = (_loss_fn()({}, b, jax.random.key(0)) for b in (batch, padded))
  for name in before:
    np.testing.assert_allclose(before[name][0], after[name][0])
    np.testing.assert_allclose(before[name][1], after[name][1])


def test_a_weight_without_a_task_is_refused():
  with pytest.raises(ValueError, match="three"):
    _loss_fn({"three": 1.0})
