"""What heads reach: perfect and spoilt answers, the means of evaluation, the worst clips first, a wrong run."""

import types

import jax
import numpy as np
import pytest

from data.datasets import open_dataset
from data.errors import BadInput
from evaluation import heads, split_metrics
from experiments import config as configs
from experiments.configs import driving as driving_configs
from experiments.evaluate import evaluate
from experiments.mesh import make_mesh
from experiments.task import make_task
from tests.data import clip_dataset, random_clips
from tests.weights import drawn

CLIPS = random_clips.tiny_config(steps=2)
WEIGHTS = dict(detection=1.0, elements=1.0, segmentation=1.0, plan=1.0, plan_spread=1.0)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
  """A run of a few random clips, as experiments.run hands one back."""
  out = tmp_path_factory.mktemp("driving") / "clips"
  clip_dataset.write(out, CLIPS, {"train": 2, "validation": 5})
  values = driving_configs.get_config("multi_task:tiny").to_dict()
  values["model"] |= dict(
    width=8, layers=1, mixing="full", grid_patch=8, lidar_channels=4, sensors="ego,lidar"
  )
  values["loss"] |= dict(patch=8, learned=False, weights=driving_configs.NO_HEADS | WEIGHTS)
  config = configs.from_dict(values)
  dataset = open_dataset(str(out))
  task = make_task(config, dataset.config, len(dataset.domains))
  params = drawn(task.init, task.to_batch(dataset.example()))
  return types.SimpleNamespace(
    path="run", config=config, dataset=dataset, task=task, params=params, weights=params
  )


def test_means_over_clips_are_those_of_evaluation(run):
  metrics, findings, labels = heads.judge(run, "validation")
  assert heads.heads_of(run) == sorted(WEIGHTS, key=list(driving_configs.NO_HEADS).index)
  assert len(labels["domain"]) == 5 and findings.keys() == {"boxes", "elements"}
  found = split_metrics.means(metrics, np.ones(5, bool))
  wanted = evaluate(run.task, run.dataset, make_mesh(1, 1, 1, 1, jax.devices()[:1]), run.params, "validation")
  shared = {name for name in found if name in wanted["by_slice"]}
  assert {"plan_ADE", "plan_constant_velocity", "plan_spread_covered_90", "detection_recall"} <= shared
  for name in shared:
    assert found[name] == pytest.approx(wanted["by_slice"][name], rel=1e-4), name
  assert found["segmentation_mIoU"] == pytest.approx(wanted["by_slice"]["segmentation_iou"], rel=1e-4)
  assert 0 <= found["plan_spread_calibration_error"] <= 0.9
  apron = split_metrics.means(metrics, labels["domain"] == 0)
  assert apron["loss"] == pytest.approx(wanted["by_slice"]["apron"], rel=1e-4)


def test_a_run_without_heads_is_refused(run):
  other = types.SimpleNamespace(
    path="run",
    task=types.SimpleNamespace(findings=None),
    config=types.SimpleNamespace(family="perception", objective="jepa"),
  )
  with pytest.raises(BadInput, match="perception with jepa has no heads to judge"):
    heads.heads_of(other)


def _answers(shift: float, kind: int):
  """Two frames with a box each, and a polyline; answers `shift` m off, of class `kind`, besides an idle one."""
  truth = np.array([[[[3.0, 1, 1, 4, 2, 2, 0]]], [[[5.0, -2, 1, 4, 2, 2, 0]]]])
  line = np.stack([np.linspace(0, 9, 10), np.zeros(10)], -1)[None, None, None].repeat(2, 0)
  idle = dict(score_BxTxN=np.array([[[0.9, 0.1]]] * 2), kind_BxTxN=np.array([[[kind, 1 - kind]]] * 2))
  there = dict(truth_kind_BxTxK=np.zeros((2, 1, 1), int), there_BxTxK=np.ones((2, 1, 1), bool))
  free = dict(free_BxTxN=np.zeros((2, 1, 2), bool))
  off, off_7 = np.array([0.0, shift]), np.array([0.0, shift, 0, 0, 0, 0, np.pi / 6])
  two = lambda x: np.concatenate([x, x + 100], 2)  # noqa: E731
  return {
    "boxes": idle | there | free | dict(truth_BxTxKx7=truth, place_BxTxNx7=two(truth + off_7)),
    "elements": idle | there | free | dict(truth_BxTxKxPx2=line, place_BxTxNxPx2=two(line + off)),
  }


@pytest.mark.parametrize(
  ("shift", "boxes", "lines"), [(0, 1, 1), (0.7, 0.75, 2 / 3), (3, 0.25, 0), (5, 0, 0)]
)
def test_average_precision_falls_with_the_thresholds_that_are_missed(shift, boxes, lines):
  names = {"boxes": ("a", "b"), "elements": ("a", "b")}
  found = split_metrics.precisions(_answers(shift, 0), names, np.ones(2, bool))
  assert (found["boxes_mAP"], found["elements_mAP"]) == (pytest.approx(boxes), pytest.approx(lines))
  assert list(found["boxes_AP"]) == ["a"]  # no b is there to be found
  errors = [shift, 0, np.pi / 6] if shift < 2 else [1, 1, 1]
  names_of = [f"boxes_{name}_error" for name in ("translation", "scale", "orientation")]
  assert [found[name] for name in names_of] == pytest.approx(errors)
  score = (5 * boxes + sum(1 - error for error in errors)) / 8
  assert found["boxes_NDS_of_three"] == pytest.approx(score)
  wrong = split_metrics.precisions(_answers(shift, 1), names, np.ones(2, bool))
  assert (wrong["boxes_mAP"], wrong["elements_mAP"]) == (0, 0)


def test_intersections_calibration_and_the_worst_clips_by_hand():
  metrics = {
    "x": (np.array([1.0, 9.0, 4.0]), np.array([1.0, 3.0, 0.0])),
    "x_error": (np.array([2.0, 2.0, 2.0]), np.array([1.0, 2.0, 0.0])),
    "x_iou": (np.array([[1.0, 0, 0]] * 3), np.array([[2.0, 1, 0]] * 3)),
    "x_stated": (np.array([[1.0, 0], [1, 0], [0, 0]]), np.array([[1.0, 1], [1, 1], [0, 0]])),
  }
  found = split_metrics.means(metrics, np.array([True, True, True]))
  assert found == {"x": 3.5, "x_error": 2.0, "x_mIoU": 0.25, "x_calibration_error": 0.5}
  assert split_metrics.means(metrics, np.array([False, False, True]))["x"] is None
  spans = split_metrics.intervals(metrics, np.ones(3, bool), np.array([7, 8, 8]))
  assert spans.keys() == {"x", "x_error"} and spans["x"][0] < 2.5 < spans["x"][1]
  assert split_metrics.intervals(metrics, np.ones(3, bool), np.array([7, 7, 7]))["x"] is None
  labels = {"scene": np.array([7, 8, 9]), "domain": np.array([0, 1, 0])}
  worst = split_metrics.worst(metrics, ["x"], labels, ("a", "b"), 5)
  assert worst == {
    "x": [
      {"clip": 1, "scene": 8, "domain": "b", "loss": 3.0, "x_error": 1.0},
      {"clip": 0, "scene": 7, "domain": "a", "loss": 1.0, "x_error": 2.0},
    ]
  }
