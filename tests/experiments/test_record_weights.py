"""A record of weight w counts w times in every loss that adds up over records; the others refuse weights."""

import jax
import numpy as np
import pytest

from data.errors import BadInput
from experiments import config as configs
from experiments.task import make_task
from tests.experiments.test_embed import CASES

ROWS = 3
PAIRS = [("motion", "next_token"), ("codes", "next_token"), ("bev_tokeniser", "reconstruction")] + [
  ("perception", objective) for objective in ("masked", "jepa", "multi_task", "flow_matching")
]


@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
def test_sums_and_counts_are_linear_in_the_weights(pair):
  values, records = CASES[pair]()
  task = make_task(configs.from_dict(values), records, 2)
  rng = np.random.default_rng(0)
  stacked = {
    name: rng.integers(0, 2, (ROWS, *shape)).astype(dtype)
    for name, (shape, dtype) in records.spec.items()
    if name in task.fields
  }
  batch = task.to_batch(stacked)
  key = jax.random.key(0)
  params = jax.jit(task.init)(key, batch)["params"]

  @jax.jit
  def loss(weight_B):
    found = task.loss_fn(params, batch | {"weight_B": weight_B}, key)
    return {name: found[name] for name in ("objective", "loss", "by_domain")}

  weight_B = np.array([0.5, 0.0, 3.0], np.float32)
  parts = [jax.tree.map(lambda x, w=w: w * np.asarray(x), loss(one)) for w, one in
           zip(weight_B, np.eye(ROWS, dtype=np.float32), strict=True)]  # fmt: skip
  whole, added = loss(weight_B), jax.tree.map(lambda *values: sum(values), *parts)
  jax.tree.map(lambda one, other: np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4), whole, added)
  assert float(whole["loss"][1]) > 0


@pytest.mark.parametrize("objective", ["contrastive", "self_distillation"])
def test_who_compares_records_refuses_weights(objective):
  values, records = CASES["perception", objective]()
  values["data"]["mixture"]["correct"] = "importance"
  with pytest.raises(BadInput, match=f"{objective} compares the records of a batch"):
    make_task(configs.from_dict(values), records, 2)
