"""World model over frames of discrete codes, whatever codebook they are from, and the ego's actions.

For a window of T frames of S codes, in raster order, it gives the exact factorisation

  p(codes | actions) = prod_t prod_s p(c[t,s] | c[<t, :], c[t, <s], a[<=t]),

where a[t] is the action that led to frame t. A trunk over the frames before sees each of them whole, as the action
and its codes; what it says of frame t - 1 is where frame t begins. A second trunk reads frame t place after place:
at place s it is given the code before it (the action at the first) and the first trunk's word on place s. Both may
mix in any way: a causal trunk never looks past a step, and a step of the second is one place. So a frame of the past
costs one pass, and only the frame that is being written is read again for each of its codes.

Two stages over a frame's codes: D. Lee et al., arXiv:2203.01941; world models on discrete frames with actions: A. Hu
et al., GAIA-1, arXiv:2309.17080.
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from models.codes_config import CodesConfig
from models.layers import NEVER, weight
from models.trunk import Trunk


class CodesModel(nn.Module):
  """apply({"params": p}, batch) -> float32 logits [B, T, S, rows]; rows past V are never possible.

  batch: "codes_BxTxS" and "actions_BxT" int. Logits at [t, s] do not depend on codes from there on, nor on actions
  after t.
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
    context_BxTxSxD = self.look_back(codes_BxTxS, actions_BxT)
    start = jnp.broadcast_to(self.start[None, None, None], context_BxTxSxD[:, :1].shape)
    context = jnp.concatenate([start, context_BxTxSxD[:, :-1]], 1)
    return self.read(context, codes_BxTxS, actions_BxT)

  def look_back(self, codes_BxTxS, actions_BxT):
    """[B, T, S, D]: at every frame, what it and the frames before say of each place of the next."""
    seen = jnp.concatenate([self.action[actions_BxT][:, :, None], self.code[codes_BxTxS]], 2)
    x = seen + self.place[None, None]
    y = self.past(x, jnp.ones(x.shape[:3], bool))
    # Where a recurrence reads along the frame, only its last place saw it whole.
    return y[:, :, 1:] + y[:, :, -1:]

  def read(self, context_BxTxSxD, codes_BxTxS, actions_BxT):
    """Logits of every code of the frames, from what was said of them before and their own codes before it."""
    c = self.config
    b, t, s, d = context_BxTxSxD.shape
    before = jnp.concatenate([self.action[actions_BxT][:, :, None], self.code[codes_BxTxS[..., :-1]]], 2)
    x = (context_BxTxSxD + before + self.place[None, None, 1:]).reshape(b * t, s, 1, d)
    x = self.frame(x, jnp.ones(x.shape[:3], bool)).reshape(b, t, s, d).astype(jnp.dtype(c.dtype))
    logits = jnp.einsum("btsd,vd->btsv", x, self.head.astype(x.dtype)).astype(jnp.float32)
    possible = jnp.arange(c.rows)[None, None, None] < c.codes
    return jnp.where(possible, logits + self.bias[None, None, None], NEVER)


def next_frame(model: CodesModel, params, codes_BxTxS, actions_BxT, action_B, key, temperature: float = 1.0):
  """The frame after the given ones, drawn code by code: (codes int32 [B, S], their log-probabilities [B, S]).

  action_B: the action that leads there. temperature: logits are divided by it; at 0 each code is the likeliest. The
  log-probabilities are of the distribution that is drawn from; at 1 and 0 they are those of the model given the frame
  (teacher forcing).
  """
  variables = {"params": params}
  look_back: Callable = model.look_back
  read: Callable = model.read
  context = model.apply(variables, codes_BxTxS, actions_BxT, method=look_back)[:, -1:]
  b, s = codes_BxTxS.shape[0], codes_BxTxS.shape[2]

  def draw(frame_Bx1xS, place):
    logits_BxV = model.apply(variables, context, frame_Bx1xS, action_B[:, None], method=read)[:, 0, place]
    logs_BxV = jax.nn.log_softmax(logits_BxV / (temperature or 1.0))
    if temperature:
      code_B = jax.random.categorical(jax.random.fold_in(key, place), logs_BxV)
    else:
      code_B = logs_BxV.argmax(-1).astype(jnp.int32)
    log_B = jnp.take_along_axis(logs_BxV, code_B[:, None], axis=-1)[:, 0]
    return frame_Bx1xS.at[:, 0, place].set(code_B), log_B

  frame, logs_SxB = jax.lax.scan(draw, jnp.zeros((b, 1, s), jnp.int32), jnp.arange(s))
  return frame[:, 0], logs_SxB.T


def roll_out(
  model: CodesModel, params, codes_BxTxS, actions_BxT, observed: int, key, temperature: float = 1.0
):
  """The window, int32 [B, T, S], with every frame from `observed` on drawn, each after all before it."""
  codes, actions = codes_BxTxS.astype(jnp.int32), actions_BxT.astype(jnp.int32)
  for t in range(observed, codes.shape[1]):
    one = jax.random.fold_in(key, t)
    frame, _ = next_frame(model, params, codes[:, :t], actions[:, :t], actions[:, t], one, temperature)
    codes = codes.at[:, t].set(frame)
  return codes
