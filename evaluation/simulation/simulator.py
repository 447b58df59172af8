"""The motion model as a simulator: all agents of a window move on for any horizon, some of them as they are told.

At each step every agent's context is computed from the simulated states and every agent moves, ego first, each given
the moves before it: exactly the factorisation that is trained (models/motion.py). A forced move takes the place of the
model's answer, and all others answer it: p(others | do(move)). From logits l of V moves, a free agent draws from

  softmax(l / temperature) over the fewest moves whose probabilities sum to top_p or more

(A. Holtzman et al., ICLR 2020, arXiv:1904.09751), or takes the likeliest at temperature 0. The model answers for all
slots at once, so their moves are found together, as a fixed point, in far fewer passes than there are slots.

A horizon beyond the window slides it by hops: when it is full, its last `observed` steps become the first ones of the
next, in the frame that the group's ego has there, as windows for training are cut. Within a window the keys and values
of earlier steps are cached; the moves are those of the uncached model, to rounding.

Signals are what the inputs say of each step, nobody enters and nobody leaves.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp

from data import context, motion

FREE = -1  # in place of a forced move
_NEVER = -1e9  # a logit of probability zero


@dataclasses.dataclass(frozen=True)
class Simulation:
  """observed, window: moves that are seen before the first, and in all at a time. steps: to simulate. dt: s per move.

  temperature, top_p: of the draws; 0 takes the likeliest. cached: with keys and values of earlier steps.
  """

  observed: int
  window: int
  steps: int
  dt: float
  temperature: float
  top_p: float
  cached: bool


def make_simulator(apply: Callable, how: Simulation, guide: Callable | None = None) -> Callable:
  """Returns simulate(params, inputs, forced, key) -> states float32 [B, A, steps + 1, S] in the window's frame.

  S as in data.motion; the first state is the last observed one. `apply` is that of a motion model (models/motion.py);
  what is not cached may be any that gives logits [B, T, A, V]. `inputs`: from evaluation.forecasting.rollout.prepare.
  `forced_NxBxA`: int, the moves to make at each step, FREE where the model decides. `guide(states [B, A, S],
  surroundings)`: nats [B, A, V] that are added to the logits (evaluation/driving/guide.py).
  """
  hop = how.window - how.observed
  hops = -(-how.steps // hop)

  def answers(params, batch, t, cache):
    """Logits [B, A, V] at step t, and the cache with it."""
    if not how.cached:
      return apply({"params": params}, batch)[:, t], cache
    logits, kept = apply({"params": params, "cache": cache}, batch, t, mutable=["cache"])
    return logits[:, 0], kept["cache"]

  def simulate(params, inputs, forced_NxBxA, key):
    alive, around, keep = inputs["alive"], inputs["around"], inputs["keep"]
    leader_BxA = _leaders(around.group[:, 0], alive)
    vocabulary = jax.eval_shape(apply, {"params": params}, inputs["batch"]).shape[-1]

    def draws(step_key):
      """Gumbel noise: the largest of logits + noise is a sample of their softmax, and the same in every pass."""
      keys = jax.vmap(jax.random.fold_in, (None, 0))(step_key, jnp.arange(alive.shape[1]))
      return jax.vmap(lambda slot: jax.random.gumbel(slot, (len(alive), vocabulary)), out_axes=1)(keys)

    def advance(carry, now):
      batch, past, cache, frame = carry
      t, forced_BxA, signal, step_key = now
      state = past[:, t]
      seen = context.features(state[:, None], alive[:, None], around._replace(signal=signal), jnp)[:, 0]
      seen = seen.at[..., context.PLACE].set(_place(state, frame) * alive[..., None])
      batch = batch | {"features_BxTxAxF": batch["features_BxTxAxF"].at[:, t].set(_stored(seen) * keep)}
      noise = 0.0 if how.temperature == 0 else draws(step_key)
      nats = jnp.zeros((1, 1, vocabulary))
      if guide:
        against = guide(state, around._replace(signal=signal))
        nats = jnp.pad(against, ((0, 0), (0, 0), (0, vocabulary - against.shape[-1])))

      def answer(moves_BxA, cache):
        tokens = batch["tokens_BxTxA"].at[:, t].set(moves_BxA)
        logits, cache = answers(params, batch | {"tokens_BxTxA": tokens}, t, cache)
        chosen = (scores(logits + nats, how) + noise).argmax(-1)
        return jnp.where(forced_BxA == FREE, chosen, forced_BxA).astype(moves_BxA.dtype), cache

      guess = batch["tokens_BxTxA"][:, t - 1]  # most agents go on as they did
      moves_BxA, cache = settled(
        answer, jnp.where(forced_BxA == FREE, guess, forced_BxA).astype(guess.dtype), cache
      )
      batch = batch | {"tokens_BxTxA": batch["tokens_BxTxA"].at[:, t].set(moves_BxA)}
      state = motion.step(state, moves_BxA.astype(jnp.int32), how.dt, jnp)
      return (batch, past.at[:, t + 1].set(state), cache, frame), state

    def one_hop(carry, nows):
      batch, past, frame = carry
      cache = apply({"params": params}, batch, mutable=["cache"])[1]["cache"] if how.cached else {}
      places = jnp.arange(how.observed, how.window)
      (batch, past, _, _), states = jax.lax.scan(advance, (batch, past, cache, frame), (places, *nows))
      return slide(batch, past), states

    def slide(batch, past):
      """The window `hop` steps on, its first steps seen from where its leaders are now."""
      batch = batch | {
        name: jnp.roll(value, -hop, axis=1) for name, value in batch.items() if name.endswith("_BxTxA")
      }
      features, valid = jnp.roll(batch["features_BxTxAxF"], -hop, axis=1), batch["valid_BxTxA"]
      valid = valid.at[:, how.observed :].set(alive[:, None])
      past = jnp.roll(past, -hop, axis=1)
      first_BxA = jnp.take_along_axis(valid.argmax(1), leader_BxA, axis=1)
      frame = past[jnp.arange(len(past))[:, None], first_BxA, leader_BxA][..., :3]
      seen = _stored(_place(past[:, :-1], frame[:, None]) * valid[..., None])
      features = features.at[..., context.PLACE].set(seen * keep[:, None, :, context.PLACE])
      batch = batch | {"features_BxTxAxF": features, "valid_BxTxA": valid}
      return (
        batch | {"mask_BxTxA": batch["mask_BxTxA"].at[:, how.observed :].set(alive[:, None])},
        past,
        frame,
      )

    batch = {
      name: _resized(value, how.observed, how.window, alive)
      if name.endswith(("_BxTxA", "_BxTxAxF"))
      else value
      for name, value in inputs["batch"].items()
    }
    past = jnp.concatenate([inputs["past"], inputs["state"][:, None]], 1)
    past = jnp.pad(past, ((0, 0), (0, hop), (0, 0), (0, 0)))
    signal = jnp.moveaxis(around.signal, 1, 0)[:, :, None]
    signal = jnp.broadcast_to(signal, (how.steps, *signal.shape[1:]))
    nows = forced_NxBxA, signal, jax.random.split(key, how.steps)
    nows = jax.tree.map(lambda value: _in_hops(value, hops, hop), nows)
    frame = jnp.zeros((*alive.shape, 3))
    _, states = jax.lax.scan(one_hop, (batch, past, frame), nows)
    states = states.reshape(-1, *states.shape[2:])[: how.steps]
    return jnp.moveaxis(jnp.concatenate([inputs["state"][None], states]), 0, 2)

  return jax.jit(simulate)


def settled(answer: Callable, guess_BxA: jax.Array, cache) -> tuple:
  """The moves [B, A] that answer(moves, cache) -> (moves, cache) gives back, where the answer of a slot depends on the
  slots before it; and the cache with them.

  The first slot is final after one pass, and so the n-th after n: all A passes are what asking slot by slot would
  give. They end with the first that changes nothing, which comes early, as most moves do not hang on a chain of
  others. Jacobi iteration: Y. Song et al., ICML 2021, arXiv:2002.03629.
  """

  def again(carry):
    moves_BxA, cache, _, passes = carry
    fresh_BxA, cache = answer(moves_BxA, cache)
    return fresh_BxA, cache, (fresh_BxA != moves_BxA).any(), passes + 1

  def unsettled(carry):
    return carry[2] & (carry[3] < guess_BxA.shape[1])

  return jax.lax.while_loop(unsettled, again, (guess_BxA, cache, True, 0))[:2]


def scores(logits_V: jax.Array, how: Simulation) -> jax.Array:
  """Logits [..., V] of what moves are drawn from: tempered, and cut to the most likely that make up top_p."""
  if how.temperature == 0:
    return logits_V
  logits_V = logits_V / how.temperature
  if how.top_p >= 1:
    return logits_V
  sorted_V = -jnp.sort(-logits_V, axis=-1)
  share_V = jax.nn.softmax(sorted_V, axis=-1)
  kept = (share_V.cumsum(-1) - share_V < how.top_p).sum(-1, keepdims=True)  # the likeliest always
  least = jnp.take_along_axis(sorted_V, jnp.maximum(kept, 1) - 1, axis=-1)
  return jnp.where(logits_V >= least, logits_V, _NEVER)


def _leaders(group_BxA: jax.Array, alive_BxA: jax.Array) -> jax.Array:
  """int [B, A]: the first slot of each one's group that is alive; of a group without one, slot 0."""
  same = (group_BxA[:, :, None] == group_BxA[:, None]) & alive_BxA[:, None]
  return same.argmax(-1)


