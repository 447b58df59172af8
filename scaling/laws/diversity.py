"""Scenario diversity as a data axis: many scenes once, or few scenes often.

A driving log is cut into scenes. S unique scenes give m tokens each; training passes over them r times, D = r m S
tokens in all. Two things make such a token worth less than a fresh one, and each has a known form:

  within a scene   tokens share road, traffic and drivers. Means over clusters of m with intraclass correlation rho
                   carry the information of m / (1 + (m - 1) rho) independent draws (Kish, Survey Sampling, 1965):
                   m' = m / (1 + (m - 1) rho)
  between passes   repeats lose value exponentially (Muennighoff et al., arXiv:2305.16264):
                   S' = S (1 + R* (1 - exp(-(r - 1) / R*)))

  L(N, S, m, r) = E + A / N^alpha + B / (m' S')^beta

Why this form: both factors are 1 for tokens that are independent and new, so that it contains the law of Hoffmann et
al. (rho = 0, r = 1) and the data term of Muennighoff et al. (rho = 0); rho = 1 makes scenes, not tokens, the currency;
and each constant is settled by its own contrast: rho by scenes of different length, R* by passes. The excess-parameter
term of Muennighoff et al. is left out: it trades off with R* along a flat valley even on 182 runs.

N parameters, S scenes, m tokens per scene, r passes (1 or more), L nats per token, rho in [0, 1].
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from scaling.fitting import parametric, solver
from scaling.laws import hoffmann


@dataclasses.dataclass(frozen=True)
class Law:
  """`base`: E, A, B, alpha, beta of independent new tokens; `correlation` rho; `r_scenes` R*."""

  base: hoffmann.Law
  correlation: float
  r_scenes: float

  def effective_tokens(self, scenes, per_scene, passes):
    """m' S': independent new tokens that the data are worth."""
    within = per_scene / (1 + (per_scene - 1) * self.correlation)
    repeats = np.maximum(np.asarray(passes, float) - 1, 0.0)
    return within * scenes * (1 + self.r_scenes * -np.expm1(-repeats / self.r_scenes))

  def loss(self, params, scenes, per_scene, passes):
    """L in nats per token."""
    return self.base.loss(params, self.effective_tokens(scenes, per_scene, passes))

  def repeat_worth(self, scenes: float, per_scene: float, passes: float) -> float:
    """Worth of the passes after the first, over that of as many new scenes: 1 for free, 0 for nothing."""
    once = self.effective_tokens(scenes, per_scene, 1.0)
    return float((self.effective_tokens(scenes, per_scene, passes) / once - 1) / (passes - 1))


def log_loss(theta, columns):
  """ln L at theta = (ln A, ln B, ln E, alpha, beta, logit rho, ln R*); columns (ln N, ln S, m, r, middle).

  The last column is the same in every row: the ln of effective tokens from which B is counted.
  """
  n, scenes, per_scene, passes, middle = columns
  rho, r_star = jax.nn.sigmoid(theta[5]), jnp.exp(theta[6])
  data = jnp.log(per_scene) - jnp.log1p((per_scene - 1) * rho) + scenes
  data = data + jnp.log1p(r_star * -jnp.expm1(-jnp.maximum(passes - 1, 0.0) / r_star))
  return hoffmann.log_loss(theta[:5], (n, data - middle))


def fit(
  params: np.ndarray, scenes: np.ndarray, per_scene: np.ndarray, passes: np.ndarray, loss: np.ndarray,
  kind: str = "huber",
) -> tuple[Law, solver.Minimum]:  # fmt: skip
  """From R runs. A table of one scene length keeps rho at 0, one without repeats keeps R* at its bound.

  Starts: for each of a few (rho, R*) the effective tokens are known, and Approach 3 gives the rest.
  """
  lengths, repeats = np.ptp(per_scene) > 0, bool((passes > 1).any())
  low_logit, high_logit = (-18.0, 7.0) if lengths else (-36.0, 0.0)
  low_r, high_r = np.log(0.01), np.log(1e4)
  n, middle = np.log(params), float(np.log(scenes * per_scene).mean())
  size = float(n.mean())
  starts = []
  for rho in (1e-4, 1e-2, 0.2) if lengths else (1e-15,):
    for r_star in (1.0, 10.0, 100.0) if repeats else (1e4,):
      known = Law(hoffmann.Law(1, 1, 1, 1, 1), rho, r_star)
      effective = np.log(known.effective_tokens(scenes, per_scene, passes))
      best = parametric.starts(n - size, effective - middle, np.log(loss), 1)[0]
      starts.append([*best, np.log(rho / (1 - rho)), np.log(r_star)])
  low = np.array(
    [-np.inf, -np.inf, np.log(loss.min()) + parametric.SMALLEST_LOG_E, 0.01, 0.01, low_logit, low_r]
  )
  high = np.array([np.inf, np.inf, np.inf, 4.0, 4.0, high_logit, high_r])
  free = np.array([True] * 5 + [lengths, repeats])
  columns = (n - size, np.log(scenes), per_scene, passes, np.full(len(n), middle))
  found = solver.minimise(log_loss, columns, np.log(loss), np.array(starts), kind, low, high, free=free)
  a, b, e, alpha, beta, logit, log_r = (float(v) for v in found.theta)
  base = hoffmann.Law(np.exp(e), np.exp(a + alpha * size), np.exp(b + beta * middle), alpha, beta)
  return Law(base, float(1 / (1 + np.exp(-logit))) if lengths else 0.0, float(np.exp(log_r))), found
