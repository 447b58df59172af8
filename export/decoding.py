"""One step of a model that remembers: what a vehicle runs ten times a second, with keys and values handed on.

The step is a function without state: the cache is an input, "past_...", and an output, "present_...", of the same
shape. From zeros, step after step, the logits of the whole window come out.
"""

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from data.errors import BadInput
from export import judge
from export.exportable import Exportable, called, forward
from export.runtimes import Answer

PAST, PRESENT = "past_", "present_"


@dataclasses.dataclass(frozen=True)
class DecodeStep:
  """exported: (batch, past, at) -> logits [B, 1, ...] of step at [1] int32, present. steps: of a window."""

  exported: Exportable
  steps: int

  def inputs(self, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What the last step of a window is asked, with nothing in its cache: as much work as any."""
    past = {name: value for name, value in self.exported.example.items() if name.startswith(PAST)}
    return {**arrays, **past, "at": np.asarray([self.steps - 1], np.int32)}

  def window(self, answer: Callable) -> Answer:
    """Whole windows, answered step after step."""

    def whole(arrays: Any) -> dict[str, np.ndarray]:
      given, made = self.inputs(arrays), []
      for at in range(self.steps):
        said = answer({**given, "at": np.asarray([at], np.int32)})
        given |= {
          PAST + name.removeprefix(PRESENT): np.asarray(value)
          for name, value in said.items()
          if name.startswith(PRESENT)
        }
        made.append(np.asarray(said["logits"]))
      return {"logits": np.concatenate(made, axis=1)}

    return whole


def decode_step(model: nn.Module, weights: Any, batch: dict[str, np.ndarray]) -> DecodeStep:
  """Raises BadInput for a model that cannot be asked for one step of a window."""
  variables = {"params": weights}
  kept = {}
  if "at" in inspect.signature(type(model).__call__).parameters:
    kept = jax.eval_shape(lambda: model.apply(variables, batch, mutable=["cache"]))[1]
  if "cache" not in kept:
    what = f"{type(model).__name__} has no step with a cache"
    raise BadInput(what, "--what=decode_step", "choose forward, or a run of the motion model")
  named, form = jax.tree.flatten_with_path(kept["cache"])
  names = ["_".join(str(key.key) for key in path) for path, _ in named]
  zeros = {
    PAST + name: np.zeros(leaf.shape, leaf.dtype) for name, (_, leaf) in zip(names, named, strict=True)
  }

  def step(variables: dict, arrays: dict) -> dict[str, jax.Array]:
    cache = jax.tree.unflatten(form, [arrays[PAST + name] for name in names])
    logits, after = model.apply(variables | {"cache": cache}, arrays, arrays["at"][0], mutable=["cache"])
    present = {PRESENT + name: leaf for name, leaf in zip(names, jax.tree.leaves(after), strict=True)}
    return {"logits": logits} | present

  steps = next(iter(zeros.values())).shape[1]
  return DecodeStep(forward(step, weights, batch | zeros | {"at": np.zeros(1, np.int32)}), steps)


def exportables(task: Any, params: Any, deployed: tuple, what: str) -> tuple[Exportable, DecodeStep | None]:
  """(the model's answer to a record, one step of it where `what` is "decode_step").

  Args: deployed: model, weights and one batch, as a vehicle runs them (experiments/run.py).
  """
  model, weights, example = deployed
  given = judge.heard(task.model, task.held_out, params, example)
  step = decode_step(model, weights, example) if what == "decode_step" else None
  return forward(called(model), weights, given), step
