"""What the optimiser reads off the names of the models of clips is what their shapes say."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

from experiments.optimizer import _decays, _is_input
from models.denoiser import ConditionalDenoiser
from models.denoiser_config import ConditionalConfig, DenoiserConfig
from models.masked_autoencoder import MaskedAutoencoder
from models.policy import PolicyConfig, PolicyModel
from models.predictor_config import MaskedAutoencoderConfig
from models.reading_config import ReadConfig
from models.sensors_config import GridConfig
from tests.models import test_heads
from tests.sensed import SENSORS, perception_config, sensor_batch


def _policy(encoder, read):
  heads = dataclasses.replace(test_heads.CONFIG, read=read)
  agents = {
    "boxes_BxTxKx7": (2, 2, 4, 7),
    "present_BxTxK": (2, 2, 4),
    "class_BxTxK": (2, 2, 4),
    "agent_BxTxK": (2, 2, 4),
  }
  batch = {name: jnp.zeros(shape, int) for name, shape in agents.items()}
  return PolicyModel(PolicyConfig(encoder, heads)), (sensor_batch(encoder) | batch,)


def _denoiser(encoder, read):
  model = ConditionalDenoiser(
    ConditionalConfig(encoder, DenoiserConfig(1, 9, 5, read, False, GridConfig(6, 2, 1.0, 2.0)), 1)
  )
  return model, (sensor_batch(encoder), jnp.ones((2, 1, 9, 5)), jnp.ones(2))


def _masked(encoder, read):
  narrow = dataclasses.replace(encoder.trunk, width=read.width)
  model = MaskedAutoencoder(MaskedAutoencoderConfig(encoder, narrow, 4))
  return model, (sensor_batch(encoder), jnp.zeros_like)


def _shapes(build, width: int) -> dict[tuple[str, ...], tuple[int, ...]]:
  encoder = perception_config("hybrid", SENSORS, 1, width=width, state=4, chunk=2)
  model, inputs = build(encoder, ReadConfig(width, width, 8, "float32"))
  params = jax.eval_shape(lambda: nn.unbox(model.init(jax.random.key(0), *inputs)["params"]))
  leaves = jax.tree_util.tree_leaves_with_path(params)
  return {tuple(part.key for part in path): leaf.shape for path, leaf in leaves}


@pytest.mark.parametrize("build", [_policy, _denoiser, _masked])
def test_a_matrix_is_an_input_where_its_fan_in_does_not_grow_with_the_width(build):
  """Vectors and numbers never decay; a matrix's first axis tells its fan-in. Tables are rows that are looked up."""
  narrow, wide = (_shapes(build, width) for width in (16, 32))
  assert narrow.keys() == wide.keys()
  wrong = []
  for path, shape in narrow.items():
    name, grows = path[-1], shape[:1] != wide[path][:1]
    hidden, matrix = _decays(name) and not _is_input(name), len(shape) > 1
    if hidden != (matrix and grows) or (_decays(name) and not matrix):
      wrong.append("/".join(path))
  assert not wrong
