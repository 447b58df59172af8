"""What a run computes, told apart from where and how: the part of a configuration that names a run.

A run directory belongs to an identity, and a trial is named by it. The keys in OPERATIONAL are no part of it and
may change whenever a run is started again: the mesh and the queries that attention takes at a time (a loss with others
agrees to rounding), the threads that read, how much is logged and probed, how many checkpoints stay.
`checkpoint.every_steps` and `recovery` are not among them: they decide to which state a roll-back returns, and hence
what comes out.
"""

import hashlib
from typing import Any

from data.files import canonical_json

OPERATIONAL = (
  "mesh", "log_every", "tensorboard", "probe", "model.block", "data.read_threads", "checkpoint.keep"
)  # fmt: skip
# Keys that came when there were runs already, and what all of these did: as such they are no part of an identity.
LATER = {"model.heads": 0, "model.hidden": 0, "loss.features": 0.0}
_DIVIDED = {key.rpartition(".")[0] for key in (*OPERATIONAL, *LATER)} - {""}


def identity(config: dict[str, Any]) -> dict[str, Any]:
  """A resolved config without its operational keys, and without those in LATER that change nothing."""
  return _part(config, False)


def operational(config: dict[str, Any]) -> dict[str, Any]:
  """The operational keys of a resolved config, nested as they are there."""
  return _part(config, True)


def config_hash(config: dict[str, Any]) -> str:
  """First 12 hex digits of SHA-256 over the canonical JSON of a resolved config's identity."""
  return hashlib.sha256(canonical_json(identity(config)).encode()).hexdigest()[:12]


def _part(config: dict[str, Any], wanted: bool, prefix: str = "") -> dict[str, Any]:
  """Either the operational keys or the others; groups that hold both are divided."""
  part: dict[str, Any] = {}
  for key, value in config.items():
    name = prefix + key
    if isinstance(value, dict) and name in _DIVIDED:
      if own := _part(value, wanted, f"{name}."):
        part[key] = own
    elif name in LATER and value == LATER[name]:
      continue
    elif (name in OPERATIONAL) == wanted:
      part[key] = value
  return part
