"""How a capture is spelled: no rotation by nothing, and normalisations that a runtime makes one operator of."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from export.canonical import RULES
from export.interpreter import evaluate, trace
from models.layers import rotary
from tests.export.test_artifacts import captured


@pytest.mark.parametrize("steps", [1, 3])
def test_places_of_one_step_are_not_turned(steps):
  """Angles grow with time, and a model of one frame has none: the rule drops the rotation, and only then."""
  x, time = jnp.ones((1, 6, 2, 4)) * jnp.arange(4.0)[None, None, None], jnp.arange(6) % steps

  traced = trace(lambda weights, x: rotary(x + weights, time), jnp.float32(0), (x,))
  written = jax.make_jaxpr(lambda x: evaluate(traced, (x,), RULES))(x)
  assert ("cos" in str(written) or "concatenate" in str(written)) == (steps > 1)
  np.testing.assert_allclose(evaluate(traced, (x,), RULES)[0], rotary(x, time), atol=1e-6)


def test_onnx_runtime_knows_every_normalisation(tmp_path):
  import onnx
  import onnxruntime as ort

  model = captured("perception, cameras")
  roots = [node for node in model.graph.node if node.op_type == "Sqrt"]
  options = ort.SessionOptions()
  options.optimized_model_filepath = str(tmp_path / "fused.onnx")
  options.log_severity_level = 3
  ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
  kinds = [node.op_type for node in onnx.load(tmp_path / "fused.onnx").graph.node]
  assert kinds.count("SimplifiedLayerNormalization") == len(roots) > 0
  assert not {"Pow", "Sqrt", "ReduceMean"} & set(kinds)
