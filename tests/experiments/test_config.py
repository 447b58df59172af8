"""A configuration is complete, typed and in range, or refused by the name of the key."""

import copy

import pytest

from data.errors import BadInput
from experiments.config import Train, from_dict
from experiments.configs import motion

VALUES = motion.get_config("tiny").to_dict()


def _with(dotted: str, value) -> dict:
  changed = copy.deepcopy(VALUES)
  *parents, name = dotted.split(".")
  at = changed
  for part in parents:
    at = at[part]
  at[name] = value
  return changed


def test_the_typed_form_holds_every_value():
  config = from_dict(VALUES)
  assert isinstance(config, Train)
  assert (config.model.width, config.optimizer.clip) == (8, 1.0)
  assert from_dict(_with("optimizer.clip", 2)).optimizer.clip == 2.0


@pytest.mark.parametrize(
  ("key", "value", "words"),
  [
    ("log_every", 0, "config: log_every is 0, below 1; raise it"),
    ("mesh.tensor", 0, "config.mesh: tensor is 0, below 1"),
    ("data.unique_windows", -1, "config.data: unique_windows is -1, below 0"),
    ("seed", 1.0, "config: seed is 1.0, which is no int"),
    ("tokens", True, "tokens is True, which is no int"),
    ("mesh", 3, "mesh is 3, which is no Mesh"),
    ("model.widht", 3, "config.model: unknown key 'widht'; did you mean 'width'"),
  ],
)
def test_a_value_that_cannot_be_is_refused(key, value, words):
  with pytest.raises(BadInput, match=words):
    from_dict(_with(key, value))


def test_a_missing_key_is_named():
  values = copy.deepcopy(VALUES)
  del values["checkpoint"]["keep"]
  with pytest.raises(BadInput, match=r"config\.checkpoint: key 'keep' is missing"):
    from_dict(values)
