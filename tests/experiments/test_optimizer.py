"""AdamW's update, parameter by parameter: how it scales with the width, and what clipping does to it."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data import context
from experiments.config import Optimizer
from experiments.optimizer import make_optimizer, schedule
from models.motion import MotionModel
from models.motion_config import MotionConfig
from tests.worlds import random_batch

OPTIMIZER = Optimizer(
  learning_rate=3e-3, base_width=16, schedule="cosine", warmup=0.1, final=0.1, weight_decay=0.0, clip=1.0,
  b1=0.9, b2=0.98, accumulate=1,
)  # fmt: skip
STEPS = 40

# Every parameter of the motion model: does its fan-in grow with the width?
FAN_IN_IS_WIDTH = {
  "q": True, "k": True, "v": True, "o": True, "up": True, "down": True, "stem_down": True,
  "head": True, "head_0": True, "head_1": True,
  "stem_up": False, "stem_bias": False, "type": False, "scale": False,
  **{f"{table}{part}": False for table in ("before", "last", "bias") for part in ("", "_0", "_1")},
}  # fmt: skip


def _model_parameters(width: int):
  """Zeros in the shape of the model's parameters."""
  config = MotionConfig(
    width=width, layers=2, head_dim=8, factors=(15, 17), features=context.FEATURES, steps=4, agents=4,
    dtype="float32", scan=False, remat="none", adapter=0, prefix=0, heads=0, hidden=0,
  )  # fmt: skip
  shapes = jax.eval_shape(MotionModel(config).init, jax.random.key(0), random_batch(1, 4, 4))["params"]
  return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), nn.unbox(shapes))


def _second(tx, params, first, second):
  """The update by the second gradient, as the first step of a warm-up has rate 0; compiled, which is faster."""

  def both():
    _, state = tx.update(first, tx.init(params), params)
    return tx.update(second, state, params)[0]

  return jax.jit(both)()


def _update_by_ones(config: Optimizer, width: int) -> dict[str, np.ndarray]:
  """Parameter path to its update in the first step with a rate, the gradient being one everywhere.

  Adam then moves every parameter by the rate, whatever the clipping.
  """
  params = _model_parameters(width)
  ones = jax.tree.map(jnp.ones_like, params)
  tx = make_optimizer(config, STEPS, width)
  updates = _second(tx, params, ones, ones)
  leaves = jax.tree_util.tree_leaves_with_path(updates)
  return {jax.tree_util.keystr(path, simple=True, separator="/"): np.asarray(leaf) for path, leaf in leaves}


@pytest.mark.parametrize("width", [8, 64])
def test_a_matrix_of_the_width_learns_in_inverse_proportion_to_it(width):
  updates = _update_by_ones(OPTIMIZER, width)
  assert {path.rpartition("/")[2] for path in updates} == FAN_IN_IS_WIDTH.keys()
  rate = float(schedule(OPTIMIZER, STEPS)(1))
  for path, update in updates.items():
    scale = 16 / width if FAN_IN_IS_WIDTH[path.rpartition("/")[2]] else 1.0
    np.testing.assert_allclose(update, -rate * scale, rtol=1e-4, err_msg=path)


def test_without_a_base_width_all_parameters_learn_alike():
  rate = float(schedule(OPTIMIZER, STEPS)(1))
  for path, update in _update_by_ones(dataclasses.replace(OPTIMIZER, base_width=0), 64).items():
    np.testing.assert_allclose(update, -rate, rtol=1e-4, err_msg=path)


def _adam(first: np.ndarray, second: np.ndarray, b1: float, b2: float) -> np.ndarray:
  """Adam's direction after two gradients (D. Kingma, J. Ba, arXiv:1412.6980), in float64."""
  mean = (b1 * (1 - b1) * first + (1 - b1) * second) / (1 - b1**2)
  square = (b2 * (1 - b2) * first**2 + (1 - b2) * second**2) / (1 - b2**2)
  return mean / (np.sqrt(square) + 1e-8)


@pytest.mark.parametrize("size", [0.1, 1.0, 5.0, 50.0])
def test_a_gradient_is_clipped_by_its_norm_over_all_parameters(size):
  """(0.06, 0.08), which is short enough, then `size` times (0.6, 0.8), over two parameters of one tree."""
  config = dataclasses.replace(OPTIMIZER, base_width=0, clip=2.0)
  first, direction = np.array([0.06, 0.08]), np.array([0.6, -0.8])

  def tree(values):
    return {"q": jnp.full((1,), values[0], jnp.float32), "head": jnp.full((1,), values[1], jnp.float32)}

  params = tree([0.0, 0.0])
  tx = make_optimizer(config, STEPS, 16)
  updates = _second(tx, params, tree(first), tree(size * direction))
  expected = -float(schedule(config, STEPS)(1)) * _adam(first, min(size, 2.0) * direction, 0.9, 0.98)
  np.testing.assert_allclose([updates["q"][0], updates["head"][0]], expected, rtol=1e-4)
