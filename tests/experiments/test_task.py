"""What a configuration means for a batch: the names of its arrays, and what an ablation hides."""

import flax.linen as nn
import jax
import numpy as np
import pytest

from data import context
from data.windows import WindowConfig
from experiments.config import from_dict
from experiments.configs import perception
from experiments.configs.motion import get_config
from experiments.task import batch_name, make_task
from experiments.tasks.motion import FIELDS
from experiments.tasks.trunks import trunk_config
from models.trunk_config import TrunkConfig
from tests.worlds import random_batch

STEPS, AGENTS = 4, 6
WINDOW = WindowConfig(dt=0.5, steps=STEPS, agents=AGENTS, points=8, stops=1, phases=1, least_moves=4)


def _task(blind_to: str):
  values = get_config("tiny").to_dict()
  values["data"]["blind_to"] = blind_to
  return make_task(from_dict(values), WINDOW, domains=3)


def _windows(seed: int = 0) -> dict[str, np.ndarray]:
  """Stacked window arrays: two groups of agents, everybody there, no feature zero."""
  batch = random_batch(3, STEPS, AGENTS, seed)
  batch["valid_BxTxA"][:] = batch["mask_BxTxA"][:] = True
  batch["features_BxTxAxF"] += np.sign(batch["features_BxTxAxF"]) + np.float16(0.01)
  assert batch["features_BxTxAxF"].all()
  return {name: batch[batch_name(name)] for name in FIELDS}


def test_a_trunk_is_what_its_configuration_says():
  """Whatever a family's shape and a trunk both name is handed on, and what adapters need beside it."""
  values = perception.get_config("masked:tiny").to_dict()
  values["model"] |= dict(
    mixing="hybrid", state=4, chunk=8, causal=True, remat="dots", block=32, width=24, head_dim=6, hidden=5
  )
  values["adaptation"] |= dict(method="prefix", rank=3)
  found = trunk_config(from_dict(values), 5, 7, layers=4)
  assert found == TrunkConfig(
    width=24, layers=4, head_dim=6, mixing="hybrid", state=4, chunk=8, causal=True, steps=5, space=7,
    dtype=values["model"]["dtype"], scan=values["model"]["scan"], remat="dots", block=32,
    adapter=0, prefix=3, heads=0, hidden=5,
  )  # fmt: skip


def test_a_batch_holds_the_windows_arrays_and_nothing_else():
  windows = _windows()
  batch = _task("").to_batch(windows | {"path_AxPx2": np.zeros((3, AGENTS, 8, 2))})
  assert batch.keys() == {batch_name(name) for name in FIELDS}
  for name in FIELDS:
    np.testing.assert_array_equal(batch[batch_name(name)], windows[name])


@pytest.mark.parametrize("blind_to", ["map", "agents"])
def test_an_ablation_hides_its_own_features_and_no_others(blind_to):
  windows = _windows()
  before = {name: value.copy() for name, value in windows.items()}
  batch = _task(blind_to).to_batch(windows)
  hidden = np.zeros(context.FEATURES, bool)
  hidden[{"map": context.MAP, "agents": context.AGENTS}[blind_to]] = True
  seen = batch["features_BxTxAxF"]
  assert not seen[..., hidden].any()
  np.testing.assert_array_equal(seen[..., ~hidden], before["features_TxAxF"][..., ~hidden])
  alone = batch["group_BxA"]
  if blind_to == "map":
    np.testing.assert_array_equal(alone, before["group_A"])
  else:
    assert all(len(set(row)) == AGENTS for row in alone.tolist()) and alone.all()
  for name in set(FIELDS) - {"features_TxAxF", "group_A"}:
    np.testing.assert_array_equal(batch[batch_name(name)], before[name])
  for name, value in windows.items():
    np.testing.assert_array_equal(value, before[name], err_msg="the windows themselves have changed")


def test_the_three_kinds_of_features_are_all_of_them():
  order = np.arange(context.FEATURES)
  parts = [order[part] for part in (context.OWN, context.MAP, context.AGENTS)]
  np.testing.assert_array_equal(np.concatenate(parts), order)


@pytest.mark.parametrize("blind_to", ["", "map", "agents"])
def test_who_is_blind_to_the_others_does_not_answer_them(blind_to):
  """Agent 1 changes in all that it does and is. Its group follows it unless blind; the other group never does."""
  task, windows = _task(blind_to), _windows()
  other, windows_after = _windows(seed=1), {name: value.copy() for name, value in windows.items()}
  for name in ("tokens_TxA", "features_TxAxF"):
    windows_after[name][:, :, 1] = other[name][:, :, 1]
  windows_after["type_A"][:, 1] = (windows["type_A"][:, 1] + 1) % 8
  before, after = (task.to_batch(w) for w in (windows, windows_after))
  shapes = nn.unbox(jax.eval_shape(task.model.init, jax.random.key(0), before)["params"])
  rng = np.random.default_rng(2)
  params = jax.tree.map(lambda leaf: np.float32(rng.normal(0, 0.3, leaf.shape)), shapes)
  apply = jax.jit(task.model.apply)
  logits, logits_after = (np.asarray(apply({"params": params}, batch)) for batch in (before, after))
  changed = (logits != logits_after).any((0, 1, 3))
  answers = blind_to != "agents"
  assert windows["group_A"][0].tolist() == [1, 1, 1, 1, 2, 2]
  np.testing.assert_array_equal(changed, [False, True, answers, answers, False, False])
