"""Every task that can be probed gives one vector of each record of its own parameters, which no forward pass is for."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data.codes import CodesConfig
from data.errors import BadInput
from data.windows import WindowConfig
from experiments import config as configs
from experiments.configs import codes, driving, driving_distil, motion, motion_distil, perception, tokeniser
from experiments.task import all_tasks, make_task
from tests.experiments.test_perception_tasks import CLIPS

ROWS = 2
WINDOW = WindowConfig(dt=0.5, steps=4, agents=6, points=8, stops=1, phases=1, least_moves=4)
CODES = CodesConfig(steps=2, places=4, codes=8, actions=2)
SMALL = dict(grid_patch=8, camera_patch=16, width=16, layers=2, lidar_channels=4)


def _clips(values: dict):
  values["model"] |= SMALL
  return values, CLIPS


TEACHERS = {
  "distillation": lambda: motion.get_config("tiny").to_dict(),
  "policy_distillation": lambda: _clips(driving.get_config("policy:tiny").to_dict())[0],
}
CASES = {
  ("motion", "next_token"): lambda: (motion.get_config("tiny").to_dict(), WINDOW),
  ("motion", "distillation"): lambda: (motion_distil.get_config("tiny").to_dict(), WINDOW),
  ("codes", "next_token"): lambda: (codes.get_config("tiny").to_dict(), CODES),
  ("bev_tokeniser", "reconstruction"): lambda: (tokeniser.get_config("tiny").to_dict(), CLIPS),
} | {
  ("perception", name): lambda name=name: _clips(perception.get_config(f"{name}:tiny").to_dict())
  for name in ("masked", "contrastive", "self_distillation", "jepa")
} | {
  ("perception", objective): lambda name=name: _clips(driving.get_config(f"{name}:tiny").to_dict())
  for objective, name in (("multi_task", "multi_task"), ("flow_matching", "flow"), ("diffusion", "diffusion"))
} | {
  ("perception", "policy_distillation"): lambda: _clips(driving_distil.get_config("tiny").to_dict()),
}  # fmt: skip


def test_no_task_is_left_out():
  assert CASES.keys() == all_tasks().keys()


@pytest.mark.parametrize("pair", list(CASES), ids="-".join)
def test_embeddings_are_a_vector_of_each_record(pair, tmp_path):
  values, records = CASES[pair]()
  if pair[1] in TEACHERS:
    taught = TEACHERS[pair[1]]()
    (tmp_path / "config.json").write_text(json.dumps(taught))
    values["loss"]["teacher"] = str(tmp_path)
  config = configs.from_dict(values)
  assert (config.family, config.objective) == pair
  task = make_task(config, records, 2)
  stacked = {
    name: np.zeros((ROWS, *shape), dtype)
    for name, (shape, dtype) in records.spec.items()
    if name in task.fields
  }
  batch = task.to_batch(stacked)
  batch.pop("scene_B", None)  # for losses that pair records by it: no model may ask for it
  params = jax.eval_shape(task.init, jax.random.key(0), batch)["params"]
  features = jax.eval_shape(task.embed, params, batch)
  assert features.ndim == 2 and features.shape[0] == ROWS and jnp.issubdtype(features.dtype, jnp.floating)


@pytest.mark.parametrize("objective", ["contrastive", "self_distillation"])
def test_who_compares_records_refuses_their_weights(objective):
  values, records = CASES["perception", objective]()
  values["data"]["mixture"]["correct"] = "importance"
  with pytest.raises(BadInput, match=f"{objective} compares the records of a batch"):
    make_task(configs.from_dict(values), records, 2)
