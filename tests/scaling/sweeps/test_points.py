"""Points from a file are checked as strictly as those of a config."""

import pytest

from data.errors import BadInput
from scaling.sweeps import points


def test_points_are_read_as_they_are_written(tmp_path):
  path = tmp_path / "points.json"
  path.write_text('[{"model.width": 32, "rate": 1e-3, "on": true, "trial.flops": 1e12}, {"name": "b"}]')
  assert points.read_points(path) == [
    {"model.width": 32, "rate": 1e-3, "on": True, "trial.flops": 1e12},
    {"name": "b"},
  ]


@pytest.mark.parametrize(
  ("text", "words"),
  [
    ("[{", "not readable as JSON"),
    ("{}", "holds a dict, not a list"),
    ("[1]", "point 0 is a int, not an object"),
    ('[{}, {"a": [1]}]', r"point 1: a is \[1\].*name nested keys with dots"),
    ('[{"a": {"b": 1}}]', "point 0: a is"),
    ('[{"a": null}]', "point 0: a is null"),
    ('[{"a": NaN}]', "NaN is no JSON"),
    ('[{"a": 1, "a": 2}]', "'a' is given twice"),
  ],
)
def test_what_is_no_list_of_points_is_refused(tmp_path, text, words):
  (tmp_path / "p.json").write_text(text)
  with pytest.raises(BadInput, match=words):
    points.read_points(tmp_path / "p.json")


SLICE = {"accelerator": "v6e", "topology": "4x4", "hosts": 4}


def test_a_point_is_divided_into_what_is_run_and_what_is_said_about_it():
  point = {"seed": 1, "trial.flops": 2, "trial.retries": 0, "trial.max_hours": 1.5, "trial.resources": SLICE}
  own, about = points.divide(point, "here")
  assert own == {"seed": 1}
  assert about == points.About(2.0, 0, 1.5, points.Resources("v6e", "4x4", 4))
  assert points.divide({}, "here")[1] == points.About(0.0, points.RETRIES, None, None)
  assert points.parse_resources("v6e:4x4:4") == about.resources


@pytest.mark.parametrize(
  ("key", "value", "words"),
  [
    ("trial.retry", 1, "did you mean trial.retries"),
    ("trial.flops", "many", "trial.flops is 'many'"),
    ("trial.flops", float("inf"), "trial.flops is inf"),
    ("trial.flops", True, "trial.flops is True"),
    ("trial.retries", 1.0, "give a whole number"),
    ("trial.max_hours", 0, "trial.max_hours is 0"),
    ("trial.max_hours", -1, "trial.max_hours is -1"),
    ("trial.resources", "v6e", "trial.resources is 'v6e'"),
    ("trial.resources", {**SLICE, "host": 4}, "did you mean 'hosts'"),
    ("trial.resources", {"accelerator": "v6e", "hosts": 4}, "has no 'topology'"),
    ("trial.resources", {**SLICE, "hosts": "4"}, "hosts is '4'"),
    ("trial.resources", {**SLICE, "hosts": 0}, "hosts is below 1"),
  ],
)
def test_what_is_said_about_a_trial_is_checked(key, value, words):
  with pytest.raises(BadInput, match=words):
    points.divide({key: value}, "here")


@pytest.mark.parametrize("text", ["v6e", "v6e:4x4", "v6e:4x4:four", "v6e:4x4:0"])
def test_resources_flag_is_checked(text):
  with pytest.raises(BadInput, match="--resources"):
    points.parse_resources(text)
