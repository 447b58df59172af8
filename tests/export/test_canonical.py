"""How a capture is spelled: no rotation by nothing, and normalisations that a runtime makes one operator of."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from export.canonical import RULES
from export.interpreter import called, evaluate, trace
from models import layers
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


def test_another_function_of_a_known_name_is_another_function():
  """Rules are of our layers and of jax.nn: a model's own softplus is what it says, and jax.nn's gelu not by tanh."""

  @jax.jit
  def softplus(x):
    return 2 * x

  x = jnp.linspace(-3, 3, 7)
  for function, other in (
    (softplus, lambda x: 2 * x),
    (lambda x: jax.nn.gelu(x, approximate=False), lambda x: x * jax.scipy.stats.norm.cdf(x)),
  ):
    traced = trace(lambda weights, x, function=function: function(x * weights), jnp.float32(1), (x,))
    np.testing.assert_allclose(evaluate(traced, (x,), RULES)[0], other(x), atol=1e-6)


def test_every_rule_is_met_by_what_it_is_for():
  """A name that nothing has would be a rule that nobody keeps."""
  heads = jnp.ones((1, 3, 2, 4))
  calls = {
    "models/layers.gelu": lambda x: layers.gelu(x),
    "models/layers.rms_norm": lambda x: layers.rms_norm(x, jnp.ones(4)),
    "models/layers.rotary": lambda x: layers.rotary(x, jnp.arange(3)),
    "models/layers.dot_product_attention": lambda x: layers.dot_product_attention(
      x, x, x, jnp.ones((1, 1, 1, 3), bool)
    ),
    "nn/functions.softplus": lambda x: jax.nn.softplus(x),
  }
  assert set(calls) == {name for name in RULES if "/" in name}
  for name, function in calls.items():
    equations = jax.make_jaxpr(function)(heads).eqns
    assert name in [called(one.params) for one in equations if one.primitive.name == "jit"]
