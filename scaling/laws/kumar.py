"""Kumar et al., "Scaling Laws for Precision" (arXiv:2411.04330): training in few bits, and quantising afterwards.

Bits of weights P_w, activations P_a and attention's keys and values P_kv while training shrink the model that counts:

  N_eff = N (1 - exp(-P_w / g_w)) (1 - exp(-P_a / g_a)) (1 - exp(-P_kv / g_kv))
  L(N, D, P) = E + A / N_eff^alpha + B / D^beta

Quantising the weights of a trained model to P_post bits adds

  delta(N, D, P_post) = C_T D^g_D N^-g_N exp(-P_post / g_post)

which grows with data: an over-trained model is hurt more, until more data make the quantised model worse.
N parameters, D tokens, L and delta in nats per token, P and g in bits. The forms are written from memory
of the paper's separable N_eff and of its law of quantising; a joint form of the two, in which training in few bits
also softens what quantising adds, is not here. The paper's runs are not public: tests hold these fits to synthetic
tables only.
"""

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np

from data.errors import BadInput
from scaling.fitting import parametric, solver
from scaling.laws import hoffmann

FULL = 16.0  # bits at which nothing is lost any more, for the starts


@dataclasses.dataclass(frozen=True)
class Law:
  """`base`: the law at full precision; `gamma` [3]: bits of weights, activations, keys and values."""

  base: hoffmann.Law
  gamma: tuple[float, float, float]

  def effective_params(self, params, bits):
    """N_eff; `bits` [..., 3]."""
    return params * np.prod(-np.expm1(-np.asarray(bits, float) / np.array(self.gamma)), -1)

  def loss(self, params, tokens, bits):
    """L(N, D, P) in nats per token."""
    return self.base.loss(self.effective_params(params, bits), tokens)


@dataclasses.dataclass(frozen=True)
class PostTraining:
  """delta = exp(log_scale) D^g_d N^-g_n exp(-P / g_post), nats per token; coefficients, or arrays over draws."""

  log_scale: Any
  g_d: Any
  g_n: Any
  g_post: Any

  def added(self, params, tokens, bits):
    """Nats per token that quantising to `bits` adds."""
    return np.exp(self.log_scale + self.g_d * np.log(tokens) - self.g_n * np.log(params) - bits / self.g_post)

  def best_tokens(self, law: hoffmann.Law, params: float, bits: float) -> float:
    """The D beyond which more training makes the quantised model worse: d/dD [B / D^beta + delta] = 0."""
    slope = self.added(params, 1.0, bits) * self.g_d
    return float((law.beta * law.B / slope) ** (1 / (self.g_d + law.beta)))


def log_loss(theta, columns):
  """ln L at theta = (ln A, ln B, ln E, alpha, beta, ln g_w, ln g_a, ln g_kv); columns (ln N, ln D, P_w, P_a, P_kv)."""
  size = columns[0]
  for k in range(3):
    size = size + jnp.log(-jnp.expm1(-columns[2 + k] / jnp.exp(theta[5 + k])))
  return hoffmann.log_loss(theta[:5], (size, columns[1]))


def fit(
  params: np.ndarray, tokens: np.ndarray, bits: np.ndarray, loss: np.ndarray, kind: str = "huber"
) -> tuple[Law, solver.Minimum]:
  """From R runs at `bits` [R, 3]; a precision that never varies keeps its gamma at the least, where it costs nothing.

  Starts: the law of the runs with most bits, and all combinations of three gammas.
  """
  most = bits.min(1) >= np.median(bits.min(1))
  n, d = np.log(params), np.log(tokens)
  middle = n.mean(), d.mean()
  known = parametric.starts((n - middle[0])[most], (d - middle[1])[most], np.log(loss)[most], 1)[0]
  varied = np.ptp(bits, axis=0) > 0
  least, greatest = np.log(0.05), np.log(2 * FULL)
  grid = [np.log([0.5, 1.5, 4.0]) if v else [least] for v in varied]
  starts = np.array([[*known, w, a, k] for w in grid[0] for a in grid[1] for k in grid[2]])
  free = np.array([True] * 5 + list(varied))
  low = np.array([-np.inf, -np.inf, np.log(loss.min()) + parametric.SMALLEST_LOG_E, 0.01, 0.01, *[least] * 3])
  high = np.array([np.inf, np.inf, np.inf, 4.0, 4.0, *[greatest] * 3])
  columns = (n - middle[0], d - middle[1], *bits.T)
  found = solver.minimise(log_loss, columns, np.log(loss), starts, kind, low, high, free=free)
  a, b, e, alpha, beta, *gamma = (float(v) for v in found.theta)
  law = hoffmann.Law(
    float(np.exp(e)), float(np.exp(a + alpha * middle[0])), float(np.exp(b + beta * middle[1])), alpha, beta
  )
  return Law(law, tuple(float(np.exp(g)) for g in gamma)), found  # type: ignore[arg-type]


