"""Several tasks: fixed weights, the optimum of learned ones, sums that add up, records that are not real."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from objectives import imitation, multi_task

STEPS = 4


def _batch(size):
  return {
    "a_B": jnp.arange(1.0, size + 1),
    "ego_BxTxS": jnp.zeros((size, STEPS, 1)),
    "domain_B": jnp.arange(size) % 2,
    "real_B": jnp.ones(size, bool),
  }


def _loss_fn(weights=None, answers=None, floors=None):
  terms = {
    "one": lambda answers, batch: {"loss": (batch["a_B"], jnp.ones_like(batch["a_B"]))},
    "two": lambda answers, batch: {
      "loss": (batch["a_B"] ** 2, jnp.ones_like(batch["a_B"])),
      "both": (jnp.stack([batch["a_B"], batch["a_B"]], 1), jnp.ones((len(batch["a_B"]), 2))),
    },
  }
  apply = lambda variables, batch: answers or {}  # noqa: E731
  weights = weights or {"one": 2.0, "two": 0.5}
  return multi_task.make_loss(apply, lambda batch, key: batch, terms, weights, floors or {}, 2)


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


@pytest.mark.parametrize("kind", ["laplace", "gaussian"])
@pytest.mark.parametrize("error", [0.0, 0.02])
def test_a_learned_weight_of_a_density_is_finite(kind, error):
  """Points nearly on the mark have negative nats: their weight is learned from what they are above the floor."""
  b, f, least = 2, 3, imitation.LEAST_SCALE
  future, mask = jnp.zeros((b, STEPS, f, 2)), jnp.ones((b, STEPS, f), bool).at[0, 0, 1].set(False)
  modes = (b, STEPS, 1, f, 2)
  said = jnp.full(modes, error), jnp.full(modes, least), jnp.zeros((b, STEPS, 1))
  found = imitation.trajectory(future, mask, *said, kind)
  nats, points = (float(value.sum()) for value in found["loss"])
  floor = imitation.least_nats(kind)
  assert nats < 0 and points == b * STEPS * f - 1
  if kind == "laplace":
    assert floor == pytest.approx(2 * np.log(2 * least), rel=1e-6)
  excess = 2 * error / least if kind == "laplace" else (error / least) ** 2  # nats of both coordinates
  assert nats - points * floor == pytest.approx(points * excess, rel=1e-4, abs=1e-3)

  def objective(s):
    apply = lambda variables, batch: {"log_variance_I": s[None]}  # noqa: E731
    loss_fn = multi_task.make_loss(
      apply, lambda x, key: x, {"plan": lambda answers, batch: found}, {"plan": 0.5}, {"plan": floor}, 2
    )
    metrics = loss_fn({}, _batch(b), jax.random.key(0))
    return metrics["objective"][0], metrics["plan"][0]

  (at_floor, reported), slope = jax.value_and_grad(objective, has_aux=True)(jnp.float32(-8.0))
  assert float(reported) == pytest.approx(nats, rel=1e-6)
  steps = b * STEPS
  if error:
    best = jnp.log(jnp.float32(0.5 * points * excess / steps))
    assert float(jax.grad(objective, has_aux=True)(best)[0]) == pytest.approx(0, abs=1e-3)
    assert float(slope) < 0  # a weight that is too large comes back
  else:  # nothing is left to weigh: exp(8) times nothing
    assert float(at_floor) == pytest.approx(0.5 * steps * -8, abs=0.5)


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
