"""World model over frames of discrete codes, whatever codebook they are from, and the ego's actions.

For a window of T frames of S codes, in raster order, it gives the exact factorisation

  p(codes | actions) = prod_t prod_s p(c[t,s] | c[<t, :], c[t, <s], a[<=t]),

where a[t] is the action that led to frame t. A trunk over the frames before sees each of them whole, as the action
and its codes; what it says of frame t - 1 is where frame t begins. A second trunk reads frame t place after place:
at place s it is given the code before it (the action at the first) and the first trunk's word on place s. Both may
mix in any way: a causal trunk never looks past a step, and a step of the second is one place. So a frame of the past
costs one pass. Written code by code, a code costs one token of the second trunk and a frame one step of the first, with
caches of what both have seen (models/trunk.py).

Two stages over a frame's codes: D. Lee et al., arXiv:2203.01941; world models on discrete frames with actions: A. Hu
et al., GAIA-1, arXiv:2309.17080.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from models.codes_config import CodesConfig
from models.layers import NEVER, weight
from models.trunk import Trunk


class CodesModel(nn.Module):
  """apply({"params": p}, batch) -> float32 logits [B, T, S, rows]; rows past V are never possible.

  batch: "codes_BxTxS" and "actions_BxT" int. Logits at [t, s] do not depend on codes from there on, nor on actions
  after t. The call is `look_back`, `ahead` and `read`. With mutable=["cache"], `look_back` takes some frames, from `at`
  on, and `read` gives the logits of place `at` alone, after those before it; the first call, at 0, makes the cache.
  """

  config: CodesConfig

  def setup(self):
    c, d = self.config, self.config.width
    self.code = weight(self, "code_table", (c.rows, d), (None, "table"), 1)
    self.action = weight(self, "action_table", (c.actions, d), (None, "table"), 1)
    self.place = weight(self, "place_table", (c.places + 1, d), (None, "table"), 1)  # 0: the action
    part, zeros = nn.with_logical_partitioning, nn.initializers.zeros
    self.start = self.param("start_token", part(zeros, ("norm",)), (d,), jnp.float32)
    self.past, self.frame = Trunk(c.past), Trunk(c.frame)
    # Scale 1 / D: the initial prediction is flat at any width, as muP asks (arXiv:2203.03466).
    self.head = weight(self, "head", (c.rows, d), ("vocab", "table"), d**2)
    self.bias = self.param("bias", part(zeros, ("vocab",)), (c.rows,), jnp.float32)

  def __call__(self, batch):
    codes_BxTxS = batch["codes_BxTxS"].astype(jnp.int32)
    actions_BxT = batch["actions_BxT"].astype(jnp.int32)
    context_BxTxSxD = self.ahead(self.look_back(codes_BxTxS, actions_BxT))
    return self.read(context_BxTxSxD, codes_BxTxS, actions_BxT)

  def ahead(self, said_BxTxSxD):
    """[B, T, S, D]: what was said of every frame before it began; of the first, the start."""
    start = jnp.broadcast_to(self.start[None, None, None], said_BxTxSxD[:, :1].shape)
    return jnp.concatenate([start, said_BxTxSxD[:, :-1]], 1)

  def look_back(self, codes_BxTxS, actions_BxT, at=None):
    """[B, T, S, D]: at every frame, what it and the frames before say of each place of the next."""
    seen = jnp.concatenate([self.action[actions_BxT][:, :, None], self.code[codes_BxTxS]], 2)
    x = seen + self.place[None, None]
    frames = x.shape[1] if at is None else self.config.past.steps
    y = self.past(x, jnp.ones((len(x), frames, x.shape[2]), bool), at)
    # Where a recurrence reads along the frame, only its last place saw it whole.
    return y[:, :, 1:] + y[:, :, -1:]

  def read(self, context_BxTxSxD, codes_BxTxS, actions_BxT, at=None):
    """Logits of every code of the frames, from what was said of them before and their own codes before it."""
    c = self.config
    b, t, s, d = context_BxTxSxD.shape
    if at is None:
      before = jnp.concatenate([self.action[actions_BxT][:, :, None], self.code[codes_BxTxS[..., :-1]]], 2)
      x = context_BxTxSxD + before + self.place[None, None, 1:]
    else:
      last_BxT = jax.lax.dynamic_index_in_dim(codes_BxTxS, jnp.maximum(at - 1, 0), axis=2, keepdims=False)
      before = jnp.where(at == 0, self.action[actions_BxT], self.code[last_BxT])
      x = jax.lax.dynamic_slice_in_dim(context_BxTxSxD, at, 1, axis=2) + before[:, :, None]
      x += self.place[at + 1][None, None, None]
    x = x.reshape(b * t, -1, 1, d)
    x = self.frame(x, jnp.ones((b * t, s, 1), bool), at).reshape(b, t, -1, d).astype(jnp.dtype(c.dtype))
    logits = jnp.einsum("btsd,vd->btsv", x, self.head.astype(x.dtype)).astype(jnp.float32)
    possible = jnp.arange(c.rows)[None, None, None] < c.codes
    return jnp.where(possible, logits + self.bias[None, None, None], NEVER)


def next_frame(model: CodesModel, params, codes_BxTxS, actions_BxT, action_B, key, temperature: float = 1.0):
  """The frame after the given ones, drawn code by code: (codes int32 [B, S], their log-probabilities [B, S]).

  action_B: the action that leads there. temperature: logits are divided by it; at 0 each code is the likeliest. The
  log-probabilities are of the distribution that is drawn from; at 1 and 0 they are those of the model given the frame
  (teacher forcing).
  """
  said = model.apply({"params": params}, codes_BxTxS, actions_BxT, method="look_back")
  return _write(model, params, said[:, -1:], action_B, key, temperature)


def _write(model: CodesModel, params, context_Bx1xSxD, action_B, key, temperature: float):
  """`next_frame`, of which so much was said."""
  b, _, s, _ = context_Bx1xSxD.shape

  def read(cache, frame_Bx1xS, place):
    variables, inputs = {"params": params, "cache": cache}, (context_Bx1xSxD, frame_Bx1xS, action_B[:, None])
    logits, kept = model.apply(variables, *inputs, place, method="read", mutable=["cache"])
    return logits[:, 0, 0], kept["cache"]

  def draw(carry, place):
    frame_Bx1xS, cache = carry
    logits_BxV, cache = read(cache, frame_Bx1xS, place)
    logs_BxV = jax.nn.log_softmax(logits_BxV / (temperature or 1.0))
    if temperature:
      code_B = jax.random.categorical(jax.random.fold_in(key, place), logs_BxV)
    else:
      code_B = logs_BxV.argmax(-1).astype(jnp.int32)
    log_B = jnp.take_along_axis(logs_BxV, code_B[:, None], axis=-1)[:, 0]
    return (frame_Bx1xS.at[:, 0, place].set(code_B), cache), log_B

  blank = jnp.zeros((b, 1, s), jnp.int32)
  empty = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(read, {}, blank, 0)[1])
  (frame_Bx1xS, _), logs_SxB = jax.lax.scan(draw, (blank, empty), jnp.arange(s))
  return frame_Bx1xS[:, 0], logs_SxB.T


def roll_out(
  model: CodesModel, params, codes_BxTxS, actions_BxT, observed: int, key, temperature: float = 1.0
):
  """The window, int32 [B, T, S], with every frame from `observed` on drawn, each after all before it.

  T may be the configuration's number of steps at most.
  """
  codes, actions = codes_BxTxS.astype(jnp.int32), actions_BxT.astype(jnp.int32)
  frames = codes.shape[1]
  if not 0 < observed <= frames <= model.config.past.steps:
    raise ValueError(f"{observed} of {frames} frames observed, of {model.config.past.steps} at most")

  def look_back(cache, codes_BxTxS, actions_BxT, t):
    """What is said of the frame after these, which begin at t."""
    variables, inputs = {"params": params, "cache": cache}, (codes_BxTxS, actions_BxT, t)
    said, kept = model.apply(variables, *inputs, method="look_back", mutable=["cache"])
    return said[:, -1:], kept["cache"]

  def write(carry, now):
    t, action_B = now
    context, cache = carry
    frame_BxS, _ = _write(model, params, context, action_B, jax.random.fold_in(key, t), temperature)
    return look_back(cache, frame_BxS[:, None], action_B[:, None], t), frame_BxS

  first = look_back({}, codes[:, :observed], actions[:, :observed], 0)
  _, frames_TxBxS = jax.lax.scan(write, first, (jnp.arange(observed, frames), actions[:, observed:].T))
  return jnp.concatenate([codes[:, :observed], frames_TxBxS.swapaxes(0, 1)], 1)
