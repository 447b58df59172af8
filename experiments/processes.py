"""The processes of one run find each other, or say in one sentence that they did not."""

import dataclasses
import os
import signal
import socket
import sys
import threading

import jax

from data.errors import BadInput
from experiments.program import FAULT, Fault

_HEARTBEAT_S = 20  # JAX's own 100 s makes the others wait 89 s for a peer that died
_GRACE_S = 30


@dataclasses.dataclass(frozen=True)
class Group:
  """Attributes:
  coordinator: HOST:PORT on which process 0 listens. processes: how many. process: index of this one.
  wait_s: how long the others may take to appear.
  """

  coordinator: str
  processes: int
  process: int
  wait_s: int

  def join(self) -> None:
    """Connects to the other processes; to be called before anything else touches JAX, and in a StopSignal.

    Raises BadInput for an address or an index that cannot be, Fault when the port is taken. When a peer is
    missing after `wait_s`, the process ends at once with exit code 1 and one sentence: a retry may find it.
    """
    host, port = _address(self.coordinator)
    if self.process >= self.processes:
      what = f"{self.process} is not below the number of processes, {self.processes}"
      raise BadInput(what, "--process", "count from 0")
    if self.process == 0:
      _require_free(host, port)
    # Python cannot act while JAX waits. So signals end the process, which has nothing to save yet (JAX takes
    # SIGTERM over when it has connected), and a thread ends it where JAX would abort with a stack trace.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    interrupted = signal.signal(signal.SIGINT, signal.SIG_DFL)
    patience = threading.Timer(self.wait_s, self._give_up)
    patience.daemon = True
    patience.start()
    print(f"{self} waits for the others, up to {self.wait_s} s", file=sys.stderr, flush=True)
    try:
      jax.distributed.initialize(
        self.coordinator,
        self.processes,
        self.process,
        initialization_timeout=self.wait_s + _GRACE_S,
        heartbeat_timeout_seconds=_HEARTBEAT_S,
      )
    finally:
      patience.cancel()
      signal.signal(signal.SIGINT, interrupted)

  def __str__(self) -> str:
    return f"process {self.process} of {self.processes} at {self.coordinator}"

  def _give_up(self) -> None:
    what = f"{self} did not meet all the others within {self.wait_s} s"
    remedy = "see that each is started, with the same --coordinator and --processes"
    print(f"fault: {what}; {remedy}", file=sys.stderr, flush=True)
    os._exit(FAULT)


def _address(coordinator: str) -> tuple[str, int]:
  """Host and port; raises BadInput unless they are a name that resolves and a number."""
  host, _, port = coordinator.rpartition(":")
  remedy = "give HOST:PORT of process 0"
  if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
    raise BadInput(f"{coordinator!r} is no HOST:PORT", "--coordinator", remedy)
  try:
    socket.getaddrinfo(host.strip("[]"), int(port))
  except (OSError, UnicodeError):
    raise BadInput(f"host {host!r} is not known here", "--coordinator", remedy) from None
  return host, int(port)


def _require_free(host: str, port: int) -> None:
  """Two coordinators can share a port, and would then share out each other's processes."""
  try:
    socket.create_server(("", port)).close()
  except OSError as error:
    raise Fault(f"port {port} of {host} cannot be used ({error.strerror}); stop what uses it") from None
