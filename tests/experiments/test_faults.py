"""The short form of tests/experiments/faults.py: a real run, interrupted and damaged."""

import json
import random
import shutil
import signal

import pytest

from data.errors import BadInput
from experiments import run
from experiments.tasks.distillation import TAUGHT_BY
from tests.experiments import faults


@pytest.fixture(scope="module")
def survivor(simulated, tmp_path_factory):
  """A folder with an untouched run and one that was killed twice and stopped once, and the counts."""
  folder = tmp_path_factory.mktemp("faults")
  return folder, faults.survive(folder, simulated, kills=2, rng=random.Random(1))


def test_an_interrupted_run_ends_bit_identical_to_an_untouched_one(survivor):
  _, counts = survivor
  assert (counts["kills"], counts["stops"]) == (2, 1)


def test_one_flipped_bit_of_a_real_checkpoint_is_never_loaded(survivor, tmp_path):
  folder, _ = survivor
  counts = faults.flip(folder / "interrupted-1", tmp_path, flips=10, rng=random.Random(2))
  assert sum(counts.values()) == 10


def test_a_finished_run_opens_with_its_last_state_or_not_at_all(survivor, tmp_path):
  folder, _ = survivor
  copy = shutil.copytree(folder / "untouched-1", tmp_path / "run")
  opened = run.open_run(str(copy))
  assert faults.bits(opened.params) == faults.bits(faults.newest(copy)[1]["params"])
  (copy / "manifests" / f"{opened.row['steps']}.json").write_text("{}")  # an older one is still whole
  with pytest.raises(BadInput, match=f"no good checkpoint of its last step, {opened.row['steps']}"):
    run.open_run(str(copy))


def test_two_processes_train_alike_and_stop_together(simulated, survivor):
  folder, _ = survivor
  stopped = folder / "stopped-2"
  faults.interrupt(simulated, stopped, step=20, sent=signal.SIGINT, delay_s=0, place=faults.TOGETHER)
  assert faults.largest_difference(folder / "untouched-1", stopped, 20) < 1e-5
  step, _ = faults.newest(stopped)  # on one device
  assert step == faults.last_step(stopped)


def test_two_processes_begin_with_a_finished_run_and_follow_it(simulated, survivor):
  """Split between them, a student that is its teacher has nothing to follow at its first step."""
  folder, _ = survivor
  base, begun = folder / "untouched-1", folder / "begun-2"
  faults.finish(simulated, begun, faults.DIVIDED, base)
  first = json.loads((begun / "metrics.jsonl").read_text().splitlines()[0])
  assert first["step"] == 1 and abs(first["distillation"]) < 1e-6 < first["gradient_norm"]
  taught, teacher = (run.open_run(str(path)).params for path in (begun, base))
  assert faults.bits(taught[TAUGHT_BY]) == faults.bits(teacher)


def test_a_run_moves_from_one_device_to_eight(simulated, survivor):
  folder, _ = survivor
  untouched = json.loads((folder / "untouched-1" / "result.json").read_text())
  moved = faults.move(simulated, folder / "moved", [faults.ALONE, faults.EIGHT])
  assert moved == pytest.approx(untouched["loss"], rel=1e-5)
