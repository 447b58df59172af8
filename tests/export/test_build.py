"""The program on a run small enough for a test: what it writes, what it refuses, that one failure is one failure."""

import dataclasses
import json
import types

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import pytest
from absl import flags
from absl.testing import flagsaver
from jax.extend.core import Primitive

from data.errors import BadInput
from experiments import program
from experiments import run as runs
from export import build, judge, latency, manifest, recipe_file, smoothing, targets, verdict
from export.recipe import Recipe, Site
from models.layers import weight


class Small(nn.Module):
  """x W."""

  @nn.compact
  def __call__(self, batch):
    return batch["x_BxF"] @ weight(self, "kernel", (4, 3), ("features", "embed"), 4)


strange = Primitive("strange")
strange.def_abstract_eval(lambda x: x)


class Strange(nn.Module):
  """An operator that nobody knows, of x W."""

  @nn.compact
  def __call__(self, batch):
    return strange.bind(Small(name="small")(batch))


SMALL = Small()
RECORDS = [{"x_BxF": np.random.default_rng(i).normal(size=(1, 4)).astype(np.float32)} for i in range(8)]


def small_run(tmp_path, kernel, model):
  """A run as `experiments.run.open_run` opens it, as far as the program looks."""
  params = {"kernel": jnp.full((4, 3), kernel) + jnp.arange(3.0)[None]}
  params = params if isinstance(model, Small) else {"small": params}

  def held_out(params, batch, key):
    y = model.apply({"params": params}, batch)
    domain = jnp.asarray([y.sum(), 0.0]), jnp.asarray([float(y.size), 0.0])
    return {"loss": (y.sum(), y.size), "by_domain": domain}

  (tmp_path / "provenance.json").write_text('{"git_revision": "abc"}')
  return types.SimpleNamespace(
    task=types.SimpleNamespace(model=model, held_out=held_out, ranks=True),
    params=params,
    weights=params,
    row={"run_id": "small", "config_hash": "hash"},
    path=tmp_path,
    dataset=types.SimpleNamespace(fingerprint="data", domains=("town", "none")),
    config=types.SimpleNamespace(data=types.SimpleNamespace(eval_split="val")),
  )


@pytest.fixture
def run_of(monkeypatch, tmp_path):
  """run_of(*flags, kernel=, model=): the program's exit code, the run being the small one."""
  source = tmp_path / "source"
  source.mkdir()

  def start(*argv: str, kernel: float = 1.0, model: nn.Module = SMALL) -> int:
    run = small_run(source, kernel, model)
    monkeypatch.setattr(runs, "open_run", lambda *_: run)
    monkeypatch.setattr(runs, "deployed", lambda run: (run.task.model, run.weights, RECORDS[0]))
    monkeypatch.setattr(judge, "records_of_split", lambda run, split, count: RECORDS[:count])
    return program_of(f"--run={source}", *argv)

  return start


def program_of(*argv: str) -> int:
  values = dict(one.removeprefix("--").split("=", 1) for one in argv)
  with flagsaver.as_parsed(**values):
    flags.FLAGS.mark_as_parsed()
    return build.main()


def planted(write=None, wrap=None):
  """The target onnx_fp32 with another way to be written, or with what it answers changed by wrap(answer)."""
  own = targets.TARGETS["onnx_fp32"]
  opened = own.open if wrap is None else lambda directory, threads: wrap(own.open(directory, threads))
  return dataclasses.replace(own, write=write or own.write, open=opened)


def broken(parts, directory):
  (directory / "half").write_text("half")
  raise RuntimeError("the converter gave up")


def changed(change):
  return lambda answer: lambda record: {name: change(y) for name, y in answer(record).items()}


def tired(answer):
  """Answers the records to judge on and to warm up, and no call that is timed."""
  asked = []

  def ask(record):
    asked.append(record)
    if len(asked) > len(RECORDS) + latency.WARM:
      raise RuntimeError("out of memory")
    return answer(record)

  return ask


FAILING = {
  "stablehlo": (planted(write=broken), "RuntimeError: the converter gave up"),
  "saved_model": (
    planted(wrap=changed(lambda y: y * np.nan)),
    "ValueError: it answers otherwise than it should: inf",
  ),
  "litert_int8": (
    planted(wrap=changed(lambda y: y * 1.0001)),
    "ValueError: it answers otherwise than it should: 0.0001",
  ),
  "onnx_int4": (planted(wrap=tired), "RuntimeError: out of memory"),
  "openvino_int8": (
    dataclasses.replace(planted(), recipe=lambda parts: Recipe({}, {})),
    "ValueError: none of its products is quantised",
  ),
}


