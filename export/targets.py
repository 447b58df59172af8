"""What a model can be exported to: how each artifact is written, and how it is opened again."""

import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any

from export import qdq, runtimes
from export.decoding import DecodeStep
from export.exportable import Exportable
from export.recipe import Recipe
from export.runtimes import Answer
from export.smoothing import Move


@dataclasses.dataclass(frozen=True)
class Parts:
  """What targets are made of. graph: the captured ONNX model. unsigned, signed: recipes of static activations.

  window: the model's answer to a record. step: set where a decode step is exported, which must add up to it.
  moves: how their weights were smoothed.
  """

  exported: Exportable
  graph: Any
  unsigned: Recipe
  signed: Recipe
  window: Exportable
  step: DecodeStep | None = None
  moves: tuple[Move, ...] = ()

  def to_records(self, answer: Callable) -> Answer:
    """Of records, from an answer of what is exported."""
    return self.step.window(answer) if self.step else answer


@dataclasses.dataclass(frozen=True)
class Target:
  """recipe: what its twin in JAX obeys; None for float ones. write: into a directory. open: (directory, threads)."""

  recipe: Callable[[Parts], Recipe | None]
  write: Callable[[Parts, pathlib.Path], None]
  open: Callable[[pathlib.Path, int], Answer]


def _onnx(model, directory: pathlib.Path) -> None:
  import onnx

  onnx.save(model, directory / "model.onnx")


def _openvino(parts: Parts, directory: pathlib.Path) -> None:
  ov = runtimes.import_openvino()
  _onnx(qdq.quantised(parts.graph, parts.signed), directory)
  model = ov.Core().read_model(directory / "model.onnx")
  ov.save_model(model, directory / "model.xml", compress_to_fp16=False)
  (directory / "model.onnx").unlink()


TARGETS: dict[str, Target] = {
  "onnx_fp32": Target(
    lambda parts: None,
    lambda parts, directory: _onnx(parts.graph, directory),
    lambda directory, threads: runtimes.onnxruntime(directory / "model.onnx", threads),
  ),
  "onnx_int8": Target(
    lambda parts: parts.unsigned,
    lambda parts, directory: _onnx(qdq.quantised(parts.graph, parts.unsigned), directory),
    lambda directory, threads: runtimes.onnxruntime(directory / "model.onnx", threads),
  ),
  "tensorrt_int8": Target(
    lambda parts: parts.signed,
    lambda parts, directory: _onnx(qdq.quantised(parts.graph, parts.signed), directory),
    lambda directory, threads: runtimes.openvino(directory / "model.onnx", threads),
  ),
  "openvino_int8": Target(
    lambda parts: parts.signed,
    _openvino,
    lambda directory, threads: runtimes.openvino(directory / "model.xml", threads),
  ),
}
