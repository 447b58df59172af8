"""What a model can be exported to: how each artifact is written, and how it is opened again."""

import dataclasses
import pathlib
import tempfile
from collections.abc import Callable
from typing import Any

import jax
import jax.export

from export import onnx_capture, qdq, runtimes, tensorflow_capture
from export.decoding import DecodeStep
from export.exportable import Exportable
from export.lint import lint
from export.recipe import Recipe, Site
from export.runtimes import Answer
from export.smoothing import Move

PLATFORMS = ("cpu", "cuda", "tpu")  # that a StableHLO file runs on


@dataclasses.dataclass(frozen=True)
class Parts:
  """What targets are made of. graph: the captured ONNX model. unsigned, signed: recipes of static activations.

  window: the model's answer to a record, as the run gives it. step: set where a decode step is exported, which must add
  up to it. moves: how the weights of what is exported were smoothed.
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
  """recipe: what its twin in JAX obeys; None for float ones. write: into a directory. open: (directory, threads).

  threads: whether its runtime obeys them; else they are the runtime's own affair.
  """

  recipe: Callable[[Parts], Recipe | None]
  write: Callable[[Parts, pathlib.Path], None]
  open: Callable[[pathlib.Path, int], Answer]
  threads: bool = True


def _onnx(model, directory: pathlib.Path) -> None:
  import onnx

  onnx.save(model, directory / "model.onnx")


def _tensorrt(parts: Parts, directory: pathlib.Path) -> None:
  """Raises ValueError for a graph that TensorRT would refuse."""
  model = qdq.quantised(parts.graph, parts.signed)
  findings = lint(model)
  if findings:
    told = "; ".join(f"{found.node} {found.what}" for found in findings[:3])
    raise ValueError(f"TensorRT's rules are broken {len(findings)} times: {told}")
  _onnx(model, directory)


def _openvino(parts: Parts, directory: pathlib.Path) -> None:
  ov = runtimes.import_openvino()
  _onnx(qdq.quantised(parts.graph, parts.signed), directory)
  model = ov.Core().read_model(directory / "model.onnx")
  ov.save_model(model, directory / "model.xml", compress_to_fp16=False)
  (directory / "model.onnx").unlink()


def _int4(parts: Parts, directory: pathlib.Path) -> None:
  """Integers of 4 bits are ONNX's from opset 21 on; the operators of a captured graph mean the same in it."""
  from onnx import version_converter

  graph = parts.graph
  if graph.opset_import[0].version < onnx_capture.FOUR_BITS:
    graph = version_converter.convert_version(graph, onnx_capture.FOUR_BITS)
  _onnx(qdq.quantised(graph, _every(parts, 4, "float")), directory)


def _every(parts: Parts, bits: int, activation: str) -> Recipe:
  """All sites alike, with nothing calibrated."""
  return Recipe(dict.fromkeys(parts.signed.sites, Site(bits, activation)), {})


def _stablehlo(parts: Parts, directory: pathlib.Path) -> None:
  exported = parts.exported
  shapes = {name: jax.ShapeDtypeStruct(x.shape, x.dtype) for name, x in exported.example.items()}
  made = jax.export.export(jax.jit(lambda arrays: exported(arrays)), platforms=PLATFORMS)(shapes)
  (directory / "model.stablehlo").write_bytes(made.serialize())


def _litert(parts: Parts, directory: pathlib.Path) -> None:
  with tempfile.TemporaryDirectory() as saved:
    tensorflow_capture.save(parts.exported, pathlib.Path(saved))
    model = tensorflow_capture.litert(pathlib.Path(saved))
  (directory / "model.tflite").write_bytes(tensorflow_capture.quantised(model))


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
    _tensorrt,
    lambda directory, threads: runtimes.openvino(directory / "model.onnx", threads),
  ),
  "openvino_int8": Target(
    lambda parts: parts.signed,
    _openvino,
    lambda directory, threads: runtimes.openvino(directory / "model.xml", threads),
  ),
  "onnx_int8_dynamic": Target(
    lambda parts: _every(parts, 8, "dynamic"),
    lambda parts, directory: _onnx(qdq.quantised(parts.graph, _every(parts, 8, "dynamic")), directory),
    lambda directory, threads: runtimes.onnxruntime(directory / "model.onnx", threads),
  ),
  "onnx_int4": Target(
    lambda parts: _every(parts, 4, "float"),
    _int4,
    lambda directory, threads: runtimes.onnxruntime(directory / "model.onnx", threads),
  ),
  "litert_int8": Target(
    lambda parts: _every(parts, 8, "rows"),
    _litert,
    lambda directory, threads: runtimes.litert(directory / "model.tflite", threads),
  ),
  "saved_model": Target(
    lambda parts: None,
    lambda parts, directory: tensorflow_capture.save(parts.exported, directory),
    lambda directory, threads: runtimes.saved_model(directory),
    threads=False,
  ),
  "stablehlo": Target(
    lambda parts: None,
    _stablehlo,
    lambda directory, threads: runtimes.stablehlo(directory / "model.stablehlo"),
    threads=False,
  ),
}
