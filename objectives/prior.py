"""Classes drawn oftener than they occur: what restores the natural probabilities.

When only the frequency of the classes was changed, p(x | y) is as it was, and by Bayes' rule the classifier that is
right for the sampled frequencies q and the one that is right for the natural p differ by a constant per class:

  log p(y | x) = log q(y | x) + log p(y) - log q(y) + const

A. Menon et al., "Long-tail learning via logit adjustment", arXiv:2007.07314. `adjusted` does it to logits, after
training; `tilted` inside the loss, so that the bare logits are natural. When records of whole groups (rare tags,
weathers) were drawn oftener, weights of records do it for every loss: data/mixtures.py.
"""

import jax
import jax.numpy as jnp


def adjusted(logits: jax.Array, natural_V: jax.Array, sampled_V: jax.Array) -> jax.Array:
  """Logits [..., V] learned under the class frequencies `sampled_V`, as they are under `natural_V`.

  Frequencies need not sum to 1. A class that never occurs naturally gets -inf; one that was never sampled has
  nothing to be corrected and must not be there: all of `sampled_V` is above 0.
  """
  shift_V = jnp.log(natural_V / natural_V.sum()) - jnp.log(sampled_V / sampled_V.sum())
  return logits + shift_V.reshape((1,) * (logits.ndim - 1) + (-1,))


def tilted(logits: jax.Array, natural_V: jax.Array, sampled_V: jax.Array) -> jax.Array:
  """What a loss on sampled records must see, so that the bare `logits` [..., V] come out natural: the inverse."""
  return adjusted(logits, sampled_V, natural_V)
