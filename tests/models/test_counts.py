"""Every model's configuration against the model: parameters one by one, FLOPs as the compiler multiplies them."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

from data import context
from models.bev_tokeniser import BevTokeniser
from models.bev_tokeniser_config import BevTokeniserConfig
from models.codes import CodesModel
from models.codes_config import CodesConfig
from models.denoiser import ConditionalDenoiser
from models.denoiser_config import ConditionalConfig, DenoiserConfig
from models.heads_config import EGO_HEADS, HEADS
from models.motion import MotionModel
from models.motion_config import MotionConfig
from models.perception import PerceptionModel
from models.policy import PolicyConfig, PolicyModel
from models.reading_config import ReadConfig
from models.sensors_config import GridConfig
from models.trunk import Trunk
from scaling.planning import hlo, program_cost
from tests.models import test_heads
from tests.models.test_trunk import MIXINGS
from tests.sensed import SENSORS, perception_config, sensor_batch
from tests.worlds import random_batch

MOTION = MotionConfig(
  width=16, layers=4, head_dim=8, factors=(15, 17), features=context.FEATURES, steps=8, agents=8, dtype="float32",
  scan=False, remat="none", adapter=0, prefix=0, heads=0, hidden=0,
)  # fmt: skip


def _motion(**changes):
  config = dataclasses.replace(MOTION, **changes)
  batch = random_batch(2, steps=config.steps, agents=config.agents)
  return config, MotionModel(config), (batch,), 2 * config.steps * config.agents


def _trunk(mixing, **changes):
  config = dataclasses.replace(MIXINGS[mixing], **changes)
  shape = (2, config.steps, config.space)
  inputs = (jnp.zeros((*shape, config.width)), jnp.ones(shape, bool))
  return config, Trunk(config), inputs, 2 * config.steps * config.space


def _perception(mixing, sensors, tube):
  config = perception_config(mixing, sensors, tube)
  return config, PerceptionModel(config), (sensor_batch(config),), 2 * config.trunk.steps * config.trunk.space


def _codes(mixing, places):
  past = dataclasses.replace(MIXINGS[mixing], causal=True, space=places + 1)
  frame = dataclasses.replace(past, steps=places, space=1)
  config = CodesConfig(codes=70, actions=3, past=past, frame=frame)
  batch = {
    "codes_BxTxS": jnp.zeros((2, past.steps, places), int),
    "actions_BxT": jnp.zeros((2, past.steps), int),
  }
  return config, CodesModel(config), (batch,), 2 * past.steps * places


def _tokeniser(levels, codes, code_dim):
  trunk = dataclasses.replace(MIXINGS["full"], causal=False, steps=1, space=9)
  config = BevTokeniserConfig(12, 4, 11, levels, codes, code_dim, trunk)
  batch = {"cells_BxTxHxW": jnp.zeros((2, 3, 12, 12), int)}
  return config, BevTokeniser(config), (batch,), 2 * 3 * 12 * 12


def _policy(names):
  perception = perception_config("factorised", ("ego", "raster"), 1)
  width = perception.trunk.width
  heads = dataclasses.replace(test_heads.CONFIG, names=names, read=ReadConfig(width, width, 8, "float32"))
  config = PolicyConfig(perception, heads)
  keys = jax.random.split(jax.random.key(0), 2)
  agents = {"present_BxTxK": jnp.ones((2, 2, 4), bool), "class_BxTxK": jnp.zeros((2, 2, 4), jnp.int32)}
  agents["boxes_BxTxKx7"] = jax.random.normal(keys[0], (2, 2, 4, 7))
  agents["agent_BxTxK"] = jnp.broadcast_to(jnp.arange(4), (2, 2, 4))
  return config, PolicyModel(config), (sensor_batch(perception) | agents,), 2 * 2 * perception.trunk.space


def _denoiser(channels, grid=None):
  perception = perception_config("factorised", ("ego", "raster"), 1)
  read, tokens = ReadConfig(24, perception.trunk.width, 8, "float32"), grid.places if grid else 6
  config = ConditionalConfig(perception, DenoiserConfig(2, tokens, channels, read, False, grid), 1)
  inputs = (sensor_batch(perception), jnp.ones((2, 1, tokens, channels)), jnp.ones(2))
  return config, ConditionalDenoiser(config), inputs, 2 * 2 * perception.trunk.space


# Name: (configuration, module, its inputs, tokens in them). Widths and windows differ, so that no term hides.
MODELS = {
  "motion": lambda: _motion(layers=2),
  "motion, pruned": lambda: _motion(layers=2, heads=3, hidden=20),
  "motion, long": lambda: _motion(width=24, steps=16, agents=12),
  "trunk, full": lambda: _trunk("full", layers=3, space=5),
  "trunk, factorised": lambda: _trunk("factorised", width=24, steps=7),
  "trunk, state space": lambda: _trunk("state_space", layers=3, space=5),
  "trunk, hybrid": lambda: _trunk("hybrid", width=24, layers=2, steps=7),
  "trunk, hybrid, pruned": lambda: _trunk("hybrid", layers=2, heads=3, hidden=20),
  "perception, all sensors in tubes": lambda: _perception("factorised", SENSORS, 2),
  "perception, cameras": lambda: _perception("full", ("camera",), 1),
  "codes, full": lambda: _codes("full", 6),
  "codes, hybrid": lambda: _codes("hybrid", 8),
  "tokeniser, learned codebook": lambda: _tokeniser((), 48, 5),
  "tokeniser, finite scalars": lambda: _tokeniser((5, 4, 3), 0, 0),
  "policy": lambda: _policy(EGO_HEADS),
  "every head": lambda: _policy(HEADS),
  "tracking": lambda: _policy(("tracking",)),
  "denoiser": lambda: _denoiser(5),
  "denoiser, narrower than its data": lambda: _denoiser(40, GridConfig(6, 2, 1.0, 2.0)),
}


def _params(model, inputs):
  return nn.unbox(jax.eval_shape(model.init, jax.random.key(0), *inputs)["params"])


def _sizes(params) -> dict[str, int]:
  return {jax.tree_util.keystr(k): v.size for k, v in jax.tree_util.tree_leaves_with_path(params)}


def _scanned(config, scan: bool):
  """The configuration with every stack scanned, or none."""
  parts = {
    name: _scanned(part, scan)
    for name in ("trunk", "past", "frame", "perception", "denoiser")
    if (part := getattr(config, name, None)) is not None
  }
  here = {"scan": scan} if hasattr(config, "scan") else {}
  return dataclasses.replace(config, **parts, **here)


@pytest.mark.parametrize("scan", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_param_count_is_the_number_of_parameters(name, scan):
  config, model, inputs, _ = MODELS[name]()
  changed = _scanned(config, scan)
  assert sum(_sizes(_params(type(model)(changed), inputs)).values()) == config.param_count()


@pytest.mark.parametrize("name", MODELS)
def test_embeddings_and_output_tables_are_no_part_of_n(name):
  config, model, inputs, _ = MODELS[name]()
  tables = ("before", "last", "'type'", "head_", "'head'", "'heads'", "'bias", "place", "_table", "quantiser")
  outside = sum(v for k, v in _sizes(_params(model, inputs)).items() if any(table in k for table in tables))
  assert config.non_embedding_params() == config.param_count() - outside


@pytest.mark.parametrize("name", MODELS)
def test_flops_are_what_the_compiler_multiplies(name):
  """The gradient by the weights, unrolled, within 1 %: three forward passes, but two of what reads data.

  2 per multiply-add of every matrix product.
  """
  config, model, inputs, tokens = MODELS[name]()

  def loss(params, *inputs):
    answers = jax.tree.leaves(model.apply({"params": params}, *inputs))
    return sum((x**2).sum() for x in answers if jnp.issubdtype(x.dtype, jnp.floating))

  gradient = jax.jit(jax.value_and_grad(loss)).lower(_params(model, inputs), *inputs)
  # The products are those of any level; nothing is run.
  program = gradient.compile(compiler_options={"xla_backend_optimization_level": 0}).as_text()
  flops = program_cost.cost(hlo.parse(program)).flops
  counted = config.flops_per_token() - config.stem_flops_per_token()
  assert flops / tokens == pytest.approx(counted, rel=0.01)
