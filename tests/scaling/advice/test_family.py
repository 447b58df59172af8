"""The motion family as the config files offer it."""

import numpy as np
import pytest

from data.errors import BadInput
from experiments.configs import isoflop
from scaling.advice import family
from tests.scaling.ladder import CONFIG, motion


def test_every_width_is_a_model_and_counts_itself():
  members = family.load(CONFIG)
  assert (np.diff(members.widths) > 0).all() and (np.diff(members.params) > 0).all()
  assert members.params[0] < 2e3 and members.params[-1] > family.LARGEST
  for width in (4, 12, 40, 512):
    k = list(members.widths).index(width)
    assert members.params[k] == isoflop.model(width).non_embedding_params()
    assert members.flops_per_token[k] == isoflop.flops(width, 1)


def test_some_width_is_near_every_size():
  """N* is never more than a factor of 1.6 from a width: the widest step also adds a pair of layers."""
  params = motion().params
  assert (params[1:] / params[:-1] < 1.6**2).all()


def test_flops_per_nd_meet_the_models_and_come_down_to_six():
  members = motion()
  for k in (0, 5, 40):
    own = members.flops_per_token[k] / members.params[k]
    assert members.flops_per_nd(members.params[k]) == pytest.approx(own, rel=1e-12)
  assert members.flops_per_nd(1e12) == pytest.approx(6, rel=1e-3)
  between = members.flops_per_nd(np.sqrt(members.params[3] * members.params[4]))
  ends = members.flops_per_token[3:5] / members.params[3:5]
  assert between == pytest.approx(np.sqrt(ends.prod()), rel=1e-12)


def test_sizes_around_a_size():
  members = motion()
  assert members.around(members.params[7]) == [7]
  assert members.around(members.params[7] * 1.01) == [7, 8]
  assert members.around(1.0) == [0] and members.around(1e20) == [len(members.params) - 1]


def test_points_spend_what_they_say():
  point = motion().point(24, 1e12, 3)
  assert point["seed"] == 3 and point["model.width"] == 24
  assert point["tokens"] * isoflop.flops(24, 1) == pytest.approx(1e12, rel=1e-6)


def test_a_config_without_a_family_is_refused(tmp_path):
  path = tmp_path / "plain.py"
  path.write_text("def get_config(variant=''): ...\n")
  with pytest.raises(BadInput, match="has no family"):
    family.load(str(path))
