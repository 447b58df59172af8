"""A process that has imported the training stack once, and forks a child for every trial.

What a child knows of its code (the git revision) must be what the launcher imported, not what lies in the working
tree by then: MODULE:FUNCTION calls a function that remembers, before the modules after it are imported.

Importing jax, flax, orbax and grain costs seconds of a small trial's time. The launcher pays once; the
child it forks has its own session, log file, processors and exit code, and runs the trial's module as
`python -m` would. Forking is only safe while nothing has started a thread (no JAX backend exists yet): the
launcher counts, and starts a fresh interpreter instead when there is one, or where there is no /proc.

Speaks JSON lines. In: {"key", "module", "argv", "log", "cpus"}. Out: {"key", "pid"}, then {"key", "code"}
(negative: killed by that signal). When its input ends (the sweep is gone) the children are asked to save and
stop.

  python -m scaling.launcher [MODULE_TO_IMPORT | MODULE:FUNCTION_TO_CALL ...]
"""

import gc
import importlib
import json
import os
import pathlib
import runpy
import select
import signal
import subprocess
import sys
import time

POLL_SECONDS = 0.05


def serve(preload: list[str]) -> None:
  """The launcher's life. In a forked child it returns only by running the trial."""
  signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the sweep, which then stops its trials
  for name in preload:
    module, _, function = name.partition(":")
    imported = importlib.import_module(module)
    if function:
      getattr(imported, function)()
  gc.freeze()  # keeps the children's pages shared
  children: dict[int, str] = {}
  pending = b""
  listening = True
  while listening or children:
    if listening and select.select([0], [], [], POLL_SECONDS)[0]:
      received = os.read(0, 1 << 16)
      listening = bool(received)
      *lines, pending = (pending + received).split(b"\n")
      for line in lines:
        order = json.loads(line)
        pid = _start(order)
        children[pid] = order["key"]
        _say({"key": order["key"], "pid": pid})
      if not listening:
        for pid in children:
          os.kill(pid, signal.SIGTERM)
    elif not listening:
      time.sleep(POLL_SECONDS)
    while children and (ended := os.waitpid(-1, os.WNOHANG))[0]:
      _say({"key": children.pop(ended[0]), "code": os.waitstatus_to_exitcode(ended[1])})


def _say(record: dict) -> None:
  try:
    os.write(1, (json.dumps(record) + "\n").encode())
  except BrokenPipeError:
    return  # nobody is left to listen; the trials still deserve an orderly end


def _start(order: dict) -> int:
  """Starts a trial and returns its process id."""
  tasks = pathlib.Path("/proc/self/task")
  if tasks.exists() and len(list(tasks.iterdir())) == 1:
    pid = os.fork()
    if pid == 0:
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
  serve(sys.argv[1:])
