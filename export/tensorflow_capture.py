"""A function as TensorFlow's SavedModel and as a LiteRT file, through jax2tf: one signature, static shapes.

Shapes are static because LiteRT's converter refuses a batch that is not. Products with weights become FULLY_CONNECTED
nodes, of which LiteRT makes integer products: weights of 8 bits by column, activations by the range of each row as it
comes (`quantisers.row_round_trip`).
"""

import pathlib

from export.canonical import RULES
from export.exportable import Exportable
from export.interpreter import evaluate, trace
from export.quiet import quietly

SIGNATURE = "serving_default"


def save(exported: Exportable, directory: pathlib.Path) -> None:
  """A SavedModel whose signature takes and gives arrays by name."""
  traced = trace(exported.function, exported.weights, tuple(exported.example.values()))
  names = tuple(exported.outputs())

  def flat(*arrays):
    return dict(zip(names, evaluate(traced, arrays, RULES), strict=True))

  with quietly():
    import tensorflow as tf
    from jax.experimental import jax2tf

    specs = [tf.TensorSpec(value.shape, value.dtype, name) for name, value in exported.example.items()]
    module = tf.Module()
    module.answer = tf.function(
      jax2tf.convert(flat, with_gradient=False), autograph=False, input_signature=specs
    )
    tf.saved_model.save(module, str(directory), signatures={SIGNATURE: module.answer.get_concrete_function()})


def litert(saved_model: pathlib.Path) -> bytes:
  """A SavedModel as a LiteRT file in float32."""
  with quietly():
    import tensorflow as tf

    return tf.lite.TFLiteConverter.from_saved_model(str(saved_model)).convert()


def quantised(model: bytes) -> bytes:
  """A LiteRT file with every product's weights of 8 bits and activations quantised row by row.

  Of fully connected nodes alone: a constant in another product would become integers that LiteRT does not open.
  """
  with quietly():
    from ai_edge_quantizer import quantizer, recipe

    one = quantizer.Quantizer(model)
    one.load_quantization_recipe(
      [own | {"operation": "FULLY_CONNECTED"} for own in recipe.dynamic_wi8_afp32()]
    )
    return bytes(one.quantize().quantized_model)
