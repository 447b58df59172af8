"""A process that has imported the training stack once, and forks a child for every trial.

What a child knows of its code (the git revision) must be what the launcher imported, not what lies in the working
tree by then: MODULE:FUNCTION calls a function that remembers, before the modules after it are imported.

Importing jax, flax, orbax and grain costs seconds of a small trial's time. The launcher pays once; the
child it forks has its own session, log file, processors and exit code, and runs the trial's module as
`python -m` would. Forking is only safe while nothing has started a thread (no JAX backend exists yet): the
launcher counts, and starts a fresh interpreter instead when there is one, or where there is no /proc.

Listens on a socket that it inherits (--listen=FD). A connection asks for one trial with a JSON line {"module", "argv",
"log", "cpus"} and gets {"pid"}, then {"code"} (negative: killed by that signal). When the launcher's standard input
ends (the sweep is gone, however it ended) it asks the children to save and stop, and accepts no more.

  <this module> --listen=FD [MODULE_TO_IMPORT | MODULE:FUNCTION_TO_CALL ...]
"""

import contextlib
import dataclasses
import gc
import importlib
import json
import os
import pathlib
import runpy
import select
import signal
import socket
import subprocess
import sys

POLL_SECONDS = 0.05


@dataclasses.dataclass
class _Client:
  """Who asked for a trial; `pid` is 0 until it has said which."""

  connection: socket.socket
  received: bytes = b""
  pid: int = 0

  def say(self, **record: int) -> None:
    try:
      self.connection.sendall((json.dumps(record) + "\n").encode())
    except OSError:
      return  # nobody is left to listen; the trial still deserves an orderly end


def serve(listener: socket.socket, preload: list[str]) -> None:
  """The launcher's life. In a forked child it returns only by running the trial."""
  signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the sweep, which then stops its trials
  for name in preload:
    module, _, function = name.partition(":")
    imported = importlib.import_module(module)
    if function:
      getattr(imported, function)()
  gc.freeze()  # keeps the children's pages shared
  clients: dict[int, _Client] = {}
  listening, door = True, listener.fileno()
  while listening or any(client.pid for client in clients.values()):
    watched = [fd for fd, client in clients.items() if not client.pid]
    ready = select.select([0, door, *watched] if listening else [], [], [], POLL_SECONDS)[0]
    if door in ready:
      connection, _ = listener.accept()
      clients[connection.fileno()] = _Client(connection)
    for fd in set(ready) & clients.keys():
      _hear(fd, clients, listener)
    if 0 in ready and not os.read(0, 1 << 16):
      listening = False
      _remove(listener)
      for fd, client in list(clients.items()):
        if client.pid:
          os.kill(client.pid, signal.SIGTERM)
        else:
          clients.pop(fd).connection.close()
    _bury(clients)


def _remove(listener: socket.socket) -> None:
  """Closes the socket for good, with the folder that was made for it: nobody else may be left to do it."""
  path = pathlib.Path(listener.getsockname())
  listener.close()
  with contextlib.suppress(OSError):
    path.unlink()
    path.parent.rmdir()


def _hear(fd: int, clients: dict[int, _Client], listener: socket.socket) -> None:
  """Takes what a client sends; starts its trial when the line is whole."""
  client = clients[fd]
  received = client.connection.recv(1 << 16)
  client.received += received
  if b"\n" in client.received:
    inherited = [listener, *(other.connection for other in clients.values())]
    client.pid = _start(json.loads(client.received), inherited)
    client.say(pid=client.pid)
  elif not received:
    clients.pop(fd).connection.close()


def _bury(clients: dict[int, _Client]) -> None:
  """Tells the clients of ended children."""
  by_pid = {client.pid: fd for fd, client in clients.items() if client.pid}
  while by_pid and (ended := os.waitpid(-1, os.WNOHANG))[0]:
    if (fd := by_pid.pop(ended[0], None)) is not None:
      client = clients.pop(fd)
      client.say(code=os.waitstatus_to_exitcode(ended[1]))
      client.connection.close()


def _start(order: dict, inherited: list[socket.socket]) -> int:
  """Starts a trial and returns its process id."""
  tasks = pathlib.Path("/proc/self/task")
  if tasks.exists() and len(list(tasks.iterdir())) == 1:
    pid = os.fork()
    if pid == 0:
      for connection in inherited:  # or they would outlive the launcher in its orphans
        connection.close()
      _become(order)
    return pid
  with open(order["log"], "ab") as log:
    process = subprocess.Popen(
      [sys.executable, "-m", order["module"], *order["argv"]],
      stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
      preexec_fn=lambda: _settle(order["cpus"]),
    )  # fmt: skip
  return process.pid


def _settle(cpus: list[int]) -> None:
  signal.signal(signal.SIGINT, signal.SIG_DFL)
  if cpus and hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, cpus)


def _become(order: dict) -> None:
  """Turns a forked child into the trial's process; ends it with the trial's exit code."""
  os.setsid()
  _settle(order["cpus"])
  log = os.open(order["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
  silence = os.open(os.devnull, os.O_RDONLY)
  for source, target in ((silence, 0), (log, 1), (log, 2)):
    os.dup2(source, target)
  signal.signal(signal.SIGINT, signal.default_int_handler)
  sys.argv = [order["module"], *order["argv"]]
  runpy.run_module(order["module"], run_name="__main__", alter_sys=True)
  sys.exit(0)


if __name__ == "__main__":
  if not sys.argv[1:] or not sys.argv[1].startswith("--listen="):
    sys.exit("scaling.sweeps.launcher is started by scaling.sweep")
  with socket.socket(fileno=int(sys.argv[1].removeprefix("--listen="))) as inherited_listener:
    serve(inherited_listener, sys.argv[2:])
