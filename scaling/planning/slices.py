"""TPU slices by name, and the chips they are made of: what each can compute, hold, read and send.

Peak rates, links and the slices on offer are those of the vendor's pages (docs.cloud.google.com/tpu/docs/v5e, /v5p
and /v6e, read in 2026; where editions differ by 2 % in the rate of memory, the higher one: a bound stays one). `hbm`
is what the compiler lets a program use, a little less than the chip has: it says so itself when a program is too
large, and a test holds the figures here to that.
"""

import dataclasses
import difflib
import importlib.util
import math
import os
import re
from typing import Any

from data.errors import BadInput

GiB = 2**30


@dataclasses.dataclass(frozen=True)
class Chip:
  """Attributes:
  flops: bfloat16 peak, FLOP/s. hbm: usable bytes. hbm_rate: bytes/s. link_rate: bytes/s one way over one link.
  axes: of its torus. ring: along an axis of this many chips, or a multiple, the ends are connected.
  shapes: slices one can rent, of those smaller than a cube.
  """

  flops: float
  hbm: int
  hbm_rate: float
  link_rate: float
  axes: int
  ring: int
  shapes: tuple[tuple[int, ...], ...]


_SQUARES = ((1, 1), (2, 2), (2, 4), (4, 4), (4, 8), (8, 8), (8, 16), (16, 16))
CHIPS = {
  # 400 GB/s over four links both ways; a pod is 16 x 16, and only its full axes close to rings.
  "v5e": Chip(197e12, int(15.75 * GiB), 819e9, 50e9, 2, 16, _SQUARES),
  # 1,200 GB/s over six links both ways; cubes of 4 x 4 x 4 are joined to tori by optical switches.
  "v5p": Chip(459e12, int(95.73 * GiB), 2765e9, 100e9, 3, 4, ((2, 2, 1), (2, 2, 2), (2, 2, 4), (2, 4, 4))),
  # 800 GB/s over four links both ways; memory twice as fast as that of v5e.
  "v6e": Chip(918e12, int(31.24 * GiB), 1638e9, 100e9, 2, 16, _SQUARES),
}
LARGEST = 6144  # chips of a v5p slice, 16 x 16 x 24; the pod has 8,960


@dataclasses.dataclass(frozen=True)
class Slice:
  """Attributes: `name` as libtpu takes it; `chip` what it is made of; `shape` chips along each axis of the torus."""

  name: str
  chip: Chip
  shape: tuple[int, ...]

  @property
  def chips(self) -> int:
    return math.prod(self.shape)

  def ring(self, axis: int) -> bool:
    """Whether the ends of an axis are connected; of three axes all are, or none is."""
    axes = [axis] if self.chip.axes == 2 else range(self.chip.axes)
    return all(self.shape[other] % self.chip.ring == 0 for other in axes)


def parse(name: str, where: str = "") -> Slice:
  """ "v5e:16x16" to a slice; a name that nobody rents out raises BadInput with the nearest one that exists.

  `where` it was said; "": as the flag --topology.
  """
  where = where or f"--topology={name}"
  kind, _, sizes = name.partition(":")
  if kind not in CHIPS:
    near = difflib.get_close_matches(kind, CHIPS, 1, 0.1)
    raise BadInput(f"no chip {kind!r}", where, f"choose {_nearest(near[0] if near else 'v5e', sizes)}")
  shape = tuple(int(n) for n in sizes.split("x")) if re.fullmatch(r"[1-9]\d*(x[1-9]\d*)*", sizes) else ()
  if shape not in known(kind):
    what = f"there is no slice {sizes!r} of {kind}" if sizes else f"{kind} is a chip, not a slice"
    raise BadInput(what, where, f"did you mean {_nearest(kind, sizes)}?")
  return Slice(name, CHIPS[kind], shape)


def known(kind: str) -> list[tuple[int, ...]]:
  """Every slice of a chip; those of cubes have axes in rising order, multiples of 4."""
  chip = CHIPS[kind]
  if chip.axes == 2:
    return list(chip.shapes)
  steps = range(4, 25, 4)
  cubes = [(a, b, c) for a in steps for b in steps for c in steps if a <= b <= c and a * b * c <= LARGEST]
  return [*chip.shapes, *cubes]


def _nearest(kind: str, sizes: str) -> str:
  """The slice of `kind` that is nearest in the number of chips and in shape, both by ratio."""
  asked = [int(n) for n in re.findall(r"\d+", sizes) if int(n)] or [16, 16]
  asked = sorted([*asked, *[1] * (CHIPS[kind].axes - len(asked))])

  def distance(shape):
    ratios = [math.log(a / b) for a, b in zip(sorted(shape), asked, strict=False)]
    return math.log(math.prod(shape) / math.prod(asked)) ** 2 + sum(ratio**2 for ratio in ratios)

  return f"{kind}:{'x'.join(map(str, min(known(kind), key=distance)))}"


def devices(slice_: Slice) -> list[Any]:
  """The devices of a slice that is not there, to compile for; raises BadInput without libtpu.

  JAX must run on the CPU (JAX_PLATFORMS=cpu): the library describes chips and compiles for them, and nothing here
  looks for one.
  """
  if importlib.util.find_spec("libtpu") is None:
    remedy = "say `make tpu` and set PYTHONPATH=build/libtpu (requirements/tpu.txt)"
    raise BadInput("libtpu, which compiles for TPUs, is not installed", "this environment", remedy)
  # Or the library asks the cloud's metadata server which slice this is, warns of every answer that is missing, and
  # lets one process in at a time.
  os.environ.update(
    TPU_SKIP_MDS_QUERY="1", TPU_ACCELERATOR_TYPE="v5litepod-4", TPU_WORKER_HOSTNAMES="localhost", TPU_WORKER_ID="0",
    ALLOW_MULTIPLE_LIBTPU_LOAD="1",
  )  # fmt: skip
  from jax.experimental import topologies

  try:
    found = topologies.get_topology_desc(platform="tpu", topology_name=slice_.name).devices
  except RuntimeError as error:
    what = f"libtpu does not know it ({str(error).splitlines()[0]})"
    raise BadInput(what, f"--topology={slice_.name}", "choose another slice, or a newer libtpu") from None
  return list(found)
