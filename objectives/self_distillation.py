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

from objectives import collapse, draws
from objectives.contrastive import unit
from objectives.metrics import Metrics, by_domain, weighted


def centred(scores_BxK: jax.Array, centre_K: jax.Array, temperature: float) -> jax.Array:
  """softmax((scores - centre) / temperature)."""
  return jax.nn.softmax((scores_BxK - centre_K[None]) / temperature, axis=-1)


def sinkhorn(scores_BxK: jax.Array, real_B: jax.Array, temperature: float, rounds: int) -> jax.Array:
  """Probabilities [B, K] near softmax(scores / temperature), whose columns have equal sums over the real rows.

  Each round scales columns, then rows: rows always sum to 1, the columns' sums come nearer to each other.
  """
  log_p, real = scores_BxK / temperature, real_B.astype(jnp.float32)[:, None]
  for _ in range(rounds):
    log_p = log_p - jax.nn.logsumexp(log_p, axis=0, keepdims=True, b=real)
    log_p = log_p - jax.nn.logsumexp(log_p, axis=1, keepdims=True)
  return jnp.exp(log_p)


def cross_entropy(p_BxK: jax.Array, scores_BxK: jax.Array, temperature: float) -> jax.Array:
  """- sum_k p_k log softmax(scores / temperature)_k, per row; least, the entropy of p, where both agree."""
  return -(p_BxK * jax.nn.log_softmax(scores_BxK / temperature, axis=-1)).sum(-1)


def follow_centre(centre_K: jax.Array, scores: tuple[jax.Array, jax.Array], momentum: float) -> jax.Array:
  """The centre one step on, from the metric "teacher_scores" of that step."""
  return momentum * centre_K + (1 - momentum) * scores[0] / jnp.maximum(scores[1], 1.0)


def make_loss(
  study: Callable,
  teach: Callable,
  hide: Callable[[jax.Array, jax.Array], jax.Array],
  views: int,
  student_temperature: float,
  teacher_temperature: float,
  sinkhorn_rounds: int,
  domains: int,
) -> Callable[[dict, dict, jax.Array], Metrics]:
  """Returns loss_fn(params, batch, key) -> {name: (sum, count)}.

  Args:
    study: study({"params": params["student"]}, batch, hide) -> (scores_BxK, features_BxD); it asks
      hide(valid_BxTxS) which of its tokens the view lacks.
    teach: teach({"params": params["teacher"]}, batch) -> the same of all tokens.
    hide: (key, valid_BxTxS) -> bool [B, T, S]: masked tokens, lost sensors; called for every
      record by itself.
    views: number of views the student sees. sinkhorn_rounds: 0 for centring.
    domains: number of domains; "by_domain" is a vector of that length.

  params: {"student", "teacher", "centre"}. batch: "domain_B" int and "real_B" bool besides the models'. "objective"
  is the cross entropy in nats per view; "loss" the same less the entropy of the teacher, how far the student is from
  it. "prototypes" is the perplexity of the prototypes that the teacher uses over the batch, "teacher_scores" what
  `follow_centre` reads. The monitors look at the teacher's features.
  """

  def loss_fn(params, batch, key):
    real, one = batch["real_B"].astype(jnp.float32), jnp.float32(1)
    fixed = jax.lax.stop_gradient({"teacher": params["teacher"], "centre": params["centre"]})
    scores, features = jax.lax.stop_gradient(teach({"params": fixed["teacher"]}, batch))
    if sinkhorn_rounds:
      p_BxK = sinkhorn(scores, real, teacher_temperature, sinkhorn_rounds)
    else:
      p_BxK = centred(scores, fixed["centre"], teacher_temperature)
    nats = []
    for view in range(views):
      own = jax.random.fold_in(key, view)
      seen, _ = study(
        {"params": params["student"]}, batch, lambda valid, own=own: draws.by_record(hide, own, batch, valid)
      )
      nats.append(cross_entropy(p_BxK, seen, student_temperature))
    nats_BxN = jnp.stack(nats, axis=1)
    weight_BxN = jnp.broadcast_to(real[:, None], nats_BxN.shape)
    entropy = -jax.scipy.special.xlogy(p_BxK, p_BxK).sum(-1)
    apart_BxN = nats_BxN - entropy[:, None]
    return {
      "objective": weighted(nats_BxN, weight_BxN),
      "loss": weighted(apart_BxN, weight_BxN),
      "by_domain": by_domain(apart_BxN, weight_BxN, batch["domain_B"], domains),
      "prototypes": (collapse.code_perplexity((p_BxK * real[:, None]).sum(0)), one),
      "teacher_scores": ((scores * real[:, None]).sum(0), real.sum()),
      **collapse.monitors(unit(features), real),
    }

  return loss_fn
