"""Roll-out: the motion model drives all agents of a window into the future.

Each step computes every agent's context from the simulated states, then draws the agents' moves one after the
other, ego first, each given the moves before it: exactly the factorisation that is trained (models/motion.py).
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

  def roll_out(params, inputs, key):
    around, keep, alive = inputs["around"], inputs["keep"], inputs["alive"]

    def advance(carry, at):
      batch, state = carry
      t, step_key = at
      seen = context.features(state[:, None], alive[:, None], around, jnp)[:, 0]
      seen = seen.astype(jnp.float16).astype(jnp.float32) * keep  # as stored for training
      batch = batch | {"features_BxTxAxF": batch["features_BxTxAxF"].at[:, t].set(seen)}

      def draw(slot, tokens):
        here = apply({"params": params}, batch | {"tokens_BxTxA": tokens})[:, t, slot]
        move = here.argmax(-1) if greedy else jax.random.categorical(jax.random.fold_in(step_key, slot), here)
        return tokens.at[:, t, slot].set(move.astype(tokens.dtype))

      tokens = jax.lax.fori_loop(0, alive.shape[-1], draw, batch["tokens_BxTxA"])
      state = motion.step(state, tokens[:, t].astype(jnp.int32), dt, jnp)
      return (batch | {"tokens_BxTxA": tokens}, state), state

    times = (jnp.arange(observed, observed + steps), jax.random.split(key, steps))
    _, states = jax.lax.scan(advance, (inputs["batch"], inputs["state"]), times)
    return jnp.moveaxis(jnp.concatenate([inputs["state"][None], states]), 0, 2)

  return jax.jit(roll_out)


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
