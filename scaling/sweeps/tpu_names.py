"""What clouds call a TPU slice, and how many machines have its chips; which slices there are, `planning.slices` knows.

Names and machine shapes are those of the vendor's pages (docs.cloud.google.com: Plan TPUs in GKE; TPU v5e, v5p, v6e)
and of SkyPilot's catalogue. A name says chips for v5e and v6e, and cores, two on a chip, for v5p.
"""

import dataclasses

from data.errors import BadInput
from scaling.planning import slices
from scaling.sweeps.points import Resources


@dataclasses.dataclass(frozen=True)
class _Names:
  """Attributes: `gke`, node label; `pod`, accelerator type before its number; `units`, what that counts, per chip;
  `alone`, chips that one machine may have, alone; in a slice of several it has 4.
  """

  gke: str
  pod: str
  units: int
  alone: tuple[int, ...]


NAMES = {
  "v5e": _Names("tpu-v5-lite-podslice", "tpu-v5litepod", 1, (1, 4, 8)),
  "v5p": _Names("tpu-v5p-slice", "tpu-v5p", 2, (4,)),
  "v6e": _Names("tpu-v6e-slice", "tpu-v6e", 1, (1, 4, 8)),
}


@dataclasses.dataclass(frozen=True)
class Rented:
  """Attributes: `gke`, its node label; `pod`, its accelerator type at the TPU API; `chips` of each of its `hosts`."""

  gke: str
  pod: str
  topology: str
  hosts: int
  chips: int


def name(resources: Resources, where: str) -> Rented:
  """What `resources` are called; raises BadInput when there is no such slice, or not of so many machines."""
  total = slices.parse(f"{resources.accelerator}:{resources.topology}", where).chips
  names = NAMES[resources.accelerator]
  allowed = names.alone if resources.hosts == 1 else (4,)
  if total % resources.hosts or total // resources.hosts not in allowed:
    fitting = [total // 4] * (total % 4 == 0) + [1] * (total in names.alone)
    what = f"{resources.topology} has {total} chips, which {resources.hosts} machines cannot hold"
    raise BadInput(what, where, f"set hosts to {' or '.join(map(str, dict.fromkeys(fitting)))}")
  pod = f"{names.pod}-{total * names.units}"
  return Rented(names.gke, pod, resources.topology, resources.hosts, total // resources.hosts)
