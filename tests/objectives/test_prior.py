"""A world of five observations and three classes, whose posteriors are known under any class frequencies."""

import jax
import jax.numpy as jnp
import numpy as np

from objectives import prior

# p(x | y)
SEEN = np.array([[0.6, 0.1, 0.1, 0.1, 0.1], [0.1, 0.3, 0.4, 0.1, 0.1], [0.05, 0.05, 0.1, 0.3, 0.5]])
NATURAL = np.array([0.9, 0.08, 0.02])
SAMPLED = np.array([0.4, 0.3, 0.3])  # rare classes oversampled


def posterior(frequency_V: np.ndarray) -> np.ndarray:
  """p(y | x) [5, 3], by Bayes' rule."""
  joint = SEEN * frequency_V[:, None]
  return (joint / joint.sum(0)).T


def test_adjusted_logits_are_the_natural_posterior():
  learned = jnp.log(posterior(SAMPLED)) + 1.7  # logits are free up to a constant
  found = jax.nn.softmax(prior.adjusted(learned, jnp.asarray(NATURAL), jnp.asarray(SAMPLED)))
  np.testing.assert_allclose(found, posterior(NATURAL), atol=1e-6)
  assert np.abs(jax.nn.softmax(learned) - posterior(NATURAL)).max() > 0.3, "uncorrected, it is far off"


def test_frequencies_may_be_counts():
  logits = jnp.log(posterior(SAMPLED))
  one = prior.adjusted(logits, jnp.asarray(NATURAL), jnp.asarray(SAMPLED))
  two = prior.adjusted(logits, jnp.asarray(500 * NATURAL), jnp.asarray(70 * SAMPLED))
  np.testing.assert_allclose(one, two, atol=1e-6)


def test_tilted_training_on_the_oversampled_set_is_calibrated_on_the_natural_one():
  """The minimiser of the tilted loss over q(x, y), found by gradient descent, is the natural posterior."""
  joint_VxX = jnp.asarray(SAMPLED[:, None] * SEEN)

  def loss(logits_XxV):
    seen = prior.tilted(logits_XxV, jnp.asarray(NATURAL), jnp.asarray(SAMPLED))
    return -(joint_VxX.T * jax.nn.log_softmax(seen)).sum()

  def descend(logits, _):
    return logits - 5.0 * jax.grad(loss)(logits), None

  logits, _ = jax.jit(lambda start: jax.lax.scan(descend, start, length=2000))(jnp.zeros((5, 3)))
  np.testing.assert_allclose(jax.nn.softmax(logits), posterior(NATURAL), atol=1e-3)
