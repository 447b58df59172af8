"""What to train for a compute budget, or for a loss and the tokens a model will read in its life.

Approach 3 answers, with intervals from its joint draws; the lines of Approach 2 stand beside it where they can. N* is
rounded to a width that exists: of the two around it, the one that costs less. D is rounded down to whole batches, so
that a budget is kept.
"""

import dataclasses
from typing import Any

import numpy as np

from data.errors import BadInput
from scaling.advice import allocation
from scaling.advice.allocation import Allocation
from scaling.advice.data_at_hand import Data
from scaling.advice.family import Family
from scaling.advice.fitted import Fitted
from scaling.laws import muennighoff, sardana
from scaling.table_checks import TOKENS_PER_PARAMETER

# Times over the table's largest or under its smallest run: a prescription then starts with a warning.
FAR = 100.0
LEAST, MOST = TOKENS_PER_PARAMETER
SAME_COUNT = 1.05  # C / (6 N D) of the table and of the config may differ by this factor


@dataclasses.dataclass(frozen=True)
class Wish:
  """Attributes: `flops` to train with, or the `loss` to reach, in nats per token; with `inference_tokens` above 0 the
  loss (that which `flops` buys, if none is given) is reached at the least cost of training and inference together."""

  flops: float | None
  loss: float | None
  inference_tokens: float


@dataclasses.dataclass(frozen=True)
class Choice:
  """A run that exists: `width` of the family, its N, D, `steps` (None without a dataset) and training FLOPs, the
  `loss` of the law there and the `penalty` of not being the optimum: nats per token, or, when a loss is asked for,
  a share of the least cost. `point` holds the overrides of the config."""

  width: int
  params: float
  tokens: int
  steps: int | None
  flops: float
  loss: float
  penalty: float
  point: dict[str, Any]


def optimum(fitted: Fitted, family: Family, wish: Wish) -> tuple[Allocation, Allocation]:
  """The optimum of the law and of each draw; raises BadInput for a loss that it does not reach."""
  found = []
  for law in (fitted.law, fitted.draws):
    loss = wish.loss
    if wish.flops is not None:
      by_budget = allocation.for_budget(law, family, wish.flops)
      if not wish.inference_tokens:
        found.append(by_budget)
        continue
      loss = by_budget.loss
    found.append(allocation.for_loss(law, family, loss, wish.inference_tokens))
  if not np.isfinite(found[0].params):
    low, high = fitted.resampling.interval(fitted.draws.E, float(fitted.law.E)) or (np.nan, np.nan)
    what = (
      f"no model reaches {wish.loss:g}: the irreducible loss is {fitted.law.E:.4g} [{low:.4g}, {high:.4g}]"
    )
    raise BadInput(what, "--target_loss", "ask for more nats per token")
  return found[0], found[1]


def by_lines(fitted: Fitted, flops: float) -> dict[str, tuple[float, np.ndarray]] | None:
  """N*, D*, L* of Approach 2 at C and under each draw; None without its lines."""
  lines = fitted.lines
  if any(line is None for line in lines.values()):
    return None
  return {name: (float(line(flops)), line.spread(flops)) for name, line in lines.items() if line is not None}


def choices(
  fitted: Fitted, family: Family, wish: Wish, best: Allocation, data: Data, seed: int
) -> list[Choice]:
  """Runs of the widths around N*, the one to take first.

  Raises BadInput when none reaches the loss, or none of them is a run: of one batch, and of tokens per parameter that
  a run table may have.
  """
  made, why = [], ""
  for i in family.around(best.params):
    params, per_token = float(family.params[i]), float(family.flops_per_token[i])
    if wish.inference_tokens or wish.flops is None:
      tokens = float(sardana.tokens_for(fitted.law, best.loss, params))
    else:
      tokens = wish.flops / per_token
    if not np.isfinite(tokens):
      continue
    if not LEAST <= tokens / params <= MOST:
      why = why or f"{tokens / params:.3g} tokens per parameter (a run has {LEAST:g} to {MOST:g})"
      continue
    point, steps, count = _whole_batches(family, int(family.widths[i]), tokens, per_token, data, seed)
    if not count:
      why = why or "less than one batch of data"
      continue
    loss = float(fitted.law.loss(params, float(count)))
    if wish.inference_tokens or wish.flops is None:
      least, cost = (
        a.flops + allocation.inference_flops(family, a.params, wish.inference_tokens)
        for a in (best, Allocation(params, tokens, per_token * tokens, loss))
      )
      penalty = cost / least - 1
    else:
      penalty = loss - best.loss
    made.append(
      Choice(int(family.widths[i]), params, count, steps, per_token * count, loss, float(penalty), point)
    )
  if not made and why:
    small, large = best.params < 1.01 * family.params[0], best.params > 0.99 * family.params[-1]
    end = ", the smallest of the family," if small else ", the largest of the family," if large else ""
    what = f"would train N = {best.params:.4g}{end} on {best.tokens:.3g} tokens: {why}"
    raise BadInput(what, *_other_wish(wish, best.tokens < best.params))
  if not made:
    raise BadInput("no width of the family reaches the loss", "--target_loss", "ask for more nats per token")
  return sorted(made, key=lambda choice: choice.penalty)