def test_a_failed_target_leaves_the_others_valid(run_of, tmp_path, monkeypatch, capsys):
  """Whatever it fails in: writing, answering at all, answering what it must, answering again. One is named twice."""
  for name, (target, _) in FAILING.items():
    monkeypatch.setitem(targets.TARGETS, name, target)
  out = tmp_path / "out"
  chosen = ",".join((*FAILING, "tensorrt_int8", "tensorrt_int8"))
  code = run_of(f"--out={out}", f"--targets={chosen}", "--calls=3", "--smooth=none")
  assert code == program.FAULT
  found = manifest.read(out)
  for name, (_, told) in FAILING.items():
    (failed,) = found["targets"][name].values()
    assert failed.startswith(told)
  assert sorted(path.name for path in out.iterdir()) == ["manifest.json", "tensorrt_int8"]
  own = found["targets"]["tensorrt_int8"]
  assert set(own["files"]) == {"tensorrt_int8/model.onnx"}
  assert own["relative_l2"] <= own["worst_sample"] < 0.05 and own["relative_l2_to_twin"] < 1e-3
  assert own["metric"] == pytest.approx(own["metric_fp32"], rel=0.05)
  assert own["metric_by_slice"] == {"town": own["metric"]}
  taken = own["latency_ms"]
  assert taken["p50"] <= taken["p99"] <= taken["worst"] and taken["calls"] == 3
  assert "p99.9" not in taken  # of three calls
  assert own["machine"]["threads"] == 1 and own["recipe"]["sites"]["kernel"]["bits"] == 8
  assert own["quantised_share"] == 1.0
  assert own["opset"] == 20 and len(own["calibration_fingerprint"]) == 64
  told = {"source_run": "small", "git_revision": "abc", "what": "forward", "records": 8}
  assert told.items() <= found.items() and found["exporter_revision"]
  assert found["weights_fingerprint"] == manifest.weights_fingerprint({"kernel": np.float32([[1, 2, 3]] * 4)})
  assert "stablehlo" in capsys.readouterr().out


def verified(out, source) -> int:
  """The exit code of export.verify."""
  kept = flags.FLAGS["run"]
  from export import verify

  flags.FLAGS["run"] = kept  # as export.build knows it, a list
  with flagsaver.as_parsed(artifact=str(out), run=str(source), records="8"):
    flags.FLAGS.mark_as_parsed()
    return verify.main()


def test_an_export_is_verified_against_its_run(run_of, tmp_path, monkeypatch, capsys):
  """As it was made; with less error claimed than there is; with another artifact in its place; of other weights."""
  out = tmp_path / "out"
  assert run_of(f"--out={out}", "--targets=onnx_fp32,onnx_int8", "--calls=1", "--smooth=none") == 0
  assert verified(out, tmp_path) == 0
  told = json.loads((out / manifest.NAME).read_text())
  worst = told["targets"]["onnx_int8"]["worst_sample"]
  told["targets"]["onnx_int8"]["worst_sample"] = worst / 2
  (out / manifest.NAME).write_text(json.dumps(told))
  assert verified(out, tmp_path) == 1
  assert "onnx_int8 is further from its checkpoint than its manifest says" in capsys.readouterr().out
  small = (out / "onnx_int8/model.onnx").read_bytes()
  (out / "onnx_fp32/model.onnx").write_bytes(small)
  (out / "onnx_int8/model.onnx").write_bytes(b"")
  for name in ("onnx_fp32", "onnx_int8"):
    told["targets"][name]["files"] = manifest.files_of(out / name, out)
  (out / manifest.NAME).write_text(json.dumps(told))
  assert verified(out, tmp_path) == 1
  said = capsys.readouterr().out
  assert "onnx_fp32: it answers otherwise than it should" in said and "onnx_int8 does not open" in said
  other = small_run(tmp_path / "source", 2.0, SMALL)
  monkeypatch.setattr(runs, "open_run", lambda *_: other)
  with pytest.raises(BadInput, match="has other weights than the run that was exported"):
    verified(out, tmp_path)


