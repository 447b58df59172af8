"""Files for clouds: what they say of a trial, and that nothing unknown gets into them."""

import copy
import dataclasses
import math
import pathlib
import re
import shlex
import subprocess
import sys

import pytest
import yaml

from data.errors import BadInput
from scaling.planning import slices
from scaling.sweeps import cloud, jobset, points, skypilot, tpu_names, trials
from scaling.sweeps.schema_check import check

REPOSITORY = pathlib.Path(__file__).resolve().parents[3]
CONFIG = "experiments/configs/motion_demo.py"
ASKED = cloud.Asked("a-bucket", "registry/image:1", "a-queue")
SLICE = points.Resources("v6e", "4x4", 4)
DOCUMENTS = {"skypilot": skypilot.SCHEMA, "jobset": jobset.SCHEMA}


def expand(resources: points.Resources | None = SLICE, **about) -> list[trials.Trial]:
  given = [{"seed": seed} | {f"trial.{name}": value for name, value in about.items()} for seed in (1, 2)]
  return trials.expand(CONFIG, "tiny", {}, "experiments.train", given, resources)


@pytest.fixture(autouse=True)
def in_the_repository(monkeypatch):
  monkeypatch.chdir(REPOSITORY)


def rendered(engine: str, root: pathlib.Path, **about) -> tuple[trials.Trial, dict]:
  one, _ = expand(**about)
  cloud.render(engine, expand(**about), root, ASKED)
  return one, cloud.read(engine, root / engine / f"{one.trial_id}.yaml")


@pytest.mark.parametrize("engine", DOCUMENTS)
def test_one_file_a_trial_from_the_same_trials(engine, tmp_path):
  said = cloud.render(engine, expand(), tmp_path, ASKED)
  assert "Nothing was started" in said and "2 files" in said
  assert ("JobSet 0.10 or newer" in said and "counts as a fault" in said) == (engine == "jobset")
  assert trials.read_trials(tmp_path / "trials.jsonl") == expand()
  names = {path.stem for path in (tmp_path / engine).iterdir()}
  assert names == {trial.trial_id for trial in expand()}
  assert all("&id" not in path.read_text() for path in (tmp_path / engine).iterdir())  # no YAML references
  before = {path: path.read_bytes() for path in tmp_path.rglob("*.yaml")}
  cloud.render(engine, expand(), tmp_path, ASKED)
  assert before == {path: path.read_bytes() for path in tmp_path.rglob("*.yaml")}
  cloud.render(engine, expand()[:1], tmp_path, ASKED)
  assert [path.stem for path in (tmp_path / engine).iterdir()] == [expand()[0].trial_id]


def test_a_managed_job_recovers_from_spot_and_retries_faults(tmp_path):
  trial, task = rendered("skypilot", tmp_path, retries=5)
  assert task["resources"] == {
    "infra": "gcp", "accelerators": "tpu-v6e-16", "use_spot": True,
    "job_recovery": {"max_restarts_on_errors": 5, "recover_on_exit_codes": [42]},
  }  # fmt: skip
  words = shlex.split(task["run"])
  assert words[1:3] == ["-m", "experiments.train"]
  assert set(trial.arguments("/sweep")) <= set(words)
  # Written as it is made, not at the end.
  mounted = {"source": "gs://a-bucket", "store": "gcs", "mode": "MOUNT"}
  assert task["file_mounts"] == {"/sweep": mounted}
  assert (task["workdir"], task["setup"]) == (".", skypilot.SETUP)


def test_the_setup_installs_what_a_trial_imports_from_wheels_alone():
  """Every requirement file that it names exists; what is published as source only is named, nothing else is."""
  files = re.findall(r"-r (\S+)", skypilot.SETUP)
  texts = [(REPOSITORY / name).read_text() for name in files]
  packages = {package for text in texts for package in re.findall(r"^([-a-z0-9]+)==", text, re.MULTILINE)}
  assert {"jax", "jaxlib", "flax", "optax", "ml-collections", "libtpu", "setuptools"} <= packages
  assert files[0] == "requirements/build.txt"  # builds what the next line builds
  sources = set(re.findall(r"--no-binary (\S+)", skypilot.SETUP))
  assert sources == {"promise"} == packages & {"promise", "connection-pool"}


def test_the_setup_is_a_script_that_gives_pip_these_arguments(tmp_path):
  """Run by the shell, with programs that only show how they were called."""
  for name in ("python3", "uv"):
    (tmp_path / name).write_text('#!/bin/sh\necho "$(basename "$0") $*"\n')
    (tmp_path / name).chmod(0o755)
  paths = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
  done = subprocess.run(["bash", "-c", skypilot.SETUP], env=paths, capture_output=True, text=True, check=True)
  calls = [call.split() for call in done.stdout.splitlines() if call.startswith("uv pip install")]
  assert len(calls) == 2
  for call in calls:
    assert {"--require-hashes", "--no-deps", "--only-binary"} <= set(call)
    assert call[call.index("--only-binary") + 1] == ":all:"
  assert calls[1][-4:] == ["-r", "requirements/base.txt", "-r", "requirements/tpu.txt"]


