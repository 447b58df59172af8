"""Self-distillation: the student, which sees part of a moment, answers as the teacher that sees all of it.

Both give scores over K prototypes. With temperatures tau_t < tau_s

  p = softmax((teacher(all) - c) / tau_t),  loss = - sum_views sum_k p_k log softmax(student(view) / tau_s)_k

The centre c is the moving average of the teacher's scores: without it one prototype would win everywhere. In its
place Sinkhorn-Knopp makes the batch use all prototypes alike. The teacher is the moving average of the student
(`objectives/teacher.py`) and gets no gradient. M. Caron et al., DINO, arXiv:2104.14294; Sinkhorn: M. Caron et al.,
SwAV, arXiv:2006.09882, as in M. Oquab et al., DINOv2, arXiv:2304.07193.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from objectives import collapse
from objectives.contrastive import unit

Metrics = dict[str, tuple[jax.Array, jax.Array]]


def centred(scores_BxK: jax.Array, centre_K: jax.Array, temperature: float) -> jax.Array:
  """softmax((scores - centre) / temperature)."""
  return jax.nn.softmax((scores_BxK - centre_K[None]) / temperature, axis=-1)


def sinkhorn(scores_BxK: jax.Array, temperature: float, rounds: int) -> jax.Array:
  """Probabilities [B, K] near softmax(scores / temperature) whose columns all sum to B / K.

  Each round scales columns, then rows: rows always sum to 1, columns come nearer to B / K.
  """
  log_p = scores_BxK / temperature
  for _ in range(rounds):
    log_p = log_p - jax.nn.logsumexp(log_p, axis=0, keepdims=True)
    log_p = log_p - jax.nn.logsumexp(log_p, axis=1, keepdims=True)
  return jnp.exp(log_p)


def cross_entropy(p_BxK: jax.Array, scores_BxK: jax.Array, temperature: float) -> jax.Array:
  """- sum_k p_k log softmax(scores / temperature)_k, per row; least, the entropy of p, where both agree."""
  return -(p_BxK * jax.nn.log_softmax(scores_BxK / temperature, axis=-1)).sum(-1)


def follow_centre(centre_K: jax.Array, scores: tuple[jax.Array, jax.Array], momentum: float) -> jax.Array:
  """The centre one step on, from the metric "teacher_scores" of that step."""
  return momentum * centre_K + (1 - momentum) * scores[0] / jnp.maximum(scores[1], 1.0)


def make_loss(
  apply: Callable,
  hide: Callable[[jax.Array, jax.Array], jax.Array],
  views: int,
  student_temperature: float,
  teacher_temperature: float,
  sinkhorn_rounds: int,
  domains: int,
) -> Callable[[dict, dict, jax.Array], Metrics]:
  """Returns loss_fn(params, batch, key) -> {name: (sum, count)}.

  Args:
    apply: apply({"params": p}, batch, hide) -> (scores_BxK, features_BxD); it asks hide(valid_BxTxS) which of its
      tokens the view lacks.
    hide: (key, valid_BxTxS) -> bool [B, T, S]: masked tokens, lost sensors.
    views: number of views the student sees. sinkhorn_rounds: 0 for centring.
    domains: number of domains; "by_domain" is a vector of that length.

  params: {"student", "teacher", "centre"}. "objective" is the cross entropy in nats per view; "loss" the same less
  the entropy of the teacher, how far the student is from it. "prototypes" is the perplexity of the prototypes that
  the teacher uses over the batch, "teacher_scores" what `follow_centre` reads.
  """

  def loss_fn(params, batch, key):
    fixed = jax.lax.stop_gradient({"teacher": params["teacher"], "centre": params["centre"]})
    scores, features = apply({"params": fixed["teacher"]}, batch, jnp.zeros_like)
    scores = jax.lax.stop_gradient(scores)
    if sinkhorn_rounds:
      p_BxK = sinkhorn(scores, teacher_temperature, sinkhorn_rounds)
    else:
      p_BxK = centred(scores, fixed["centre"], teacher_temperature)
    sums = jnp.zeros(len(scores))
    for view in range(views):
      own = jax.random.fold_in(key, view)
      seen, _ = apply({"params": params["student"]}, batch, lambda valid, own=own: hide(own, valid))
      sums = sums + cross_entropy(p_BxK, seen, student_temperature)
    entropy = -jax.scipy.special.xlogy(p_BxK, p_BxK).sum(-1) * views
    counts = jnp.full(len(scores), float(views))
    home = jax.nn.one_hot(batch["domain_B"], domains, dtype=jnp.float32)
    one = jnp.float32(1)
    return {
      "objective": (sums.sum(), counts.sum()),
      "loss": ((sums - entropy).sum(), counts.sum()),
      "by_domain": ((sums - entropy) @ home, counts @ home),
      "prototypes": (collapse.code_perplexity(p_BxK.sum(0)), one),
      "teacher_scores": (scores.sum(0), jnp.float32(len(scores))),
      **collapse.monitors(unit(features), jnp.ones(len(scores))),
    }

  return loss_fn
