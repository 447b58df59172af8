"""Motion world model: a decoder-only transformer over agents' moves.

For a window of T steps and A agents (ego first in its group) it gives the exact factorisation

  p(moves | first states, map) = prod_t prod_i p(m[t,i] | m[<t, :], m[t, <i]),

because position (t, i) receives the context of agent i at t, which follows from moves before t, and the move
at t of the last agent before i that has one; attention then runs causally, alternately over time within an
agent and over agents within a step. The ego moves first, so its token is the action that the others answer.

Axial attention: J. Ho et al., arXiv:1912.12180. Joint motion tokens: A. Seff et al., arXiv:2309.16534.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from models.adapters import Bottleneck
from models.layers import MLP, NEVER, Attention, RMSNorm, gelu, repeat, weight
from models.motion_config import AGENT_TYPES, MotionConfig


class Block(nn.Module):
  """Attention over one axis of x [B, T, A, D], then an MLP, both pre-normalised residual.

  `at`: x is that step alone, T = 1, of a window whose earlier steps are in the cache; None: x is the window.
  """

  config: MotionConfig
  over: str  # "time" or "agents"

  @nn.compact
  def __call__(self, x_BxTxAxD, valid_BxTxA, group_BxA, at=None):
    b, t, a, d = x_BxTxAxD.shape
    c = self.config
    y = RMSNorm(name="attention_norm")(x_BxTxAxD)
    positional = self.over == "time"
    dtype = jnp.dtype(c.dtype)
    attention = Attention(c.head_count, c.head_dim, dtype, positional, c.prefix, block=0, name="attention")
    if self.over == "time":
      places = valid_BxTxA.shape[1]
      there = valid_BxTxA.swapaxes(1, 2).reshape(b * a, 1, 1, places)

      def seen(row_T):
        earlier = jnp.arange(places)[None] - row_T[:, None]
        return (there & (earlier < 0)[None, None]) | (earlier == 0)[None, None]

      y = y.swapaxes(1, 2).reshape(b * a, t, d)
      y = attention(y, seen, first=0 if at is None else at).reshape(b, a, t, d).swapaxes(1, 2)
    else:
      same = group_BxA[:, None, :, None] == group_BxA[:, None, None, :]
      before = (same & _step(valid_BxTxA, at)[:, :, None]) & jnp.tril(jnp.ones((a, a), bool), -1)[None, None]
      known = (before | jnp.eye(a, dtype=bool)[None, None]).reshape(b * t, 1, a, a)
      y = attention(y.reshape(b * t, a, d), lambda _: known).reshape(b, t, a, d)
    if c.adapter:
      y = Bottleneck(c.adapter, dtype, name="attention_adapter")(y)
    x_BxTxAxD = _residual(x_BxTxAxD + y.astype(jnp.float32))
    y = MLP(c.mlp_units, dtype, c.layers, name="mlp")(RMSNorm(name="mlp_norm")(x_BxTxAxD))
    if c.adapter:
      y = Bottleneck(c.adapter, dtype, name="mlp_adapter")(y)
    return _residual(x_BxTxAxD + y.astype(jnp.float32))


class Pair(nn.Module):
  """Time, then agents: the unit that is scanned over depth."""

  config: MotionConfig

  @nn.compact
  def __call__(self, x, valid, group, at=None):
    x = Block(self.config, "time", name="time")(x, valid, group, at)
    return Block(self.config, "agents", name="agents")(x, valid, group, at), None


class MotionModel(nn.Module):
  """apply({"params": p}, batch) -> float32 logits [B, T, A, V].

  batch: "features_BxTxAxF" float, "tokens_BxTxA" int (only earlier agents' moves are read), "valid_BxTxA" bool
  (who is there), "mask_BxTxA" bool (whose move is known), "group_BxA" and "type_BxA" int.

  Step by step: apply({"params": p}, batch, mutable=["cache"]) also gives the keys and values of the window, and
  apply({"params": p, "cache": c}, batch, at, mutable=["cache"]) the logits [B, 1, A, V] of step `at` [] int alone,
  the same to rounding if the earlier steps of the batch are as they were; from it on the cache may be out of date.
  """

  config: MotionConfig

  @nn.compact
  def __call__(self, batch, at=None):
    c = self.config
    tokens, valid = batch["tokens_BxTxA"].astype(jnp.int32), batch["valid_BxTxA"]
    group = batch["group_BxA"].astype(jnp.int32)
    seen = _step(batch["features_BxTxAxF"], at).astype(jnp.float32)
    # An MLP before the residual stream: a narrow one could not carry all features to the first block.
    up = weight(self, "stem_up", (c.features, c.mlp_units), ("features", "mlp"), c.features)
    bias = nn.with_logical_partitioning(nn.initializers.zeros, ("mlp",))
    bias = self.param("stem_bias", bias, (c.mlp_units,), jnp.float32)
    hidden = gelu(jnp.einsum("btaf,fm->btam", seen, up) + bias[None, None, None])
    down = weight(self, "stem_down", (c.mlp_units, c.width), ("mlp", "embed"), c.mlp_units)
    x = jnp.einsum("btam,md->btad", hidden, down)
    # The move of the agent before in this step, and the agent's own move a step ago; or "no move".
    none = jnp.asarray(c.vocabulary, jnp.int32)
    moves = jnp.where(batch["mask_BxTxA"], tokens, none)
    before = _before(moves, batch["mask_BxTxA"], group, c.vocabulary)
    last = jnp.pad(moves, ((0, 0), (1, 0), (0, 0)), constant_values=c.vocabulary)[:, :-1]
    # Zero at first: most predecessors do not matter, and their moves would be noise to learn away.
    x = (
      x
      + _moves(self, "before", c, c.width, 0.0, None)[_step(before, at)]
      + _moves(self, "last", c, c.width, 1.0, None)[_step(last, at)]
    )
    kinds = weight(self, "type", (AGENT_TYPES, c.width), (None, "table"), c.width)
    x = _residual(x + kinds[batch["type_BxA"].astype(jnp.int32)][:, None])

    x = repeat(Pair, (c,), "pair", c.layers // 2, c.scan, c.remat, x, valid, group, at)
    x = RMSNorm(name="final_norm")(x).astype(jnp.dtype(c.dtype))
    self.sow("intermediates", "hidden_BxTxAxD", x)  # kept only when asked for, as `embed` does
    # Scale 1 / D: the initial prediction is flat at any width, as muP asks (arXiv:2203.03466).
    head = _moves(self, "head", c, c.width, c.width**-1.0, "vocab")
    bias = _moves(self, "bias", c, 1, 0.0, "vocab")[:, 0]
    logits = jnp.einsum("btad,vd->btav", x, head.astype(x.dtype)).astype(jnp.float32) + bias[None, None, None]
    return jnp.where(jnp.arange(c.rows)[None, None, None] < c.vocabulary, logits, NEVER)


def embed(model: MotionModel, params, batch) -> jax.Array:
  """Features float32 [B, D] of a window: the hidden state of its first agent halfway, at step T // 2.

  It has seen the first half, and nothing of what that agent, or any other, does from then on.
  """
  _, kept = model.apply({"params": params}, batch, mutable=["intermediates"])
  hidden_BxTxAxD = kept["intermediates"]["hidden_BxTxAxD"][0].astype(jnp.float32)
  return hidden_BxTxAxD[:, hidden_BxTxAxD.shape[1] // 2, 0]


def _step(value_BxT, at):
  """That step alone, [B, 1, ...]; all of them when `at` is None."""
  return value_BxT if at is None else jax.lax.dynamic_slice_in_dim(value_BxT, at, 1, axis=1)


def _before(moves_BxTxA, mask_BxTxA, group_BxA, none: int):
  """The move of the last agent before that has one, in the same group; groups are runs of slots."""
  slots = jnp.arange(group_BxA.shape[1])
  here = jax.lax.cummax(jnp.where(mask_BxTxA, slots[None, None], -1), axis=2)
  place = jnp.pad(here, ((0, 0), (0, 0), (1, 0)), constant_values=-1)[..., :-1]
  moves = jnp.take_along_axis(moves_BxTxA, jnp.maximum(place, 0), axis=2)
  groups = jnp.take_along_axis(group_BxA[:, None], jnp.maximum(place, 0), axis=2)
  return jnp.where((place >= 0) & (groups == group_BxA[:, None]), moves, none)


def _moves(module: nn.Module, name: str, c: MotionConfig, width: int, scale: float, rows: str | None):
  """A table [rows, width] over moves: a row per acceleration + one per yaw rate + one of its own, from zero.

  Moves that share a symbol learn together, which small budgets need; the table is as general as any. `rows`
  is the logical axis of the rows: "vocab" for outputs, None where rows are looked up.
  """
  init = nn.initializers.normal(scale)
  first, second = (
    module.param(
      f"{name}_{i}", nn.with_logical_partitioning(init, (None, "table")), (c.factors[i], width), jnp.float32
    )
    for i in range(2)
  )
  zeros = nn.with_logical_partitioning(nn.initializers.zeros, (rows, "table"))
  own = module.param(name, zeros, (c.rows, width), jnp.float32)
  both = (first[:, None] + second[None, :]).reshape(-1, width)
  return own + jnp.pad(both, ((0, c.rows - c.vocabulary), (0, 0)))


def _residual(x):
  return nn.with_logical_constraint(x, ("batch", "time", "agents", "act_embed"))
