"""Artifacts as functions: arrays by name in, arrays by name out, in the runtimes that vehicles use."""

import pathlib
import sys
from collections.abc import Callable, Mapping

import jax
import numpy as np

from export import processor
from export.quiet import quietly

Answer = Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]]


def session_settings() -> dict[str, str]:
  """What ONNX Runtime must be told for its answers to be those of the file."""
  settings = {
    # Activations beside weights of 4 bits stay float32, as the file says; the default makes them 8 bits.
    "session.qdq_matmulnbits_accuracy_level": "1",
    "session.force_spinning_stop": "1",  # other artifacts want the cores in between
  }
  if not processor.sums_exactly():
    # Weights become unsigned, whose kernels are slower and saturate nowhere: microsoft/onnxruntime, PR 12088.
    settings["session.x64quantprecision"] = "1"
  return settings


def onnxruntime(path: pathlib.Path, threads: int) -> Answer:
  import onnxruntime as ort

  options = ort.SessionOptions()
  options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
  options.log_severity_level = 3
  for key, value in session_settings().items():
    options.add_session_config_entry(key, value)
  session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
  inputs, outputs = [one.name for one in session.get_inputs()], [one.name for one in session.get_outputs()]

  def answer(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return dict(
      zip(outputs, session.run(outputs, {name: np.asarray(arrays[name]) for name in inputs}), strict=True)
    )

  return answer


def import_openvino():
  """openvino, which else reports its import to its makers: nothing that is done here is told to anybody."""
  sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # an import of it fails, and is forgiven
  import openvino

  return openvino


def openvino(path: pathlib.Path, threads: int, precision: str = "f32") -> Answer:
  """precision: "f32" or "bf16", of what is not integers."""
  core = import_openvino().Core()
  model = core.read_model(str(path))
  inputs = [one.get_any_name() for one in model.inputs]
  outputs = [one.get_any_name() for one in model.outputs]
  settings = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": precision, "NUM_STREAMS": 1}
  compiled = core.compile_model(model, "CPU", settings)
  request = compiled.create_infer_request()

  def answer(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    request.infer([np.ascontiguousarray(arrays[name]) for name in inputs])
    return {name: request.get_output_tensor(i).data.copy() for i, name in enumerate(outputs)}

  return answer


def stablehlo(path: pathlib.Path) -> Answer:
  """In JAX, on whatever devices this process has; its threads are JAX's own."""
  from jax import export

  there = export.deserialize(bytearray(path.read_bytes()))
  (arguments,), _ = jax.tree.unflatten(there.in_tree, there.in_avals)
  call = jax.jit(there.call)

  def answer(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    said = call({name: arrays[name] for name in arguments})
    return {name: np.asarray(value) for name, value in said.items()}

  return answer


def saved_model(path: pathlib.Path) -> Answer:
  """In TensorFlow; its threads are TensorFlow's own: it takes no other number once it has run anything."""
  with quietly():
    import tensorflow as tf

    loaded = tf.saved_model.load(str(path))
  (call,) = loaded.signatures.values()
  inputs = list(call.structured_input_signature[1])

  def answer(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    assert loaded is not None  # its functions live as long as it does
    said = call(**{name: tf.constant(arrays[name]) for name in inputs})
    return {name: value.numpy() for name, value in said.items()}

  return answer


def litert(path: pathlib.Path, threads: int) -> Answer:
  with quietly():
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path), num_threads=threads)
    call = interpreter.get_signature_runner()
    inputs = call.get_input_details()
    call(
      **{name: np.zeros(own["shape"], own["dtype"]) for name, own in inputs.items()}
    )  # the first has remarks

  def answer(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return call(**{name: np.asarray(arrays[name]) for name in inputs})

  return answer
