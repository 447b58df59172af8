"""What a configuration may say: types, ranges and choices, each refused by name."""

import importlib
import pathlib

import pytest

from data.errors import BadInput
from experiments import config as configs
from experiments.configs.motion import get_config


def _with(key, value):
  values = get_config("tiny").to_dict()
  *groups, name = key.split(".")
  inner = values
  for group in groups:
    inner = inner[group]
  inner[name] = value
  return values


@pytest.mark.parametrize(
  ("key", "value", "says"),
  [
    ("tokens", -5, "tokens is -5, below 1"),
    ("seed", -1, "seed is -1, below 0"),
    ("optimizer.warmup", 3.0, "warmup is 3.0, above 1.0"),
    ("optimizer.b2", 1.5, "b2 is 1.5, above 0.999999"),
    ("optimizer.learning_rate", float("nan"), "learning_rate is nan, below"),
    ("optimizer.schedule", "cosin", "choose one of 'cosine', 'linear', 'wsd'"),
    ("model.remat", "ful", "choose one of 'none', 'dots', 'full'"),
    ("model.dtype", "float23", "choose one of 'float32', 'bfloat16'"),
    ("data.blind_to", "road", "choose one of '', 'map', 'agents'"),
    ("log_every", True, "log_every is True, which is no int"),
    ("optimizer.clip", "1", "clip is '1', which is no float"),
  ],
)
def test_a_value_out_of_range_is_refused_by_name(key, value, says):
  with pytest.raises(BadInput, match=says):
    configs.from_dict(_with(key, value))


@pytest.mark.parametrize(
  ("key", "value", "says"),
  [
    ("family", "motoin", "family is 'motoin'.*choose motion"),
    ("objective", "next_tokens", "objective is 'next_tokens'.*choose next_token"),
    ("loss.mask_ratio", 0.5, "config.loss: unknown key 'mask_ratio'"),
    ("loss.z_weihgt", 0.5, "did you mean 'z_weight'"),
    ("loss.z_weight", -1.0, "z_weight is -1.0, below 0"),
    ("optimizer.z_loss", 1e-4, "unknown key 'z_loss'"),
    ("model.patch", 4, "unknown key 'patch'"),
    ("loss", 1e-4, "loss is 0.0001, which is no NextToken"),
  ],
)
def test_the_family_types_the_model_and_the_objective_the_loss(key, value, says):
  with pytest.raises(BadInput, match=says):
    configs.from_dict(_with(key, value))


def test_a_key_of_the_loss_that_is_missing_is_named():
  values = get_config("tiny").to_dict()
  values["loss"] = {}
  with pytest.raises(BadInput, match="key 'z_weight' is missing"):
    configs.from_dict(values)


def test_a_whole_number_is_a_float_where_one_is_wanted():
  assert configs.from_dict(_with("optimizer.clip", 2)).optimizer.clip == 2.0


def test_a_key_that_is_not_known_names_the_nearest():
  with pytest.raises(BadInput, match="did you mean 'warmup'"):
    configs.from_dict(_with("optimizer.warmupp", 0.1))


CONFIGS = sorted((pathlib.Path(__file__).parents[2] / "experiments/configs").glob("*.py"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_config_file_sets_every_key(path):
  module = importlib.import_module(f"experiments.configs.{path.stem}")
  if hasattr(module, "get_config") and path.stem != "fleet":  # a federated run: test_federation.py
    assert configs.from_dict(module.get_config().to_dict()).family
