"""A trial as a SkyPilot managed job: a spot TPU VM, or a pod of them, that is replaced when it is taken away.

Exit code 42 (preempted, saved) recovers without being counted, all others up to trial.retries times (SkyPilot,
"Recovery on exit codes"). SkyPilot knows no code that is never retried: bad input (2) and lasting faults (3) are met
again, in seconds, until the retries are used up. After trial.max_hours the trial is asked to stop; that counts too.
Keys as SkyPilot 0.14 reads them; its own check lets unknown ones inside job_recovery pass.
"""

import shlex
from typing import Any

from scaling.sweeps.schema_check import NATURAL, TEXT, TRUTH, closed, listed
from scaling.sweeps.states import PREEMPTED
from scaling.sweeps.tpu_names import Rented
from scaling.sweeps.trials import Trial

MOUNT = "/sweep"
PORT = 8476
_EXIT_CODE: dict[str, Any] = {"type": "integer", "minimum": 0, "maximum": 255}
SCHEMA = closed(
  {
    "name": {"type": "string", "pattern": "^[a-z]([-a-z0-9]*[a-z0-9])?$"},
    "workdir": TEXT,
    "num_nodes": {"const": 1},  # a pod of TPU VMs is one node, on every machine of which `run` runs
    "resources": closed(
      {
        "infra": {"const": "gcp"},
        "accelerators": {"type": "string", "pattern": r"^tpu-(v5litepod|v5p|v6e)-[1-9]\d*$"},
        "use_spot": TRUTH,
        "job_recovery": closed(
          {"max_restarts_on_errors": NATURAL, "recover_on_exit_codes": listed(_EXIT_CODE)}
        ),
      }
    ),
    "file_mounts": closed(
      {
        MOUNT: closed(
          {"source": {"type": "string", "pattern": "^gs://[a-z0-9]"}, "store": {"const": "gcs"}}
          | {"mode": {"const": "MOUNT"}}
        )
      }
    ),
    "setup": TEXT,
    "run": TEXT,
  }
)
# As in the Makefile: what is read is what was hashed, and promise, published as source only, is built with the pinned
# setuptools. With libtpu beside it JAX looks for a TPU, as it should here.
SETUP = """\
set -euo pipefail
python3 -m pip install --quiet uv
uv venv --quiet --allow-existing --python 3.12 .venv
install="uv pip install --quiet --python .venv/bin/python --require-hashes --no-deps"
$install --only-binary :all: -r requirements/build.txt
$install --only-binary :all: --no-binary promise --no-build-isolation -r requirements/base.txt -r requirements/tpu.txt
"""


def render(trial: Trial, slice_: Rented, bucket: str) -> dict[str, Any]:
  """The task of one trial; its run directory lies in the bucket, where the next machine finds it."""
  command = shlex.join([".venv/bin/python", "-m", trial.module, *trial.arguments(MOUNT)])
  if slice_.hosts > 1:
    command += (
      f' --coordinator="$(head -n1 <<< "$SKYPILOT_NODE_IPS"):{PORT}"'
      f' --processes={slice_.hosts} --process="$SKYPILOT_NODE_RANK"'
    )
  if trial.max_hours:
    command = f"timeout --signal=TERM {round(3600 * trial.max_hours)} {command}"
  return {
    "name": f"trial-{trial.trial_id}",
    "workdir": ".",
    "num_nodes": 1,
    "resources": {
      "infra": "gcp",
      "accelerators": slice_.pod,
      "use_spot": True,
      "job_recovery": {
        "max_restarts_on_errors": trial.retries,
        "recover_on_exit_codes": [PREEMPTED],
      },
    },
    "file_mounts": {MOUNT: {"source": f"gs://{bucket}", "store": "gcs", "mode": "MOUNT"}},
    "setup": SETUP,
    "run": f"{command}\n",
  }