def _whole_batches(
  family: Family, width: int, tokens: float, per_token: float, data: Data, seed: int
) -> tuple[dict[str, Any], int | None, int]:
  """The overrides, steps and D of a run of nearly `tokens`; D is 0 when they are no batch."""
  point = family.point(width, tokens * per_token, seed)
  if data.tokens_per_window is None:
    return point, None, point["tokens"]
  # Policies follow D, so that the batch is settled before D is rounded to it.
  batch = point["data.batch_windows"] * data.tokens_per_window
  steps = int(tokens // batch)
  count = int(steps * batch)
  if not count:
    return point, 0, 0
  point = family.point(width, count * per_token, seed)
  return point | {"tokens": count}, steps, count


def _other_wish(wish: Wish, little: bool) -> tuple[str, str]:
  """Flag and remedy of a wish for too little training, or too much."""
  if wish.flops is None:
    return "--target_loss", "ask for a lower loss" if little else "ask for more nats per token"
  return "the budget", f"give {'more' if little else 'fewer'} FLOPs"


def one_run(fitted: Fitted, choice: Choice, seed: int) -> tuple[float, list[float] | None]:
  """Standard deviation of ln L of one run about the law's mean, and the 95% interval of its loss: the law's draws,
  the noise between runs, and what the law erred by when it was asked for the table's own budgets."""
  sd = float(np.sqrt(np.nansum(np.square([fitted.noise, fitted.roll_out]))))
  noise = np.random.default_rng(seed).standard_normal(len(fitted.draws.E))
  drawn = fitted.draws.loss(choice.params, float(choice.tokens)) * np.exp(sd * noise)
  return sd, fitted.resampling.interval(drawn, choice.loss)


def reach(fitted: Fitted, choice: Choice) -> tuple[dict[str, float], dict[str, float]]:
  """How many times over the table's largest run, and how many times under its smallest, in C, N and D."""
  asked = {"flops": choice.flops, "params": choice.params, "tokens": choice.tokens}
  over = {name: asked[name] / fitted.ranges[name][1] for name in asked}
  return over, {name: fitted.ranges[name][0] / asked[name] for name in asked}


def repeats(fitted: Fitted, choice: Choice, data: Data) -> dict[str, Any]:
  """Passes over the data, and what they cost by the law of repeated data, when its constants are given."""
  if data.unique is None:
    return {"unique_tokens": None, "passes": None, "loss": None, "penalty": None}
  found: dict[str, Any] = {"unique_tokens": data.unique, "passes": choice.tokens / data.unique}
  if data.repetition is None:
    return found | {"loss": None, "penalty": None}
  law = muennighoff.Law(fitted.law, *data.repetition)
  loss = float(law.loss(choice.params, float(choice.tokens), data.unique))
  return found | {"loss": loss, "penalty": loss - choice.loss}


def other_count(fitted: Fitted, family: Family) -> str:
  """Why the table and the config may be of different models: their FLOPs per N D differ; empty when they agree."""
  own = family.flops_per_nd(np.array(fitted.ranges["params"])) / 6
  low, high = fitted.flops_over_6nd
  if own.min() / SAME_COUNT <= low <= high <= own.max() * SAME_COUNT:
    return ""
  return (
    f"C / (6 N D) is {low:.3g} to {high:.3g} in the table, but {own.min():.3g} to {own.max():.3g} at its sizes in "
    "this config: are they one model?"
  )
