"""Processes that do not find each other end in one sentence, and soon."""

import signal
import socket
import subprocess
import sys

import pytest

from data.errors import BadInput
from experiments.processes import Group
from experiments.program import Fault
from tests.experiments import faults


def _start(run, process: int, wait_s: int) -> subprocess.Popen:
  """A process whose peer never comes; it asks for its peer before it looks for its dataset."""
  options = ["--config=experiments/configs/motion.py:tiny", f"--workdir={run}", "--processes=2"]
  options += [f"--coordinator=localhost:{faults.free_port()}", f"--process={process}", f"--wait_s={wait_s}"]
  command = [sys.executable, "-m", "experiments.train", *options]
  return subprocess.Popen(
    command, cwd=faults.ROOT, env=faults.ENVIRONMENT, stderr=subprocess.PIPE, text=True, bufsize=1
  )


def test_a_missing_peer_ends_the_others_in_one_sentence(tmp_path):
  alone = [_start(tmp_path / "run", process, wait_s=2) for process in (0, 1)]
  for index, process in enumerate(alone):
    _, errors = process.communicate(timeout=60)
    waits, fault = errors.splitlines()
    assert process.returncode == 1
    assert waits.startswith(f"process {index} of 2 at localhost:")
    assert fault.startswith(f"fault: process {index} of 2 at localhost:")
    assert "did not meet all the others within 2 s; see that each is started" in fault
  assert not (tmp_path / "run").exists()


def test_one_that_waits_can_be_stopped(tmp_path):
  process = _start(tmp_path / "run", 1, wait_s=600)
  assert "waits for the others" in process.stderr.readline()
  process.send_signal(signal.SIGTERM)
  process.communicate(timeout=10)
  assert process.returncode == -signal.SIGTERM


@pytest.mark.parametrize(
  ("coordinator", "process", "words"),
  [
    ("", 0, "'' is no HOST:PORT"),
    ("localhost", 0, "'localhost' is no HOST:PORT"),
    ("localhost:70000", 0, "is no HOST:PORT"),
    ("x" * 64 + ":1234", 1, "host 'xx*' is not known here"),
    ("localhost:1234", 2, "2 is not below the number of processes, 2; count from 0"),
  ],
)
def test_an_address_or_index_that_cannot_be_is_refused(coordinator, process, words):
  with pytest.raises(BadInput, match=words):
    Group(coordinator, 2, process, wait_s=1).join()


def test_a_port_in_use_is_a_fault():
  with socket.create_server(("", 0)) as held, pytest.raises(Fault, match=r"cannot be used \(Address already"):
    Group(f"localhost:{held.getsockname()[1]}", 2, 0, wait_s=1).join()
