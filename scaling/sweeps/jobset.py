"""A trial as a JobSet on a GKE TPU slice, queued by Kueue.

All machines of a slice end together and start again together: the first failure of one fails the Job, and what it was
decides what becomes of the JobSet. Exit code 42 (preempted, saved) and evictions are not counted; 2 (bad input), 3 (a
fault that would come again) and a start longer than trial.max_hours end the trial for good; any other code restarts
it up to trial.retries times. The first failure is what is told apart: where a machine vanishes without warning, the
others may abort before Kubernetes calls it evicted, and that counts as a fault, so leave retries for it.

A failure policy of a Job gives one reason, PodFailurePolicy, whichever rule matched; only the message names the exit
code or condition. So JobSet 0.10 or newer is needed, which can read it (onJobFailureMessagePatterns; KEP-262, story
5, after the messages of Kubernetes' Job controller). Keys of jobset.x-k8s.io/v1alpha2 and batch/v1 (podFailurePolicy
needs restartPolicy Never), the queue's label of Kueue, node labels of GKE.
"""

from typing import Any

from scaling.sweeps.schema_check import COUNT, NATURAL, TEXT, TRUTH, closed, listed, texts
from scaling.sweeps.states import NEVER_AGAIN, PREEMPTED
from scaling.sweeps.tpu_names import Rented
from scaling.sweeps.trials import Trial

MOUNT, VOLUME, NAME = "/sweep", "sweep", "trial"
PORT = 8476
GRACE_SECONDS = 120  # between SIGTERM and SIGKILL: time to save
QUEUE = "kueue.x-k8s.io/queue-name"
EXCLUSIVE = "alpha.jobset.sigs.k8s.io/exclusive-topology"  # one trial per node pool, that is per slice
FUSE = "gke-gcsfuse/volumes"
CHIP, TOPOLOGY, SPOT = (
  f"cloud.google.com/gke-{name}" for name in ("tpu-accelerator", "tpu-topology", "spot")
)
EVICTED = "DisruptionTarget"  # the condition of a pod whose machine is taken away
LABEL = {"type": "string", "pattern": "^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"}

_POD = closed(
  {
    "restartPolicy": {"const": "Never"},
    "terminationGracePeriodSeconds": COUNT,
    "nodeSelector": closed({CHIP: TEXT, TOPOLOGY: TEXT}, **{SPOT: {"const": "true"}}),
    "containers": listed(
      closed(
        {
          "name": LABEL,
          "image": TEXT,
          "command": listed(TEXT),
          "resources": closed({part: texts("google.com/tpu") for part in ("limits", "requests")}),
          "volumeMounts": listed(closed({"name": LABEL, "mountPath": TEXT})),
        },
        ports=listed(closed({"containerPort": COUNT})),
      )
    ),
    "volumes": listed(
      closed({"name": LABEL, "csi": closed({"driver": TEXT, "volumeAttributes": texts("bucketName")})})
    ),
  }
)
_POD_RULE = closed(
  {"action": {"const": "FailJob"}},  # Ignore would replace one machine's pod below the others
  onExitCodes=closed(
    {"containerName": LABEL, "operator": {"enum": ["In", "NotIn"]}, "values": listed(COUNT)}
  ),
  onPodConditions=listed(closed({"type": TEXT, "status": {"enum": ["True", "False"]}})),
) | {"minProperties": 2, "maxProperties": 2}  # one of the two
_JOB = closed(
  {
    "parallelism": COUNT,
    "completions": COUNT,
    "completionMode": {"const": "Indexed"},
    "backoffLimit": NATURAL,
    "podFailurePolicy": closed({"rules": listed(_POD_RULE)}),
    "template": closed({"metadata": closed({"annotations": texts(FUSE)}), "spec": _POD}),
  },
  activeDeadlineSeconds=COUNT,
)
SCHEMA = closed(
  {
    "apiVersion": {"const": "jobset.x-k8s.io/v1alpha2"},
    "kind": {"const": "JobSet"},
    "metadata": closed(
      {"name": LABEL, "labels": closed({QUEUE: LABEL}), "annotations": closed({EXCLUSIVE: TEXT})}
    ),
    "spec": closed(
      {
        "suspend": TRUTH,
        "failurePolicy": closed(
          {
            "maxRestarts": NATURAL,
            "rules": listed(
              closed(
                {
                  "name": {"type": "string", "pattern": "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$"},
                  "action": {"enum": ["FailJobSet", "RestartJobSet", "RestartJobSetAndIgnoreMaxRestarts"]},
                  "onJobFailureReasons": listed(
                    {"enum": ["BackoffLimitExceeded", "DeadlineExceeded", "PodFailurePolicy"]}
                  ),
                },
                onJobFailureMessagePatterns=listed(TEXT),
              )
            ),
          }
        ),
        "replicatedJobs": listed(
          closed({"name": LABEL, "replicas": COUNT, "template": closed({"spec": _JOB})})
        ),
      }
    ),
  }
)


