"""Curricula: what a file may say, which commands come of it, and what gates on numbers find."""

import functools
import json
import pathlib
import runpy

import flax.linen as nn
import jax
import numpy as np
import pytest

from data.clips import ClipConfig
from data.errors import BadInput
from experiments import curriculum_stages as chain
from experiments import start
from experiments.config import from_dict
from experiments.program import LASTING, LastingFault, exit_code
from experiments.task import make_task

FILE = "experiments/configs/curriculum.py"
COMPRESSION = "experiments/configs/compression.py"
BEGUN = dict(name="one", config="a.py", start="", changes={}, entry=(), exit=())


def written(tmp_path, *stages) -> str:
  path = tmp_path / "chain.py"
  path.write_text(f"def stages(variant):\n  return {list(stages)!r}\n")
  return str(path)


def configured(stage: chain.Stage):
  """The stage's configuration; a changed key that is none of it raises KeyError."""
  path, _, which = stage.config.partition(":")
  values = runpy.run_path(path)["get_config"](which).to_dict()
  for key, value in stage.changes.items():
    *groups, last = key.split(".")
    at = functools.reduce(lambda tree, group: tree[group], groups, values)
    at[last] = type(at[last])(value)
  return from_dict(values)


@pytest.mark.parametrize("variant", ["", "motion:tiny", "clips", "clips:tiny"])
def test_the_stages_of_the_examples_can_be_configured(variant):
  assert all(configured(stage) for stage in chain.read(f"{FILE}:{variant}"))


@pytest.mark.parametrize("variant", ["", "tiny"])
def test_the_chain_that_ends_on_a_vehicle_prunes_what_it_follows_and_exports_what_is_left(variant, tmp_path):
  whole, *pruned, vehicle = chain.read(f"{COMPRESSION}:{variant}")
  sizes = [(c.model.hidden or 4 * c.model.width) for c in map(configured, [whole, *pruned])]
  assert sorted(sizes, reverse=True) == sizes and len(set(sizes)) == len(sizes) == 3
  work, dataset = tmp_path / "work", tmp_path / "set"
  for stage in pruned:
    command = chain.command(stage, work, dataset)
    assert f"--config.loss.teacher={work / 'whole'}" in command.argv
  command = chain.command(vehicle, work, dataset)
  assert command.argv[:3] == ("export.build", f"--run={work / pruned[-1].name}", f"--dataset={dataset}")
  assert command.outputs == (work / "vehicle",) and work / pruned[-1].name / "result.json" in command.inputs


def test_a_gate_reads_what_an_export_lost(tmp_path):
  (tmp_path / "out").mkdir()
  row = {"metric": 2.5, "metric_fp32": 2.4, "relative_l2": 0.02}
  (tmp_path / "out" / "manifest.json").write_text(json.dumps({"targets": {"onnx_int8": row}}))
  stage = chain.Stage(
    "out", chain.EXPORT, "one", {}, (), ({"value": "onnx_int8/relative_l2", "below": 0.01},)
  )
  with pytest.raises(LastingFault, match=r"onnx_int8/relative_l2 of out is 0\.0200, not below 0\.01"):
    chain.judge(stage, "exit", tmp_path, "tune")
  assert chain.outcome(stage, tmp_path) == "held-out loss of artifacts: onnx_int8 2.5000 (float 2.4000)"
  assert chain.summary([stage], tmp_path)["out"]["row"]["onnx_int8"] == row


def test_the_encoder_is_carried_from_pixels_to_the_policy():
  """All of it, but for the raster's part where multi_task, which may not see the raster, lies between."""
  clips = ClipConfig(
    rig="pair", steps=2, step_seconds=0.5, image_height=16, image_width=32, beams=4, azimuths=16, grid=16, cell_m=2.0,
    rear_m=8.0, boxes=2, futures=2, elements=2, element_points=2,
  )  # fmt: skip
  shapes, weights = {}, {}
  for stage in (stage for stage in chain.read(f"{FILE}:clips:tiny") if not stage.named):
    config = configured(stage)
    task = make_task(config, clips, 2)
    empty = {name: np.zeros((2, *shape), dtype) for name, (shape, dtype) in clips.spec.items()}
    batch = task.to_batch({name: empty[name] for name in task.fields})
    shapes[stage.name] = nn.unbox(jax.eval_shape(task.init, jax.random.key(0), batch)["params"])
    weights[stage.name] = task.weights(shapes[stage.name])
    if stage.start:
      carried = start.compare(shapes[stage.name], weights[stage.start], "refuse")
      trunk = [name for name in carried.carried if "/trunk/" in name]
      sensors = {name.split("/")[1] for name in carried.carried} - {"trunk"}
      assert trunk and sensors >= {"ego", "lidar", "camera"}
      fresh = [name for name in carried.fresh if name.split("/")[0] in ("encoder", "perception")]
      assert {name.split("/")[1] for name in fresh} == ({"raster"} if stage.name == "world_model" else set())