def fit_post_training(
  params: np.ndarray, tokens: np.ndarray, bits: np.ndarray, added: np.ndarray
) -> PostTraining:
  """From R measured degradations > 0: ln delta is linear in (1, ln D, ln N, P), so least squares has no starts."""
  design = np.stack([np.ones(len(added)), np.log(tokens), np.log(params), bits], -1)
  scale, by_data, by_size, by_bits = (float(v) for v in np.linalg.lstsq(design, np.log(added), rcond=None)[0])
  return PostTraining(scale, by_data, -by_size, -1 / by_bits)


def shrunk_added(theta, columns):
  """asinh(delta / s) at theta = (ln C_T, g_D, g_N, 1 / g_post); columns (ln N, ln D, P, s).

  As ln delta where delta is far above the noise s of its measurement, as delta / s where it is not.
  """
  log_delta = theta[0] + theta[1] * columns[1] - theta[2] * columns[0] - theta[3] * columns[2]
  return jnp.arcsinh(jnp.exp(log_delta) / columns[3])


def fit_noisy_post_training(
  params: np.ndarray,
  tokens: np.ndarray,
  bits: np.ndarray,
  added: np.ndarray,
  noise: float,
  weights: np.ndarray | None = None,
  draws: np.ndarray | None = None,
) -> tuple[PostTraining, PostTraining | None]:
  """The law of R degradations that noise may have made negative, by least squares of asinh(delta / noise); its draws.

  Args:
    noise: standard error of a small degradation, nats: below it nothing is read out of a logarithm.
    weights, draws: [L, R] of a bootstrap: how often each counts, and degradations in the place of `added`. With both
      the law of every draw is the second that is returned, its coefficients arrays [L].

  Bits that never vary leave C_T exp(-P / g_post) one number: g_post is then infinite, and stays so.
  """
  n, d = np.log(params), np.log(tokens)
  middle = n.mean(), d.mean()
  columns = n - middle[0], d - middle[1], np.asarray(bits, float), np.full(len(n), noise)
  varied = bool(np.ptp(bits))
  above = added > noise
  if above.sum() < 4:
    raise BadInput(
      f"{above.sum()} degradations stand out of the noise", "the table", "quantise to fewer bits"
    )
  design = np.stack(
    [np.ones(above.sum()), *(column[above] for column in columns[1::-1]), -columns[2][above]], -1
  )
  start = np.linalg.lstsq(design[:, : 3 + varied], np.log(added[above]), rcond=None)[0]
  start = np.array([start[0], start[1], -start[2], start[3] if varied else 0.0])
  low, high = np.full(4, -np.inf), np.full(4, np.inf)
  free = np.array([True, True, True, varied])
  theta = solver.minimise(
    shrunk_added, columns, np.arcsinh(added / noise), start[None], "mse", low, high, free=free
  ).theta
  law = _post_training(theta, middle)
  if weights is None or draws is None:
    return law, None
  thetas, _ = solver.lanes(
    shrunk_added, columns, np.arcsinh(draws / noise), theta, "mse", low, high, weights=weights, free=free
  )
  return law, _post_training(thetas, middle)


def _post_training(theta: np.ndarray, middle: tuple[float, float]) -> PostTraining:
  """From [..., 4] about the middle of ln N and ln D."""
  scale, by_data, by_size, by_bits = np.moveaxis(theta, -1, 0)
  with np.errstate(divide="ignore"):
    return PostTraining(scale - by_data * middle[1] + by_size * middle[0], by_data, by_size, 1 / by_bits)