def test_the_script_gives_every_machine_of_a_pod_its_place(tmp_path):
  """The script itself, run here by the shell that a cloud would run it with; the program only shows its arguments."""
  _, task = rendered("skypilot", tmp_path, max_hours=2)
  (tmp_path / ".venv" / "bin").mkdir(parents=True)
  program = tmp_path / ".venv" / "bin" / "python"
  program.write_text(f"#!{sys.executable}\nimport sys\nprint(sys.argv[-3:])\n")
  program.chmod(0o755)
  nodes = {"SKYPILOT_NODE_IPS": "10.0.0.1\n10.0.0.2", "SKYPILOT_NODE_RANK": "1", "PATH": "/usr/bin:/bin"}
  done = subprocess.run(
    ["bash", "-c", task["run"]], cwd=tmp_path, env=nodes, capture_output=True, text=True, check=True
  )
  assert done.stdout.strip() == "['--coordinator=10.0.0.1:8476', '--processes=4', '--process=1']"
  assert task["run"].startswith("timeout --signal=TERM 7200 ")


def test_a_slice_of_one_machine_needs_no_coordinator(tmp_path):
  single = points.Resources("v5e", "2x4", 1)
  (one,) = expand(single)[:1]
  slice_ = tpu_names.name(single, "here")
  assert "coordinator" not in skypilot.render(one, slice_, "bucket")["run"]
  assert "coordinator" not in str(jobset.render(one, slice_, "bucket", "image", "queue"))