def test_a_mistyped_variant_is_named():
  with pytest.raises(BadInput, match="did you mean 'clips:tiny'"):
    chain.read(f"{FILE}:clips:tyni")


@pytest.mark.parametrize(
  ("changes", "words"),
  [
    (dict(name="one"), "name is 'one'"),
    (dict(start="later"), "'later' is no earlier stage; choose one of one"),
    (dict(changes={"loss.teacher": "{two}"}), "'two' is no earlier stage"),
    (dict(exit=({"slice": "domain=a", "than": "zero", "by": 0.1},)), "'zero' is no earlier stage"),
    (dict(exit=({"value": "loss", "under": 3},)), "is no gate"),
    (dict(entry=({"value": "loss", "below": 3},)), "entry gate without a stage"),
    (dict(exit=({"value": "loss", "below": 3, "probe": "speed"},)), "is no gate"),
    (dict(changes=3), "changes is 3"),
    (dict(steps=3), "unknown key 'steps'"),
    (dict(config="export.build"), "an export of no run"),
  ],
)
def test_what_is_wrong_with_a_stage_is_named(tmp_path, changes, words):
  with pytest.raises(BadInput, match=words):
    chain.read(written(tmp_path, BEGUN, BEGUN | dict(name="two") | changes))


def test_a_file_without_stages_is_named(tmp_path):
  (tmp_path / "chain.py").write_text("")
  for path, words in (("chain.py", "holds no stages"), ("absent.py", "holds no stages")):
    with pytest.raises(BadInput, match=words):
      chain.read(str(tmp_path / path))
  with pytest.raises(BadInput, match="holds no stage"):
    chain.read(written(tmp_path))


def test_a_stage_is_a_training_command_that_hangs_on_what_it_begins_with(tmp_path):
  changes = {"tokens": 5, "loss.teacher": "{one}"}
  two = chain.read(written(tmp_path, BEGUN, BEGUN | dict(name="two", start="one", changes=changes)))[1]
  work, dataset = tmp_path / "work", tmp_path / "set"
  command = chain.command(two, work, dataset)
  assert set(command.argv) == {
    "experiments.train", "--config=a.py", f"--workdir={work / 'two'}", "--config.tokens=5",
    f"--config.start.run={work / 'one'}", f"--config.loss.teacher={work / 'one'}",
    f"--config.data.dataset={dataset}",
  }  # fmt: skip
  assert work / "one" / "result.json" in command.inputs and dataset / "dataset.json" in command.inputs
  before = command.fingerprint()
  (work / "one").mkdir(parents=True)
  (work / "one" / "result.json").write_text("{}")
  assert command.fingerprint() != before, "other weights to begin with make it another stage"


def judged(tmp_path, gate, when="exit"):
  (tmp_path / "one").mkdir(exist_ok=True)
  row = {"loss": 2.5, "loss_by_slice": {"probe/yaw": 0.7}, "device": "cpu"}
  (tmp_path / "one" / "result.json").write_text(json.dumps(row))
  stage = chain.Stage("two", "a.py", "one", {}, (gate,), ()) if when == "entry" else None
  chain.judge(stage or chain.Stage("one", "a.py", "", {}, (), (gate,)), when, tmp_path, "tune")


def test_an_open_gate_lets_through_and_is_written_down(tmp_path):
  judged(tmp_path, {"value": "loss", "below": 3})
  judged(tmp_path, {"value": "loss_by_slice/probe/yaw", "above": 0.6}, "entry")
  found = json.loads(pathlib.Path(tmp_path / "gates" / "one.exit.json").read_text())["found"]
  assert found == {"loss below 3": {"open": True, "says": "loss of one is 2.5000, below 3"}}


