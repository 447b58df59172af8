"""The other end of scaling/sweeps/launcher.py: starts it, and asks it for trials over its socket."""

import json
import os
import pathlib
import select
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from typing import Self

from scaling.sweeps.attempts import Gone, Wait

# What a module imports anyway, and without flags; before it, the revision of what is imported.
PRELOAD = {
  "experiments.train": (
    "experiments.provenance:git_revision",
    "experiments.run",
    "experiments.task:all_tasks",
  )
}


class Launcher:
  """The launcher's process. It ends, and asks its trials to save, when this object is closed or its process dies.

  Args:
    preload: what it imports, and calls, before it forks.

  Attributes:
    address: path of the socket on which it can be asked for trials, as soon as this object exists.
  """

  def __init__(self, preload: Sequence[str]):
    # One compile cache for all trials: seeds of one size compile once. BLAS threads would forbid forking.
    environment = {
      "JAX_COMPILATION_CACHE_DIR": str(pathlib.Path("build/jax-cache").absolute()),
      "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
      "OPENBLAS_NUM_THREADS": "1",
      "OMP_NUM_THREADS": "1",
    } | os.environ
    self._folder = tempfile.mkdtemp(prefix="sweep-")  # a socket's path must be short
    self.address = os.path.join(self._folder, "launcher")
    with socket.socket(socket.AF_UNIX) as listener:
      listener.bind(self.address)
      listener.listen(128)
      descriptor = listener.fileno()
      self._process = subprocess.Popen(
        [sys.executable, "-m", "scaling.sweeps.launcher", f"--listen={descriptor}", *preload],
        stdin=subprocess.PIPE, env=environment, pass_fds=(descriptor,),
      )  # fmt: skip

  def __enter__(self) -> Self:
    return self

  def __exit__(self, *_) -> None:
    self.close()
    self.wait()
    shutil.rmtree(self._folder, ignore_errors=True)

  def close(self) -> None:
    """Asks the trials to save and stop; starts no more."""
    assert self._process.stdin
    self._process.stdin.close()

  def wait(self) -> int:
    """Its exit code, once its trials have ended."""
    return self._process.wait()

  @property
  def code(self) -> int | None:
    """Its exit code, None while it lives."""
    return self._process.poll()


class Link:
  """A connection that is never used: it breaks when the launcher stops serving."""

  def __init__(self, address: str):
    self._connection = _connect(address)

  def broken(self) -> bool:
    return bool(select.select([self._connection], [], [], 0)[0])


def start(
  address: str, module: str, argv: list[str], log: os.PathLike | str, cpus: list[int]
) -> tuple[int, Wait]:
  """Asks the launcher for a process; returns its id, and how to wait for its end. Raises Gone when it refuses."""
  connection = _connect(address)
  order = {"module": module, "argv": argv, "log": str(log), "cpus": cpus}
  try:
    connection.sendall((json.dumps(order) + "\n").encode())
  except OSError:
    raise Gone from None
  answers = connection.makefile("rb", buffering=0)  # nothing read ahead, or select would not know of it

  def hear(name: str) -> int:
    try:
      line = answers.readline()
    except OSError:
      line = b""
    if not line.endswith(b"\n"):
      connection.close()
      raise Gone
    return json.loads(line)[name]

  pid = hear("pid")

  def wait(seconds: float) -> int | None:
    if not select.select([connection], [], [], seconds)[0]:
      return None
    code = hear("code")
    answers.close()
    connection.close()
    return code

  return pid, wait


def _connect(address: str) -> socket.socket:
  connection = socket.socket(socket.AF_UNIX)
  try:
    connection.connect(address)
  except OSError:
    connection.close()
    raise Gone from None
  return connection
