"""What names a run: every key but the operational ones, which decide where and how it computes."""

import copy

import pytest

from experiments.configs import motion_distil, perception
from experiments.identity import LATER, OPERATIONAL, config_hash, identity, operational

CONFIG = perception.get_config("tiny").to_dict()


def _changed(dotted: str, config: dict = CONFIG) -> dict:
  """The configuration with one value replaced; a group has each of its values replaced."""
  changed = copy.deepcopy(config)
  *parents, name = dotted.split(".")
  at = changed
  for part in parents:
    at = at[part]
  at[name] = {key: "other" for key in at[name]} if isinstance(at[name], dict) else "other"
  return changed


def _leaves(config: dict, prefix: str = "") -> list[str]:
  return [
    leaf
    for key, value in config.items()
    for leaf in (_leaves(value, f"{prefix}{key}.") if isinstance(value, dict) else [prefix + key])
  ]


@pytest.mark.parametrize("key", OPERATIONAL)
def test_an_operational_key_exists_and_leaves_the_hash_alone(key):
  assert config_hash(_changed(key)) == config_hash(CONFIG)


def test_every_other_key_changes_the_hash():
  computing = _leaves(identity(CONFIG))
  assert {"seed", "data.dataset", "checkpoint.every_steps", "recovery.patience"} <= set(computing)
  hashes = {config_hash(_changed(key)) for key in computing}
  assert len(hashes | {config_hash(CONFIG)}) == len(computing) + 1


def test_the_two_parts_are_the_whole():
  parts = _leaves(identity(CONFIG)) + _leaves(operational(CONFIG)) + [key for key in LATER if "model" in key]
  assert sorted(parts) == sorted(_leaves(CONFIG))
  assert operational(CONFIG)["mesh"] == CONFIG["mesh"] and "mesh" not in identity(CONFIG)


@pytest.mark.parametrize("key", LATER)
def test_a_key_that_came_later_names_a_run_only_where_it_is_set(key):
  config = motion_distil.get_config("tiny").to_dict()
  group, name = key.split(".")
  before = config | {group: {k: v for k, v in config[group].items() if k != name}}
  assert config_hash(before) == config_hash(config) != config_hash(_changed(key, config))


def test_the_hash_ignores_order_and_takes_tuples_for_lists():
  config = {"seed": 1, "model": {"width": 8, "rates": [0.5, 1.0]}}
  shuffled = {"model": {"rates": (0.5, 1.0), "width": 8}, "seed": 1}
  assert config_hash(config) == config_hash(shuffled)
  assert len(config_hash(config)) == 12