def render(trial: Trial, slice_: Rented, bucket: str, image: str, queue: str) -> dict[str, Any]:
  """The JobSet of one trial; its run directory lies in the bucket, where the next pods find it."""
  name = f"trial-{trial.trial_id}"
  # Kubernetes would replace $(NAME) in a command.
  command = ["python", "-m", trial.module, *(a.replace("$(", "$$(") for a in trial.arguments(MOUNT))]
  if slice_.hosts > 1:
    command.append(f"--coordinator={name}-{NAME}-0-0.{name}:{PORT}")
    command += [f"--processes={slice_.hosts}", "--process=$(JOB_COMPLETION_INDEX)"]
  chips = {"google.com/tpu": str(slice_.chips)}
  container = {
    "name": NAME,
    "image": image,
    "command": command,
    "ports": [{"containerPort": PORT}],
    "resources": {"limits": chips, "requests": dict(chips)},
    "volumeMounts": [{"name": VOLUME, "mountPath": MOUNT}],
  }
  fuse = {"driver": "gcsfuse.csi.storage.gke.io", "volumeAttributes": {"bucketName": bucket}}
  pod = {
    "restartPolicy": "Never",
    "terminationGracePeriodSeconds": GRACE_SECONDS,
    "nodeSelector": {CHIP: slice_.gke, TOPOLOGY: slice_.topology, SPOT: "true"},
    "containers": [container],
    "volumes": [{"name": VOLUME, "csi": fuse}],
  }

  def on(*codes: int) -> dict[str, Any]:
    return {
      "action": "FailJob",
      "onExitCodes": {"containerName": NAME, "operator": "In", "values": list(codes)},
    }

  def rule(name: str, action: str, patterns: list[str]) -> dict[str, Any]:
    by_rule = {"onJobFailureReasons": ["PodFailurePolicy"], "onJobFailureMessagePatterns": patterns}
    return {"name": name, "action": action, **by_rule}

  evicted = {"action": "FailJob", "onPodConditions": [{"type": EVICTED, "status": "True"}]}
  job: dict[str, Any] = {
    "parallelism": slice_.hosts,
    "completions": slice_.hosts,
    "completionMode": "Indexed",
    "backoffLimit": 0,  # what is counted is counted by the JobSet, which starts all machines again
    "podFailurePolicy": {"rules": [on(*NEVER_AGAIN), on(PREEMPTED), evicted]},
    "template": {"metadata": {"annotations": {FUSE: "true"}}, "spec": pod},
  }
  if trial.max_hours:
    job["activeDeadlineSeconds"] = round(3600 * trial.max_hours)
  return {
    "apiVersion": "jobset.x-k8s.io/v1alpha2",
    "kind": "JobSet",
    "metadata": {
      "name": name,
      "labels": {QUEUE: queue},
      "annotations": {EXCLUSIVE: "cloud.google.com/gke-nodepool"},
    },
    "spec": {
      "suspend": True,  # until Kueue admits it
      "failurePolicy": {
        "maxRestarts": trial.retries,
        "rules": [  # the first that matches; when none does, a restart that counts
          rule(
            "final", "FailJobSet", [f"failed with exit code {code} matching FailJob" for code in NEVER_AGAIN]
          ),
          {"name": "overdue", "action": "FailJobSet", "onJobFailureReasons": ["DeadlineExceeded"]},
          rule(
            "taken_away",
            "RestartJobSetAndIgnoreMaxRestarts",
            [
              f"failed with exit code {PREEMPTED} matching FailJob",
              f"has condition {EVICTED} matching FailJob",
            ],
          ),
        ],
      },
      "replicatedJobs": [{"name": NAME, "replicas": 1, "template": {"spec": job}}],
    },
  }
