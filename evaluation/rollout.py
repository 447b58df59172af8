"""Roll-out: the motion model drives all agents of a window into the future.

Each step computes every agent's context from the simulated states, then draws the agents' moves, ego first, each
given the moves before it: exactly the factorisation that is trained (models/motion.py). The model answers for
all slots at once, so their moves are found together, as a fixed point, in far fewer passes than there are slots.
Signals stay as last observed and nobody enters, because a forecast does not know better.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from data import context, motion
from data.windows import Window, surroundings


def make_roll_out(apply: Callable, observed: int, steps: int, dt: float, greedy: bool) -> Callable:
  """Returns roll_out(params, inputs, key) -> states float32 [B, A, steps + 1, S] in the window's frame.

  S as in data.motion; the first state is the last observed one. `apply({"params": params}, batch)` gives
  logits [B, T, A, V]; `inputs` comes from `prepare`. `greedy` takes the likeliest move of every agent, not
  a sample.
  """

  def draws(params, batch, key):
    """Gumbel noise: the largest of logits + noise is a sample of their softmax, and the same in every pass."""
    windows, _, slots, moves = jax.eval_shape(apply, {"params": params}, batch).shape
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(slots))
    return jax.vmap(lambda slot: jax.random.gumbel(slot, (windows, moves)), out_axes=1)(keys)

  def roll_out(params, inputs, key):
    around, keep, alive = inputs["around"], inputs["keep"], inputs["alive"]

    def advance(carry, at):
      batch, state = carry
      t, step_key = at
      seen = context.features(state[:, None], alive[:, None], around, jnp)[:, 0]
      seen = seen.astype(jnp.float16).astype(jnp.float32) * keep  # as stored for training
      batch = batch | {"features_BxTxAxF": batch["features_BxTxAxF"].at[:, t].set(seen)}

      def answer(moves_BxA):
        tokens = batch["tokens_BxTxA"].at[:, t].set(moves_BxA)
        logits_BxAxV = apply({"params": params}, batch | {"tokens_BxTxA": tokens})[:, t]
        return (logits_BxAxV + noise_BxAxV).argmax(-1).astype(moves_BxA.dtype)

      noise_BxAxV = 0.0 if greedy else draws(params, batch, step_key)
      moves_BxA = settled(answer, batch["tokens_BxTxA"][:, t - 1])  # most agents go on as they did
      tokens = batch["tokens_BxTxA"].at[:, t].set(moves_BxA)
      state = motion.step(state, tokens[:, t].astype(jnp.int32), dt, jnp)
      return (batch | {"tokens_BxTxA": tokens}, state), state

    times = (jnp.arange(observed, observed + steps), jax.random.split(key, steps))
    _, states = jax.lax.scan(advance, (inputs["batch"], inputs["state"]), times)
    return jnp.moveaxis(jnp.concatenate([inputs["state"][None], states]), 0, 2)

  return jax.jit(roll_out)


def settled(answer: Callable, guess_BxA: jax.Array) -> jax.Array:
  """The moves [B, A] that answer(moves) gives back, where the answer of a slot depends on the slots before it.

  The first slot is final after one pass, and so the n-th after n: all A passes are what asking slot by slot would
  give. They end with the first that changes nothing, which comes early, as most moves do not hang on a chain of
  others. Jacobi iteration: Y. Song et al., ICML 2021, arXiv:2002.03629.
  """

  def again(carry):
    moves_BxA, _, passes = carry
    fresh_BxA = answer(moves_BxA)
    return fresh_BxA, (fresh_BxA != moves_BxA).any(), passes + 1

  def unsettled(carry):
    return carry[1] & (carry[2] < guess_BxA.shape[1])

  return jax.lax.while_loop(unsettled, again, (guess_BxA, True, 0))[0]


def prepare(windows: Window, to_batch: Callable, observed: int) -> dict:
  """What `roll_out` needs of stacked windows [B, ...]; nothing in it depends on later frames.

  `to_batch` makes the model's batch of stacked windows; what it blanks in the features stays blank.
  """
  valid, mask, state = (windows[name] for name in ("valid_TxA", "mask_TxA", "state_TxAxS"))
  alive = valid[:, observed]
  past = np.arange(mask.shape[1])[None, :, None] < observed
  causal = windows | {
    "tokens_TxA": np.where(past, windows["tokens_TxA"], 0),
    "valid_TxA": np.where(past, valid, alive[:, None]),
    "mask_TxA": np.where(past, mask, alive[:, None]),
    "features_TxAxF": np.where(past[..., None], windows["features_TxAxF"], 0),
    "state_TxAxS": np.where(past[..., None], state, 0),
    "signal_TxAxQ": windows["signal_TxAxQ"][:, observed, None],
  }
  kept = to_batch(causal | {"features_TxAxF": np.ones_like(windows["features_TxAxF"])})["features_BxTxAxF"]
  batch = to_batch(causal)
  return {
    "batch": batch | {"features_BxTxAxF": batch["features_BxTxAxF"].astype(np.float32)},
    "around": surroundings(causal),
    "state": state[:, observed],
    "alive": alive,
    "keep": kept[:, 0].astype(np.float32),
  }
