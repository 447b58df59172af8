"""The golden set: held-back scenes of the whole world that an aggregate must not get worse on, or it is undone.

With l_s the summed loss of scene s, n_s its count, before and after a round, and d_s = l'_s - l_s, the mean difference
r = sum d / sum n of S scenes has the paired standard error

  e = sqrt(S / (S - 1) sum_s (d_s - r n_s)^2) / sum_s n_s.

An aggregate is refused when r lies above the tolerance by more than noise explains: when
p = P(T_{S-1} > (r - tolerance) / e) falls below level / P in one of P slices (Bonferroni). One that is worse by no more
than the tolerance is therefore refused with a probability of at most `level`. "Before" is the best that was accepted,
not the last: many small steps for the worse add up, and are seen. Only a slice that is held can be guarded: a backdoor
hides from a set that never bears its trigger.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from data.errors import BadInput
from federated.rounds import Cohort, Tree

LEAST_SCENES = 8  # of a slice

Scores = tuple[jax.Array, jax.Array]  # sums_S, counts_S


class Held(NamedTuple):
  """The server, and the scores of the best one that was accepted."""

  server: dict
  best: Scores


def student_tail(t: jax.Array, freedom: jax.Array) -> jax.Array:
  """P(T > t) of Student's distribution, to 3 % from 7 degrees of freedom and down to 0.002.

  T is made normal: D. Wallace, Annals of Mathematical Statistics 30(4), 1959. It compiles in no time, unlike the
  incomplete beta function.
  """
  z = (8 * freedom + 1) / (8 * freedom + 3) * jnp.sqrt(freedom * jnp.log1p(t**2 / freedom))
  return jax.scipy.stats.norm.sf(jnp.sign(t) * z)


def worse(before: Scores, after: Scores, slice_PxS: jax.Array | np.ndarray, tolerance: float) -> jax.Array:
  """[P]: how probable a difference this large is, in each slice, if the aggregate is worse by the tolerance alone.

  0 where the loss is not finite.
  """
  own_PxS = jnp.asarray(slice_PxS, jnp.float32)
  apart_S, count_S = after[0] - before[0], before[1]
  finite_P = jnp.isfinite(jnp.where(slice_PxS, after[0][None], 0)).all(1)
  apart_S = jnp.where(jnp.isfinite(apart_S), apart_S, 0)
  scenes_P = jnp.maximum(own_PxS.sum(1), 2)
  count_P = jnp.maximum(own_PxS @ count_S, 1e-30)
  mean_P = own_PxS @ apart_S / count_P
  left_PxS = own_PxS * (apart_S[None] - mean_P[:, None] * count_S[None])
  error_P = jnp.sqrt(scenes_P / (scenes_P - 1) * (left_PxS**2).sum(1)) / count_P
  t_P = (mean_P - tolerance) / jnp.maximum(error_P, 1e-30)
  return jnp.where(finite_P, student_tail(t_P, scenes_P - 1), 0.0)


def start(server: dict, measure: Callable[[Tree], Scores]) -> Held:
  return Held(server, measure(server["params"]))


def guarded(
  run: Callable,
  measure: Callable[[Tree], Scores],
  slice_PxS: jax.Array | np.ndarray,
  level: float,
  tolerance: float,
) -> Callable:
  """A round whose aggregate is refused and undone when the golden set says so: (held, cohort, key) as in make_round.

  Args:
    run: of `make_round`.
    measure: params -> (sums_S, counts_S) over the golden scenes.
    slice_PxS: bool; which scenes each slice holds; a row of ones is the whole set.
    level: of false refusals, over all slices together.
    tolerance: nats (the unit of the loss) by which an aggregate may be worse.

  report gains "refused", "p" [P] and "golden_loss". What clients remember is undone, too.
  Raises BadInput for a slice of too few scenes and for a level that is none.
  """
  if not 0 < level < 1:
    raise BadInput(f"a level of {level:g}", "the golden set", "choose one between 0 and 1")
  scenes_P = np.asarray(slice_PxS).sum(1)
  if (few := np.flatnonzero(scenes_P < LEAST_SCENES)).size:
    what = f"slice {few[0]} holds {scenes_P[few[0]]} scenes"
    raise BadInput(what, "the golden set", f"give every slice {LEAST_SCENES} at least")

  def step(held: Held, cohort: Cohort, key: jax.Array):
    server, memory, link, report = run(held.server, cohort, key)
    scores = measure(server["params"])
    p_P = worse(held.best, scores, slice_PxS, tolerance)
    refused = (p_P < level / len(slice_PxS)).any()
    better = ~refused & (scores[0].sum() < held.best[0].sum())

    def undo(new, old):
      return jax.tree.map(lambda a, b: jnp.where(refused, b, a), new, old)

    kept = undo((server, memory, link), (held.server, cohort.memory, cohort.link))
    best = jax.tree.map(lambda new, old: jnp.where(better, new, old), scores, held.best)
    loss = scores[0].sum() / scores[1].sum()
    report = report | {"refused": refused, "p": p_P, "golden_loss": loss}
    return Held(kept[0], best), kept[1], kept[2], report

  return step
