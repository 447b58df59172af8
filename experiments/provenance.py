"""Where a result came from: revision, packages, machine. Everything a second person needs to repeat it."""

import functools
import hashlib
import importlib.metadata
import pathlib
import platform
import socket
import subprocess
import sys
import time

_REPOSITORY = pathlib.Path(__file__).resolve().parents[1]
_PACKAGES = (
  "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "array-record", "tensorflow-datasets",
  "chex", "ml-collections", "numpy", "libsumo",
)  # fmt: skip


def now() -> str:
  """UTC, ISO 8601, to the second."""
  return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


@functools.cache
def git_revision() -> str:
  """`<sha>`, with `+<12 hex of the difference>` when the working tree is not clean; "unknown" outside git.

  Asked once in a process, and in those forked from it: the code that runs is the code that was imported, whatever
  becomes of the working tree. Whoever imports long before using asks before importing (scaling/sweeps/launcher.py).
  """
  revision = _git("rev-parse", "HEAD")
  if revision is None:
    return "unknown"
  changes = (_git("diff", "HEAD", "--binary") or b"") + (_git("status", "--porcelain") or b"")
  dirty = f"+{hashlib.sha256(changes).hexdigest()[:12]}" if changes else ""
  return revision.decode().strip() + dirty


def packages() -> dict[str, str]:
  """Versions of the installed packages that can change a result."""
  versions = {}
  for name in _PACKAGES:
    try:
      versions[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
      continue  # an extra that this machine does not have
  return versions


def describe() -> dict:
  """The machine and the command, as JSON."""
  return {
    "argv": sys.argv,
    "git_revision": git_revision(),
    "host": socket.gethostname(),
    "packages": packages(),
    "platform": platform.platform(),
    "python": platform.python_version(),
    "time": now(),
  }


def _git(*arguments: str) -> bytes | None:
  try:
    done = subprocess.run(
      ["git", "-C", str(_REPOSITORY), *arguments], capture_output=True, check=True, timeout=30
    )
  except (OSError, subprocess.SubprocessError):
    return None
  return done.stdout
