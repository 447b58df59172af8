"""What of a model learns, and beside what: the `adaptation` section of a configuration, for every family.

  none          all weights
  lora          low-rank deltas beside weights whose paths match; the weights stay      models/lora.py
  adapter       bottleneck adapters of `rank` hidden units after each branch            models/adapters.py
  prefix        `rank` learned keys and values before each attention                    models/layers.py
  bias, norm, head       the leaves of that name                                        models/trainable.py
  recalibrate   norms and heads: features are weighed and read anew, not made anew

`also` names leaves that learn whole beside any of these. A head that the base lacks begins at random, and would stay
there: whoever adapts to another task sets also=head.

A trained run deploys whole weights (`Task.weights`): deltas are merged.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax

from data.errors import BadInput
from experiments.config import Adaptation, Train
from experiments.task import Path, Task
from models import adapters, lora, trainable

_WHERE = "config.adaptation"
_RULES = {
  "adapter": adapters.ADAPTERS,
  "prefix": adapters.PREFIX,
  "bias": trainable.BIAS,
  "norm": trainable.NORM,
  "head": trainable.HEAD,
  "recalibrate": f"{trainable.NORM}|{trainable.HEAD}",
}
_SIZED = ("lora", "adapter", "prefix")


def room(adaptation: Adaptation, method: str) -> int:
  """What `adapter` or `prefix` of a MotionConfig or TrunkConfig must be."""
  return adaptation.rank if adaptation.method == method else 0


def adapted(task: Task, config: Train) -> Task:
  """The task with only what the configuration names trainable; raises BadInput for what it cannot mean."""
  chosen = config.adaptation
  sized, matched = chosen.method in _SIZED, chosen.method == "lora"
  if sized != (chosen.rank > 0):
    what = f"method {chosen.method} with rank {chosen.rank}"
    raise BadInput(what, _WHERE, f"{', '.join(_SIZED)} need a rank, the others have 0")
  if matched != (chosen.alpha > 0) or matched != bool(chosen.match):
    what = f"method {chosen.method} with alpha {chosen.alpha} and match {chosen.match!r}"
    raise BadInput(what, _WHERE, "lora needs both, the others have 0 and ''")
  if chosen.method == "none":
    if chosen.also:
      raise BadInput(
        f"method none with also {chosen.also!r}", _WHERE, "all weights learn already: set it to ''"
      )
    return task
  if matched:
    return _low_rank(task, chosen)
  named = trainable.rule("|".join(_RULES[name] for name in (chosen.method, chosen.also) if name))

  def learns(path: Path) -> bool:
    return task.trainable(path) and named(path)

  def init(key, batch):
    made = task.init(key, batch)
    trainable.select(made["params"], learns)  # a family without such weights is refused here
    return made

  return dataclasses.replace(task, init=init, trainable=learns)


def _low_rank(task: Task, chosen: Adaptation) -> Task:
  """Parameters {"base": the task's, "deltas"}; what the loss sees is merged inside it.

  What `also` names learns in the base, and has no deltas.
  """
  if task.after is not None:
    what = "low-rank deltas beside an objective that moves weights without gradients"
    raise BadInput(what, _WHERE, "choose another method, or adapt with another objective")
  match = trainable.rule(chosen.match)
  whole = trainable.rule(_RULES[chosen.also]) if chosen.also else lambda path: False

  def learns(path: Path) -> bool:
    home, own = path[0], path[1:]
    return home == "deltas" or (task.trainable(own) and whole(own))

  def init(key, batch):
    base = task.init(key, batch)["params"]
    deltas_key = jax.random.split(key)[1]
    deltas = lora.init(
      deltas_key,
      base,
      chosen.rank,
      lambda path: task.trainable(path) and match(path) and not whole(path),
    )
    return {"params": {"base": base, "deltas": deltas}}

  def on_merged(function: Callable) -> Callable:
    return lambda params, *rest: function(_merge(params, chosen), *rest)

  return dataclasses.replace(
    task,
    init=init,
    loss_fn=on_merged(task.loss_fn),
    held_out=on_merged(task.held_out),
    embed=on_merged(task.embed) if task.embed else None,
    trainable=learns,
    weights=on_merged(task.weights),
  )


def _merge(params: trainable.Params, chosen: Adaptation) -> trainable.Params:
  return lora.merge(params["base"], params["deltas"], chosen.alpha)


def cost(task: Task, state: Any) -> dict[str, float]:
  """models/trainable.py's cost of a state or of its shapes."""
  state = nn.unbox(state)
  return trainable.cost(state["params"], trainable.select(state["params"], task.trainable), state["opt"])
