"""Association across steps: which agent of the next step is this one, or is it gone?

  - log softmax_j(affinity[i, .])[match of i],     j over the agents of the next step, and "gone"

for every agent i that is there. Slots of a clip keep their agent, which no tracker is told: `shuffle` deals the
slots of every step anew before a model sees them. Association by learned affinity: S. Sun et al., "Deep Affinity
Network", arXiv:1810.11780.
"""

import jax
import jax.numpy as jnp

from objectives import draws
from objectives.likelihood import NEVER, cross_entropy


def shuffle(batch: dict, key: jax.Array) -> dict:
  """The batch with the slots of every step in an order of its own: all arrays named `..._BxTxK...`, alike."""
  slots = {name: value for name, value in batch.items() if name.rpartition("_")[2].startswith("BxTxK")}
  frames = next(iter(slots.values())).shape[1:3]
  order = jax.vmap(lambda own: jax.random.uniform(own, frames))(draws.keys(key, batch)).argsort(-1)

  def deal(value):
    index = order.reshape(order.shape + (1,) * (value.ndim - 3))
    return jnp.take_along_axis(value, index, axis=2)

  return batch | {name: deal(value) for name, value in slots.items()}


def matches(agent_BxTxK: jax.Array, present_BxTxK: jax.Array) -> jax.Array:
  """int32 [B, T - 1, K]: the slot of the same agent in the next step, or K where it is gone."""
  same = agent_BxTxK[:, :-1, :, None] == agent_BxTxK[:, 1:, None, :]
  same &= present_BxTxK[:, :-1, :, None] & present_BxTxK[:, 1:, None, :]
  return jnp.where(same.any(-1), same.argmax(-1), agent_BxTxK.shape[2]).astype(jnp.int32)


def loss(affinity_BxTxKxJ, agent_BxTxK, present_BxTxK):
  """{name: (sum_B, count_B)} per agent that is there and has a next step.

  affinity_BxTxKxJ: [B, T - 1, K, K + 1] logits: to the slots of the next step, and "gone". Empty slots of the next
  step are ruled out here. "accuracy": likeliest column is the match; "kept": the same, of agents that stay.
  """
  b, _, k = agent_BxTxK.shape
  match = matches(agent_BxTxK, present_BxTxK)
  gone = jnp.ones((b, match.shape[1], 1), bool)
  open_ = jnp.concatenate([present_BxTxK[:, 1:], gone], -1)[:, :, None]
  logits = jnp.where(open_, affinity_BxTxKxJ, NEVER)
  nats, _ = cross_entropy(logits, match)
  there = present_BxTxK[:, :-1].astype(jnp.float32)
  stays = there * (match < k)
  right = logits.argmax(-1) == match
  count = there.sum((1, 2))
  return {
    "loss": ((nats * there).sum((1, 2)), count),
    "accuracy": ((right * there).sum((1, 2)), count),
    "kept": ((right * stays).sum((1, 2)), stays.sum((1, 2))),
  }