def test_a_gate_compares_with_another_number_of_the_row(tmp_path):
  judged(tmp_path, {"value": "loss", "above": "loss_by_slice/probe/yaw"})
  says = r"loss of one is 2\.5000, not below loss_by_slice/probe/yaw \(0\.7000\)"
  with pytest.raises(LastingFault, match=says):
    judged(tmp_path, {"value": "loss", "below": "loss_by_slice/probe/yaw"})
  with pytest.raises(BadInput, match="'loss_by_slice/straight' is no number there"):
    judged(tmp_path, {"value": "loss", "below": "loss_by_slice/straight"})


def test_a_gate_that_opened_is_judged_again_when_what_it_looked_at_changes(tmp_path, monkeypatch):
  judged(tmp_path, {"value": "loss", "below": 3})
  monkeypatch.setattr(chain, "_value", lambda *_: pytest.fail("judged again"))
  judged(tmp_path, {"value": "loss", "below": 3})
  monkeypatch.undo()
  (tmp_path / "one" / "result.json").write_text('{"loss": 3.5}')
  stage = chain.Stage("one", "a.py", "", {}, (), ({"value": "loss", "below": 3},))
  for _ in range(2):  # a closed one, every time
    with pytest.raises(LastingFault, match="not below 3"):
      chain.judge(stage, "exit", tmp_path, "tune")


@pytest.mark.parametrize("when", ["entry", "exit"])
def test_a_closed_gate_ends_the_chain_with_a_sentence(tmp_path, when):
  with pytest.raises(LastingFault, match=r"loss of one is 2\.5000, not below 2") as error:
    judged(tmp_path, {"value": "loss", "below": 2}, when)
  assert exit_code(error.value) == LASTING


def collapsed(tmp_path) -> None:
  """A finished run whose loss is the distance to its own teacher."""
  (tmp_path / "one").mkdir()
  (tmp_path / "dataset.json").write_text(json.dumps({"domains": ["rural"]}))
  (tmp_path / "one" / "config.json").write_text(json.dumps({"data": {"dataset": str(tmp_path)}}))
  slices = {"rural": 0.01, "feature_rank": 1.0}
  row = {
    "objective": "jepa",
    "loss": 0.01,
    "loss_ranks": False,
    "loss_by_slice": slices,
    "probes": {"yaw": 0.2},
  }
  (tmp_path / "one" / "result.json").write_text(json.dumps(row))


@pytest.mark.parametrize("value", ["loss", "loss_by_slice/rural"])
def test_a_loss_that_rewards_collapse_opens_no_gate(tmp_path, value):
  collapsed(tmp_path)
  stage = chain.Stage("one", "a.py", "", {}, (), ({"value": value, "below": 1.0},))
  with pytest.raises(BadInput, match=r'the loss of jepa falls when features collapse.*gate "probes/'):
    chain.judge(stage, "exit", tmp_path, "tune")


@pytest.mark.parametrize("value", ["probes/yaw", "loss_by_slice/feature_rank"])
def test_what_collapse_makes_worse_may_be_gated(tmp_path, value):
  collapsed(tmp_path)
  stage = chain.Stage("one", "a.py", "", {}, (), ({"value": value, "above": 1.5},))
  with pytest.raises(LastingFault, match=rf"{value} of one is .*, not above 1\.5"):
    chain.judge(stage, "exit", tmp_path, "tune")


def test_a_stage_that_is_taught_enters_by_what_its_teacher_reached(tmp_path):
  two = dict(name="two", changes={"loss.teacher": "{one}"}, entry=({"value": "loss", "below": 2},))
  stage = chain.read(written(tmp_path, BEGUN, BEGUN | two))[1]
  (tmp_path / "one").mkdir()
  (tmp_path / "one" / "result.json").write_text('{"loss": 2.5}')
  with pytest.raises(LastingFault, match=r"entry of stage two: loss of one is 2\.5000, not below 2"):
    chain.judge(stage, "entry", tmp_path, "tune")


@pytest.mark.parametrize("value", ["lost", "device", "loss_by_slice/none"])
def test_a_gate_on_nothing_is_refused(tmp_path, value):
  with pytest.raises(BadInput, match="is no number there"):
    judged(tmp_path, {"value": value, "below": 2})
