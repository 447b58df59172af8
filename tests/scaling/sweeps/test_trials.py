"""Trials: identity that depends on what is run and on nothing else."""

import pytest

from data.errors import BadInput
from scaling.sweeps import points, trials

CONFIG = """
from ml_collections import ConfigDict

def get_config(variant=""):
  return ConfigDict(dict(seed=0, tokens=100, rate=0.1, name="a", deep=dict(width=8, on=False), mesh=dict(data=1),
    data=dict(dataset="d")))

def sweep(variant=""):
  return %s
"""
TWO = (
  '[{"deep.width": 16, "seed": 1, "trial.flops": 3e9}, {"deep.on": True, "rate": 1e-3, "trial.retries": 0}]'
)


@pytest.fixture
def expand(tmp_path):
  def make(points: str, base: dict | None = None, module: str = "experiments.train"):
    path = tmp_path / "config.py"
    path.write_text(CONFIG % points)
    return trials.expand(str(path), "", base or {}, module)

  return make


def test_same_file_same_bytes(expand, tmp_path):
  first = expand(TWO)
  trials.write_trials(tmp_path / "a.jsonl", first)
  trials.write_trials(tmp_path / "b.jsonl", expand(TWO))
  assert (tmp_path / "a.jsonl").read_bytes() == (tmp_path / "b.jsonl").read_bytes()
  assert trials.read_trials(tmp_path / "a.jsonl") == first


def test_what_is_run_is_the_identity(expand):
  one, two = expand(TWO)
  assert one.trial_id != two.trial_id and len(one.trial_id) == 12
  assert expand('[{"seed": 7}, ' + TWO[1:])[1:] == [one, two]  # a new point leaves the others alone
  assert expand(TWO.replace("3e9", "5e9"))[0].trial_id == one.trial_id  # cost is no part of it
  assert expand(TWO, {"name": "b"})[0].trial_id != one.trial_id
  assert expand(TWO, module="experiments.other")[0].trial_id != one.trial_id


def test_the_mesh_is_no_part_of_the_identity(expand):
  one, two = expand('[{"mesh.data": 1}, {"mesh.data": 1, "seed": 1}]')
  moved, _ = expand('[{"mesh.data": 8}, {"mesh.data": 8, "seed": 1}]')
  assert (moved.trial_id, moved.workdir) == (one.trial_id, one.workdir)
  assert "--config.mesh.data=8" in moved.argv and two.trial_id != one.trial_id


def test_command_line(expand):
  one, two = expand(TWO, {"name": "b"})
  assert one.arguments("W")[1:] == [
    "--config.name=b", "--config.deep.width=16", "--config.seed=1", f"--workdir=W/runs/{one.trial_id}",
  ]  # fmt: skip
  assert {"--config.deep.on=true", "--config.rate=0.001"} <= set(two.argv)
  assert (one.flops, one.retries, one.seed, two.retries) == (3e9, points.RETRIES, 1, 0)
  assert (one.tokens, one.dataset, one.max_hours, one.resources) == (100, "d", None, None)


SLICE = points.Resources("v6e", "4x4", 4)


def test_limits_and_machines_are_kept_and_are_no_part_of_the_identity(expand, tmp_path):
  said = '{"trial.max_hours": 2, "trial.resources": {"accelerator": "v6e", "topology": "4x4", "hosts": 4}}'
  plain, limited = expand('[{"seed": 1}]')[0], expand(f'[{{"seed": 1}} | {said}]')[0]
  assert (limited.max_hours, limited.resources) == (2.0, SLICE) and limited.trial_id == plain.trial_id
  trials.write_trials(tmp_path / "t.jsonl", [limited])
  assert trials.read_trials(tmp_path / "t.jsonl") == [limited]


def test_machines_for_all_give_way_to_a_points_own(expand, tmp_path):
  expand("[{}]")
  given = [{"seed": 1}, {"trial.resources": {"accelerator": "v5p", "topology": "2x2x1", "hosts": 1}}]
  one, two = trials.expand(str(tmp_path / "config.py"), "", {}, "m", given, SLICE)
  assert one.resources == SLICE and two.resources == points.Resources("v5p", "2x2x1", 1)


def test_points_take_the_place_of_the_sweep(expand, tmp_path):
  own = expand(TWO)
  given = [
    {"deep.width": 16, "seed": 1, "trial.flops": 3e9},
    {"deep.on": True, "rate": 1e-3, "trial.retries": 0},
  ]
  assert trials.expand(str(tmp_path / "config.py"), "", {}, "experiments.train", given) == own
  path = tmp_path / "without.py"
  path.write_text((tmp_path / "config.py").read_text().partition("def sweep")[0])
  with pytest.raises(BadInput, match=r"has no sweep\(variant\); .* --points=FILE.json"):
    trials.expand(str(path), "", {}, "m")
  assert len(trials.expand(str(path), "", {}, "m", given)) == 2


def test_an_override_is_never_lost_to_the_sweep(expand):
  with pytest.raises(BadInput) as caught:
    expand(TWO, {"name": "b", "rate": 0.5})
  assert caught.value.where == "--config.rate" and "0.5" in caught.value.what and "0.001" in caught.value.what
  assert "sweep point 1" in caught.value.what and "leave the flag out" in caught.value.remedy
  assert [t.trial_id for t in expand('[{"rate": 0.5}, {"seed": 1}]', {"rate": 0.5})] == [
    t.trial_id for t in expand('[{"rate": 0.5}, {"rate": 0.5, "seed": 1}]')
  ]


@pytest.mark.parametrize(
  ("points", "words"),
  [
    ('[{"seed": 1}, {"seed": 1}]', "points 0 and 1 are the same run"),
    ('[{"seed": 0}, {}]', "are the same run"),
    ('[{"mesh.data": 1}, {"mesh.data": 2}]', "keys such as the mesh do not count"),
    ('[{"deep.widht": 1}]', "did you mean 'width'"),
    ('[{"tokens": "many"}]', "does not fit"),
    ('[{"trial.flop": 1}]', "did you mean trial.flops"),
    ('[{"trial.retries": -1}]', "point 0: trial.retries is -1"),
    ("[]", "sweep() is empty"),
  ],
)
def test_mistakes_are_named(expand, points, words):
  with pytest.raises(BadInput, match=words.replace("(", r"\(").replace(")", r"\)")):
    expand(points)


@pytest.mark.parametrize("key", ["seed", "tokens", "dataset"])
def test_what_every_run_has_is_asked_for(expand, tmp_path, key):
  expand("[{}]")
  path = tmp_path / "config.py"
  path.write_text(path.read_text().replace(f"{key}=", f"{key}_=", 1))
  with pytest.raises(BadInput, match=rf"config.py: has no key '[\w.]*{key}'"):
    trials.expand(str(path), "", {}, "m")


def test_damaged_file_names_the_line(expand, tmp_path):
  trials.write_trials(tmp_path / "t.jsonl", expand(TWO))
  text = (tmp_path / "t.jsonl").read_text()
  (tmp_path / "t.jsonl").write_text(text[:-20])
  with pytest.raises(BadInput, match=r"t.jsonl line 2"):
    trials.read_trials(tmp_path / "t.jsonl")
