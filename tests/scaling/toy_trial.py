"""A trial without a model: leaves the row of a synthetic surface, and the faults its config asks for.

Run by the sweep's tests as `python -m tests.scaling.toy_trial --config=... --workdir=...`; keeps to the run
directory's contract (lock, result.json last) without the training stack.
"""

import fcntl
import json
import os
import pathlib
import signal
import sys
import time

from tests.scaling import surface


def main() -> int:
  given = dict(argument.removeprefix("--").split("=", 1) for argument in sys.argv[1:])
  workdir = pathlib.Path(given["workdir"])
  value = {key.removeprefix("config."): text for key, text in given.items() if key.startswith("config.")}
  workdir.mkdir(parents=True, exist_ok=True)
  with open(workdir / "lock", "a") as lock:
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    attempt = len(list(workdir.glob("attempt-*")))
    (workdir / f"attempt-{attempt}").touch()
    stopped: list[int] = []
    signal.signal(signal.SIGTERM, lambda *_: stopped.append(1))
    (workdir / "ready").touch()
    fault = value.get("fault", "")
    if fault == "bad":
      print("error: the toy config is bad", file=sys.stderr)
      return 2
    if fault == "lasting":
      return 3
    if fault == "always" or (fault == "once" and attempt == 0):
      raise RuntimeError("the toy fault")
    if fault == "killed" and attempt == 0:
      os.kill(os.getpid(), signal.SIGKILL)
    if fault == "preempted" and attempt < 4:
      return 42
    until = time.monotonic() + float(value.get("sleep", 0))
    while time.monotonic() < until and not (workdir / "finish").exists():
      time.sleep(0.01)
      if stopped:
        return 42
    params, tokens = int(value["params"]), int(value["tokens"])
    row = {"run_id": workdir.name, "params": params, "tokens": tokens, "flops": 6.0 * params * tokens}
    row |= {"loss": surface.CHINCHILLA.loss(params, tokens), "seed": int(value["seed"])}
    (workdir / ".result").write_text(json.dumps(row))
    os.replace(workdir / ".result", workdir / "result.json")
  return 0


if __name__ == "__main__":
  sys.exit(main())
