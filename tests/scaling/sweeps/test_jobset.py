"""A trial as a JobSet: what it does about each way in which a machine can end, and what each machine runs."""

import pathlib
import re

import pytest

from data.errors import BadInput
from scaling.sweeps import cloud, points, trials

REPOSITORY = pathlib.Path(__file__).resolve().parents[3]
CONFIG = "experiments/configs/motion_demo.py"
ASKED = cloud.Asked("a-bucket", "registry/image:1", "a-queue")
SLICE = points.Resources("v6e", "4x4", 4)


def rendered(root: pathlib.Path, resources: points.Resources = SLICE, **about) -> tuple[trials.Trial, dict]:
  given = [{"seed": 1} | {f"trial.{name}": value for name, value in about.items()}]
  (one,) = trials.expand(CONFIG, "tiny", {}, "experiments.train", given, resources)
  cloud.render("jobset", [one], root, ASKED)
  return one, cloud.read("jobset", root / "jobset" / f"{one.trial_id}.yaml")


@pytest.fixture(autouse=True)
def in_the_repository(monkeypatch):
  monkeypatch.chdir(REPOSITORY)


def becomes_of_it(made: dict, end: int | str) -> str:
  """What a JobSet does about the first pod that ends so: an exit code, "evicted" (SIGKILL, with the condition of that)
  or "overdue". The messages are those of Kubernetes' Job controller.
  """
  job = made["spec"]["replicatedJobs"][0]["template"]["spec"]
  reason, message = "BackoffLimitExceeded", "Job has reached the specified backoff limit"
  if end == "overdue":
    assert job["activeDeadlineSeconds"]
    reason, message = "DeadlineExceeded", "Job was active longer than specified deadline"
  for index, rule in enumerate([] if end == "overdue" else job["podFailurePolicy"]["rules"]):
    matching = f"matching {rule['action']} rule at index {index}"
    pod = f"default/{made['metadata']['name']}-trial-0-1-exit-code-2"
    if (137 if end == "evicted" else end) in rule.get("onExitCodes", {"values": []})["values"]:
      reason, message = (
        "PodFailurePolicy",
        f"Container trial for pod {pod} failed with exit code {end} {matching}",
      )
      break
    if end == "evicted" and {"type": "DisruptionTarget", "status": "True"} in rule.get("onPodConditions", []):
      reason, message = "PodFailurePolicy", f"Pod {pod} has condition DisruptionTarget {matching}"
      break
  for rule in made["spec"]["failurePolicy"]["rules"]:
    patterns = rule.get("onJobFailureMessagePatterns", [""])
    if reason in rule["onJobFailureReasons"] and any(re.search(pattern, message) for pattern in patterns):
      return rule["action"]
  return "RestartJobSet"


@pytest.mark.parametrize(
  ("end", "action"),
  [
    (2, "FailJobSet"),
    (3, "FailJobSet"),
    ("overdue", "FailJobSet"),
    (42, "RestartJobSetAndIgnoreMaxRestarts"),
    ("evicted", "RestartJobSetAndIgnoreMaxRestarts"),
    (1, "RestartJobSet"),  # counted against trial.retries
    (23, "RestartJobSet"),
    (134, "RestartJobSet"),  # how a process ends whose peers are gone
  ],
)
@pytest.mark.parametrize("slice_", [SLICE, points.Resources("v5e", "2x4", 1)])
def test_what_becomes_of_a_jobset_is_told_by_how_its_first_pod_ended(end, action, slice_, tmp_path):
  _, made = rendered(tmp_path, slice_, max_hours=2)
  assert becomes_of_it(made, end) == action


def test_without_the_patterns_a_jobset_would_rather_end_than_go_on_for_ever(tmp_path):
  """A JobSet before 0.10, where a cluster drops the keys that it does not know."""
  _, made = rendered(tmp_path)
  for rule in made["spec"]["failurePolicy"]["rules"]:
    rule.pop("onJobFailureMessagePatterns", None)
  assert becomes_of_it(made, 42) == becomes_of_it(made, 2) == "FailJobSet"


def test_a_jobset_says_what_each_machine_runs_and_for_how_long(tmp_path):
  trial, made = rendered(tmp_path, retries=3, max_hours=2)
  assert made["spec"]["suspend"] is True  # until Kueue admits it
  assert made["metadata"]["annotations"] == {
    "alpha.jobset.sigs.k8s.io/exclusive-topology": "cloud.google.com/gke-nodepool"
  }
  assert made["metadata"]["labels"] == {"kueue.x-k8s.io/queue-name": "a-queue"}
  policy = made["spec"]["failurePolicy"]
  assert policy["maxRestarts"] == 3
  assert [(rule["action"], rule["onJobFailureReasons"]) for rule in policy["rules"]] == [
    ("FailJobSet", ["PodFailurePolicy"]),
    ("FailJobSet", ["DeadlineExceeded"]),
    ("RestartJobSetAndIgnoreMaxRestarts", ["PodFailurePolicy"]),
  ]
  job = made["spec"]["replicatedJobs"][0]["template"]["spec"]
  # No pod is replaced below a Job that goes on: one start is one Job, and the deadline is that of one start.
  assert {rule["action"] for rule in job["podFailurePolicy"]["rules"]} == {"FailJob"}
  assert job["backoffLimit"] == 0 and job["activeDeadlineSeconds"] == 7200
  assert (job["parallelism"], job["completions"]) == (4, 4)
  assert job["template"]["metadata"]["annotations"] == {"gke-gcsfuse/volumes": "true"}
  pod = job["template"]["spec"]
  assert pod["terminationGracePeriodSeconds"] == 120
  assert pod["restartPolicy"] == "Never"  # what podFailurePolicy asks for
  assert pod["nodeSelector"] == {
    "cloud.google.com/gke-tpu-accelerator": "tpu-v6e-slice",
    "cloud.google.com/gke-tpu-topology": "4x4",
    "cloud.google.com/gke-spot": "true",
  }
  container = pod["containers"][0]
  assert (
    container["resources"]["limits"] == {"google.com/tpu": "4"} and container["image"] == "registry/image:1"
  )
  assert container["resources"]["requests"] == container["resources"]["limits"]
  (mount,), (volume,) = container["volumeMounts"], pod["volumes"]
  assert mount == {"name": volume["name"], "mountPath": "/sweep"}
  assert volume["csi"] == {
    "driver": "gcsfuse.csi.storage.gke.io", "volumeAttributes": {"bucketName": "a-bucket"},
  }  # fmt: skip
  name = made["metadata"]["name"]
  assert container["command"][-3:] == [
    f"--coordinator={name}-trial-0-0.{name}:8476", "--processes=4", "--process=$(JOB_COMPLETION_INDEX)",
  ]  # fmt: skip
  assert set(trial.arguments("/sweep")) <= set(container["command"])


@pytest.mark.parametrize(
  ("key", "value", "spoilt"),
  [
    ("podFailurePolicy.rules.0.action", "FailJob", "Ignore"),
    ("failurePolicy.rules.0.action", "FailJobSet", "FailJob"),
    ("failurePolicy.rules.1.onJobFailureReasons.0", "DeadlineExceeded", "Deadline"),
  ],
)
def test_an_unknown_value_is_an_error(key, value, spoilt, tmp_path):
  one, _ = rendered(tmp_path, max_hours=1)
  path = tmp_path / "jobset" / f"{one.trial_id}.yaml"
  path.write_text(re.sub(rf"(?m)(action:|-) {value}$", rf"\1 {spoilt}", path.read_text()))
  with pytest.raises(BadInput, match=re.escape(f"{key}: ")):
    cloud.read("jobset", path)