def _place(state: jax.Array, frame: jax.Array) -> jax.Array:
  """The features of place of states [..., S] in frames [..., 3] (x, y, heading)."""
  x, y = state[..., motion.X] - frame[..., 0], state[..., motion.Y] - frame[..., 1]
  cos, sin = jnp.cos(frame[..., 2]), jnp.sin(frame[..., 2])
  turned = jnp.stack([cos * x + sin * y, cos * y - sin * x, state[..., motion.HEADING] - frame[..., 2]], -1)
  return context.place(jnp.concatenate([turned, state[..., 3:]], -1), jnp)


def _stored(features: jax.Array) -> jax.Array:
  """As stored for training."""
  return features.astype(jnp.float16).astype(jnp.float32)


def _resized(value: jax.Array, observed: int, window: int, alive: jax.Array) -> jax.Array:
  """The observed steps of [B, T, A, ...], then room for the rest of a window, in which the living stay."""
  past = jnp.asarray(value)[:, :observed]
  ahead = jnp.broadcast_to(alive[:, None], (len(past), window - observed, past.shape[2]))
  ahead = ahead if value.dtype == bool else jnp.zeros((*ahead.shape, *past.shape[3:]), past.dtype)
  return jnp.concatenate([past, ahead], 1)


def _in_hops(value: jax.Array, hops: int, hop: int) -> jax.Array:
  """[N, ...] to [hops, hop, ...]; beyond the N steps the last is repeated."""
  place = jnp.minimum(jnp.arange(hops * hop), len(value) - 1)
  return value[place].reshape(hops, hop, *value.shape[1:])
