"""Motion models that follow a whole one: by its answers, and by its features where they are of one width."""

import json

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data.errors import BadInput
from experiments.config import from_dict
from experiments.configs import motion, motion_distil
from experiments.task import make_task
from experiments.tasks.distillation import TAUGHT_BY
from tests.data.tiny_datasets import WINDOW, numbered_windows

FEATURES = 2.0


def _student(tmp_path, **changes):
  (tmp_path / "config.json").write_text(json.dumps(motion.get_config("tiny").to_dict()))
  values = motion_distil.get_config("tiny").to_dict()
  values["model"] |= changes
  values["loss"] |= {"teacher": str(tmp_path), "features": FEATURES, "weight": 0.25, "z_weight": 0.0}
  return make_task(from_dict(values), WINDOW, 1)


def test_features_are_followed_beside_answers(tmp_path):
  """A student that is its teacher has nothing to follow; another hears of moves, answers and features."""
  task = _student(tmp_path)
  windows = numbered_windows(2)
  batch = task.to_batch({name: np.stack([window[name] for window in windows]) for name in task.fields})
  batch["mask_BxTxA"] = np.ones_like(batch["mask_BxTxA"])
  shapes = nn.unbox(jax.eval_shape(task.init, jax.random.key(0), batch)["params"])[TAUGHT_BY]
  rng = np.random.default_rng(0)
  teacher = jax.tree.map(lambda leaf: rng.normal(0, 0.3, leaf.shape).astype(np.float32), shapes)
  loss = jax.jit(task.loss_fn)

  def told(student):
    found = loss({"student": student, TAUGHT_BY: teacher}, batch, jax.random.key(1))
    return {name: float(pair[0]) for name, pair in found.items() if jnp.ndim(pair[0]) == 0}

  same = told(teacher)
  assert abs(same["features"]) < 1e-3 and abs(same["distillation"]) < 1e-3 < same["loss"]
  other = told(jax.tree.map(lambda x: x + 0.1 * jnp.cos(jnp.arange(x.size)).reshape(x.shape), teacher))
  assert min(other["features"], other["distillation"]) > 0.01
  parts = 0.75 * other["loss"] + 0.25 * other["distillation"] + FEATURES * other["features"]
  assert other["objective"] == pytest.approx(parts, rel=1e-5)


def test_features_of_another_width_are_refused(tmp_path):
  with pytest.raises(BadInput, match="features have 8 numbers, this model's 16"):
    _student(tmp_path, width=16)
