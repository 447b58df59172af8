"""Selective state-space layer (state-space duality): attention's work in linear time, with a state to carry on.

For every head, with a state h [K, R] in float32,

  h[t] = a[t] h[t-1] + u[t] b[t]^T,   y[t] = h[t] c[t],   a[t] = exp(-rate dt[t]) in (0, 1],   u[t] = dt[t] x[t],

where dt, b, c and x are read off the input, so that the layer chooses what to keep. Unrolled, it is attention with
a mask of decays, y[t] = sum_{s<=t} (c[t] . b[s]) exp(sum_{r=s+1..t} log a[r]) u[s]: `chunked` takes that form
within chunks of Q steps and hands the state from one chunk to the next, which is nearly all matmuls and costs
O(T Q). `recurrence` is one step and `scan` its loop; all three agree to rounding.

T. Dao, A. Gu, "Transformers are SSMs", arXiv:2405.21060. Left out: the short convolution before the recurrence, so
that the state is all there is to carry. N rows, T steps, H heads, K head width, R state size, D width.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from models.layers import RMSNorm, caches, weight

PACES, RATES = (1e-3, 1e-1), (1.0, 16.0)  # of dt and of what is forgotten at first; the paper's


def recurrence(state_NxHxKxR, u_NxHxK, log_decay_NxH, b_NxR, c_NxR):
  """One step: (next state, y [N, H, K]), float32. A log decay of 0 with u = 0 leaves the state as it is."""
  state = jnp.exp(log_decay_NxH)[:, :, None, None] * state_NxHxKxR
  state = state + u_NxHxK[..., None] * b_NxR[:, None, None, :]
  return state, jnp.einsum("nhkr,nr->nhk", state, c_NxR)


def scan(u_NxTxHxK, log_decay_NxTxH, b_NxTxR, c_NxTxR, state_NxHxKxR):
  """Step after step: (y [N, T, H, K], last state), float32."""

  def step(state, inputs):
    return recurrence(state, *inputs)

  inputs = (u_NxTxHxK, log_decay_NxTxH, b_NxTxR, c_NxTxR)
  state, y_TxNxHxK = jax.lax.scan(step, state_NxHxKxR, tuple(x.swapaxes(0, 1) for x in inputs))
  return y_TxNxHxK.swapaxes(0, 1), state


def chunked(u_NxTxHxK, log_decay_NxTxH, b_NxTxR, c_NxTxR, state_NxHxKxR, chunk: int):
  """The same in chunks: matmuls in the type of `u`, `b` and `c`, decays and states in float32.

  T need not be a multiple of `chunk`: it is filled up with steps that change nothing.
  """
  n, t, h, k = u_NxTxHxK.shape
  count = -(-t // chunk)

  def cut(x):  # [N, T, ...] -> [N, C, Q, ...]
    x = jnp.pad(x, ((0, 0), (0, count * chunk - t)) + ((0, 0),) * (x.ndim - 2))
    return x.reshape(n, count, chunk, *x.shape[2:])

  u, b, c = cut(u_NxTxHxK), cut(b_NxTxR), cut(c_NxTxR)
  total = cut(log_decay_NxTxH.astype(jnp.float32)).cumsum(2)  # from the chunk's start, this step included
  # Within a chunk. The mask goes in before exp: what lies ahead would overflow, and its gradient with it.
  between = total[:, :, :, None] - total[:, :, None, :]
  past = jnp.tril(jnp.ones((chunk, chunk), bool))[None, None, :, :, None]
  decay_NxCxQxZxH = jnp.exp(jnp.where(past, between, -jnp.inf))
  score = jnp.einsum("ncqr,nczr->ncqz", c, b, preferred_element_type=jnp.float32)
  mixed = (score[..., None] * decay_NxCxQxZxH).astype(u.dtype)
  y = jnp.einsum("ncqzh,nczhk->ncqhk", mixed, u, preferred_element_type=jnp.float32)
  # What a chunk adds to the state by its end, and the state each chunk starts from.
  to_end = jnp.exp(total[:, :, -1:] - total)
  kept = (to_end[..., None] * u).astype(u.dtype)
  added = jnp.einsum("nczhk,nczr->nchkr", kept, b, preferred_element_type=jnp.float32)

  def carry(state, piece):
    decay_NxH, added_NxHxKxR = piece
    return jnp.exp(decay_NxH)[:, :, None, None] * state + added_NxHxKxR, state

  pieces = (total[:, :, -1].swapaxes(0, 1), added.swapaxes(0, 1))
  state, starts = jax.lax.scan(carry, state_NxHxKxR.astype(jnp.float32), pieces)
  before = jnp.einsum("ncqr,cnhkr->ncqhk", c, starts.astype(u.dtype), preferred_element_type=jnp.float32)
  y = y + jnp.exp(total)[..., None] * before
  return y.reshape(n, count * chunk, h, k)[:, :t], state


class StateSpace(nn.Module):
  """x [N, T, D] -> y [N, T, D], causal; steps that are not valid leave the state unchanged.

  With a mutable collection "cache" the state is kept in it: each call goes on where the last one ended.

  y = W_o norm(silu(gate) * (ssd(x) + skip x)), with the norm over each head's K channels, so that heads can lie on
  different devices.

  Attributes: heads H, head_dim K, state R: shapes of the recurrent state. chunk: Q. dtype: of matmuls.
  """

  heads: int
  head_dim: int
  state: int
  chunk: int
  dtype: jnp.dtype
  width: int

  def setup(self):
    d, inner, axes = self.width, (self.heads, self.head_dim), ("heads", "head_dim")
    part, zeros = nn.with_logical_partitioning, nn.initializers.zeros
    self.value = weight(self, "value", (d, *inner), ("embed", *axes), d)
    self.gate = weight(self, "gate", (d, *inner), ("embed", *axes), d)
    self.write = weight(self, "write", (d, self.state), ("embed", "state"), d)
    self.read = weight(self, "read", (d, self.state), ("embed", "state"), d)
    self.pace = weight(self, "pace", (d, self.heads), ("embed", "heads"), d)
    self.pace_bias = self.param("pace_bias", part(_paces, ("heads",)), (self.heads,), jnp.float32)
    self.log_rate = self.param("rate_scale", part(_log_rates, ("heads",)), (self.heads,), jnp.float32)
    self.skip = self.param("skip_scale", part(nn.initializers.ones, ("heads",)), (self.heads,), jnp.float32)
    self.norm = RMSNorm()
    # Zero at first, like attention's: the branch adds what it learns to remember.
    self.out = self.param("out", part(zeros, (*axes, "embed")), (*inner, d), jnp.float32)

  def __call__(self, x_NxTxD, valid_NxT):
    value, u, log_decay, b, c, gate = self._read_off(x_NxTxD, valid_NxT)
    state = jnp.zeros((len(x_NxTxD), self.heads, self.head_dim, self.state), jnp.float32)
    if caches(self):
      state = self.get_variable("cache", "state", state)
      y, state = chunked(u, log_decay, b, c, state, min(self.chunk, x_NxTxD.shape[1]))
      self.put_variable("cache", "state", state)
    else:
      y, _ = chunked(u, log_decay, b, c, state, self.chunk)
    return self._put_out(y, value, gate)

  def _read_off(self, x_NxTxD, valid_NxT):
    x = x_NxTxD.astype(self.dtype)
    value, gate = (jnp.einsum("ntd,dhk->nthk", x, w.astype(self.dtype)) for w in (self.value, self.gate))
    b, c = (jnp.einsum("ntd,dr->ntr", x, w.astype(self.dtype)) for w in (self.write, self.read))
    pace = jnp.einsum("ntd,dh->nth", x, self.pace.astype(self.dtype)).astype(jnp.float32)
    dt = jax.nn.softplus(pace + self.pace_bias[None, None]) * valid_NxT[..., None]
    log_decay = -jnp.exp(self.log_rate)[None, None] * dt
    u = (dt[..., None] * value).astype(self.dtype)
    return value, u, log_decay, b, c, gate

  def _put_out(self, y_NxTxHxK, value, gate):
    y = y_NxTxHxK + self.skip[None, None, :, None] * value.astype(jnp.float32)
    y = self.norm(y * jax.nn.silu(gate.astype(jnp.float32))).astype(self.dtype)
    return jnp.einsum("nthk,hkd->ntd", y, self.out.astype(self.dtype))


def _paces(key, shape, dtype):
  """softplus^-1(dt) with dt log-uniform in PACES."""
  dt = jnp.exp(jax.random.uniform(key, shape, dtype, jnp.log(PACES[0]), jnp.log(PACES[1])))
  return dt + jnp.log(-jnp.expm1(-dt))


def _log_rates(key, shape, dtype):
  """Rates uniform in RATES: heads forget over 1 / (rate dt) steps, from one to a thousand."""
  return jnp.log(jax.random.uniform(key, shape, dtype, *RATES))