def test_what_is_measured_is_the_model_before_its_outliers_were_moved(run_of, tmp_path, monkeypatch):
  """A move that multiplies without dividing: the model would be another one, and nothing is written."""
  lost = smoothing.Move((), (("kernel", 0, 0),), (2.0, 1.0, 1.0, 1.0))
  monkeypatch.setattr(smoothing, "plan", lambda *_: [lost])
  with pytest.raises(BadInput, match="change the model: one of its answers is"):
    run_of(f"--out={tmp_path}/out", "--targets=onnx_fp32", "--calls=1")
  assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
  ("notes", "told"), [({"split": "val"}, "the split 'val', to be judged on"), ({}, "nobody")]
)
def test_a_recipe_calibrated_on_what_it_is_judged_on_is_refused(run_of, tmp_path, notes, told):
  recipe_file.keep(tmp_path / "recipe.json", Recipe({"kernel": Site(8, "float")}, notes), [])
  with pytest.raises(BadInput, match=told):
    run_of(f"--out={tmp_path}/out", f"--recipe={tmp_path}/recipe.json")


def test_a_few_records_may_be_rounded_otherwise_but_not_most():
  assert not verdict.untrue([1e-7] * 9 + [5e-2], quantised=True)
  assert "middle record" in verdict.untrue([1e-7] * 4 + [5e-3] * 5, quantised=True)
  assert "in the mean" in verdict.untrue([1e-7] * 9 + [0.5], quantised=True)
  assert "worst record" in verdict.untrue([1e-7] * 9 + [1e-4], quantised=False)


def test_a_graph_that_breaks_tensorrts_rules_is_not_shipped(run_of, tmp_path, monkeypatch):
  """Unsigned recipes in the place of signed ones."""
  prepare = build.prepare

  def unsigned(run):
    parts, records = prepare(run)
    return dataclasses.replace(parts, signed=parts.unsigned), records

  monkeypatch.setattr(build, "prepare", unsigned)
  out = tmp_path / "out"
  run_of(f"--out={out}", "--targets=tensorrt_int8", "--calls=1", "--smooth=none")
  told = json.loads((out / manifest.NAME).read_text())["targets"]["tensorrt_int8"]["failed"]
  assert "TensorRT's rules are broken" in told and "zero point of uint8" in told


@pytest.mark.parametrize(
  "argv, told",
  [
    (["--targets=onnx_int9"], "no target 'onnx_int9'"),
    (["--opset=17"], "no opset 17"),
    (["--method=guess"], "no method 'guess'"),
    (["--calibration_split=val"], "is the split that artifacts are judged on"),
    (["--what=decode_step"], "Small has no step with a cache"),
    (["--sign_key=none.pem"], "is no key to sign with"),
  ],
)
def test_bad_input_is_refused_before_anything_is_written(run_of, tmp_path, argv, told):
  before = sorted(tmp_path.rglob("*"))
  with pytest.raises(BadInput, match=told):
    run_of(f"--out={tmp_path}/deep/out", *argv)
  assert sorted(tmp_path.rglob("*")) in (before, [*before, tmp_path / "source" / "provenance.json"])


def test_weights_that_are_no_numbers_are_refused(run_of, tmp_path):
  with pytest.raises(BadInput, match="weight kernel: holds a number that is not finite"):
    run_of(f"--out={tmp_path}/deep/out", kernel=float("nan"))
  assert not (tmp_path / "deep").exists()


def test_an_operator_that_onnx_lacks_is_refused_by_name(run_of, tmp_path):
  with pytest.raises(BadInput, match=r"no counterpart in ONNX .*strange"):
    run_of(f"--out={tmp_path}/deep/out", "--smooth=none", model=Strange())
  assert not (tmp_path / "deep").exists()


def test_a_directory_that_is_no_run_is_refused(tmp_path):
  with pytest.raises(BadInput, match=r"config\.json"):
    program_of(f"--run={tmp_path}", f"--out={tmp_path}/deep/out")
  assert not (tmp_path / "deep").exists()


def test_a_distance_sees_what_is_possible_and_what_is_not():
  never = np.float32([[-1e9, 1.0, 2.0]])
  assert judge.distance({"y": never * np.float32([[2, 1, 1]])}, {"y": never}) == 0
  for other in ([[5.0, 1, 2]], [[-1e9, -1e9, 2]], [[np.nan, 1, 2]]):
    assert judge.distance({"y": np.float32(other)}, {"y": never}) == np.inf
  assert judge.distance({"y": never}, {"y": np.float32([[np.nan, 1, 2]])}) == np.inf