def test_a_dollar_in_an_argument_stays_one(tmp_path):
  one = dataclasses.replace(expand()[0], argv=("--config=a.py", "--config.x=$(HOME) `id` 'q'"))
  slice_ = tpu_names.name(SLICE, "here")
  assert "--config.x=$(HOME) `id` 'q'" in shlex.split(skypilot.render(one, slice_, "b")["run"])
  made = jobset.render(one, slice_, "b", "i", "q")
  pod = made["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]
  assert "--config.x=$$(HOME) `id` 'q'" in pod["containers"][0]["command"]


def places(node, path=()):
  """Paths to every object in a document."""
  if isinstance(node, dict):
    yield path
  for key, value in (
    node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
  ):
    yield from places(value, (*path, key))


@pytest.mark.parametrize("engine", DOCUMENTS)
def test_an_unknown_key_at_any_depth_is_an_error(engine, tmp_path):
  _, document = rendered(engine, tmp_path, max_hours=1)
  check(document, DOCUMENTS[engine], "here")
  found = list(places(document))
  assert len(found) > 4
  for path in found:
    spoilt = copy.deepcopy(document)
    at = spoilt
    for part in path:
      at = at[part]
    at["unknown_key"] = 1
    with pytest.raises(BadInput, match=r"unknown key '.*unknown_key'"):
      check(spoilt, DOCUMENTS[engine], "here")


@pytest.mark.parametrize("engine", DOCUMENTS)
def test_every_key_is_needed_or_known_to_be_optional(engine, tmp_path):
  _, document = rendered(engine, tmp_path, max_hours=1)
  optional = {"activeDeadlineSeconds", "ports", "cloud.google.com/gke-spot", "google.com/tpu", "bucketName"}
  optional |= {"onJobFailureMessagePatterns"}
  for path in places(document):
    at = document
    for part in path:
      at = at[part]
    for key in list(at):
      if key not in optional | {jobset.FUSE}:
        value = at.pop(key)
        with pytest.raises(BadInput):
          check(document, DOCUMENTS[engine], "here")
        at[key] = value


def test_a_misspelt_key_gets_its_neighbour(tmp_path):
  one, document = rendered("skypilot", tmp_path)
  path = tmp_path / "skypilot" / f"{one.trial_id}.yaml"
  path.write_text(path.read_text().replace("recover_on_exit_codes", "recover_on_exit_code"))
  with pytest.raises(
    BadInput, match=r"resources.job_recovery.recover_on_exit_code'; did you mean 'recover_on_exit_codes'"
  ):
    cloud.read("skypilot", path)
  path.write_text(yaml.safe_dump(document | {"num_nodes": 2}))
  with pytest.raises(BadInput, match="num_nodes"):
    cloud.read("skypilot", path)
  path.write_text("!!python/object/apply:os.getpid []")
  with pytest.raises(BadInput, match="is no YAML"):
    cloud.read("skypilot", path)


@pytest.mark.parametrize(
  ("resources", "gke", "pod", "chips"),
  [
    ("v5e:16x16:64", "tpu-v5-lite-podslice", "tpu-v5litepod-256", 4),
    ("v5e:2x4:1", "tpu-v5-lite-podslice", "tpu-v5litepod-8", 8),
    ("v5p:2x2x1:1", "tpu-v5p-slice", "tpu-v5p-8", 4),
    ("v5p:4x4x4:16", "tpu-v5p-slice", "tpu-v5p-128", 4),
    ("v6e:1x1:1", "tpu-v6e-slice", "tpu-v6e-1", 1),
    ("v6e:4x4:4", "tpu-v6e-slice", "tpu-v6e-16", 4),
  ],
)
def test_slices_have_the_names_that_the_clouds_know(resources, gke, pod, chips):
  slice_ = tpu_names.name(points.parse_resources(resources), "here")
  assert (slice_.gke, slice_.pod, slice_.chips) == (gke, pod, chips)


@pytest.mark.parametrize(
  ("resources", "words"),
  [
    ("v7:4x4:4", "here: no chip 'v7'; choose v[56][ep]:4x4"),
    ("v6e:4x4x4:16", "no slice '4x4x4' of v6e; did you mean v6e:[48]x8"),
    ("v6e:four:4", "no slice 'four' of v6e; did you mean v6e:16x16"),
    ("v5e:3x4:3", "no slice '3x4' of v5e; did you mean v5e:"),
    ("v5e:1x16:4", "no slice '1x16' of v5e; did you mean v5e:2x4"),
    ("v5e:1x8:1", "no slice '1x8' of v5e; did you mean v5e:2x4"),
    ("v6e:32x32:256", "no slice '32x32' of v6e; did you mean v6e:16x16"),
    ("v5p:3x5x4:15", "no slice '3x5x4' of v5p; did you mean v5p:4x4x4"),
    ("v5p:1x1x4:1", "no slice '1x1x4' of v5p; did you mean v5p:2x2x1"),
    ("v6e:1x3:1", "no slice '1x3' of v6e; did you mean v6e:2x2"),
    ("v6e:4x4:3", "16 chips, which 3 machines cannot hold; set hosts to 4$"),
    ("v6e:4x4:1", "set hosts to 4$"),
    ("v6e:2x4:8", "set hosts to 2 or 1$"),
    ("v6e:2x2:2", "set hosts to 1$"),
    ("v5p:2x2x2:1", "set hosts to 2$"),
    ("v5e:1x1:4", "set hosts to 1$"),
  ],
)
def test_slices_without_machines_are_refused(resources, words):
  with pytest.raises(BadInput, match=words):
    tpu_names.name(points.parse_resources(resources), "here")


@pytest.mark.parametrize("kind", slices.CHIPS)
def test_every_slice_that_can_be_planned_for_has_a_name_and_machines(kind):
  assert list(tpu_names.NAMES) == list(slices.CHIPS)
  for shape in slices.known(kind):
    chips, topology = math.prod(shape), "x".join(map(str, shape))
    slice_ = tpu_names.name(points.Resources(kind, topology, max(1, chips // 4)), "here")
    assert slice_.hosts * slice_.chips == chips


@pytest.mark.parametrize(
  ("engine", "asked", "words"),
  [
    ("skypilot", cloud.Asked("", "", ""), "--bucket: is missing"),
    ("skypilot", cloud.Asked("gs://b", "", ""), "--bucket: is 'gs://b'"),
    ("jobset", cloud.Asked("bucket", "", "q"), "--image: is missing"),
    ("jobset", cloud.Asked("bucket", "image", "Q!"), "--queue: is 'Q!'"),
  ],
)
def test_what_a_cloud_needs_is_asked_for_before_anything_is_written(engine, asked, words, tmp_path):
  with pytest.raises(BadInput, match=words):
    cloud.render(engine, expand(), tmp_path / "w", asked)
  with pytest.raises(BadInput, match="names no resources"):
    cloud.render(engine, expand(None), tmp_path / "w", ASKED)
  assert not (tmp_path / "w").exists()


def test_a_config_that_a_cloud_would_not_have_is_refused(tmp_path):
  path = tmp_path / "config.py"
  path.write_text(
    f"import runpy\nget_config = lambda v='': runpy.run_path({CONFIG!r})['get_config']('tiny')\n"
  )
  given = trials.expand(str(path), "", {}, "experiments.train", [{"seed": 1}], SLICE)
  with pytest.raises(BadInput, match="lies outside the repository"):
    cloud.render("skypilot", given, tmp_path / "w", ASKED)


def test_skypilot_reads_what_was_rendered(tmp_path):
  sky = pytest.importorskip("sky", reason="SkyPilot is not installed (requirements/clouds.txt)")
  one, _ = rendered("skypilot", tmp_path)
  task = sky.Task.from_yaml(str(tmp_path / "skypilot" / f"{one.trial_id}.yaml"))
  (resources,) = task.resources
  assert resources.accelerators == {"tpu-v6e-16": 1} and resources.use_spot
  assert resources.job_recovery["recover_on_exit_codes"] == [42]
