"""The least time a step can take on a slice: arithmetic, memory and interconnect, each at its peak, all overlapped.

  seconds >= max( FLOPs / peak,  HBM bytes / rate,  busiest axis of the torus )        per chip
  MFU     <= FLOPs of the model / (chips x peak x seconds)

S. Williams et al., "Roofline", CACM 2009; for meshes of TPUs as in J. Austin et al., "How to Scale Your Model", 2025.
A bound is no measurement: latency, padding, what cannot be overlapped and the host come on top.
"""

import dataclasses

import numpy as np

from scaling.planning.program_cost import Collective
from scaling.planning.slices import Slice


@dataclasses.dataclass(frozen=True)
class Bound:
  """Seconds per step, by what limits it, and the share of the slice's peak that the model's FLOPs can reach."""

  compute: float
  memory: float
  network: float
  mfu: float

  @property
  def seconds(self) -> float:
    return max(self.compute, self.memory, self.network)

  @property
  def limit(self) -> str:
    return max(("compute", "memory", "network"), key=lambda name: getattr(self, name))


def bound(slice_: Slice, model_flops: float, flops: float, hbm_bytes: float, network: float) -> Bound:
  """Args:
  model_flops: of a step on all chips, as the model counts itself. flops, hbm_bytes: of the program, per chip.
  network: seconds of the busiest axis, see `network_seconds`.
  """
  chip = slice_.chip
  compute, memory = flops / chip.flops, hbm_bytes / chip.hbm_rate
  seconds = max(compute, memory, network)
  return Bound(compute, memory, network, model_flops / (slice_.chips * chip.flops * seconds))


def network_seconds(slice_: Slice, coordinates_NxK: np.ndarray, collectives: tuple[Collective, ...]) -> float:
  """Seconds that the busiest axis of the torus needs for the collectives of a step.

  A collective uses the links along every axis that its group spans, all at once; the traffic of those that share an
  axis adds up.

  Args:
    coordinates_NxK: place of each chip in the torus, in the order of the device assignment.
  """
  busy = np.zeros(coordinates_NxK.shape[1])
  for collective in collectives:
    links = group_links(slice_, coordinates_NxK[list(collective.group)])
    if links.sum():
      busy[links > 0] += collective.received / (links.sum() * slice_.chip.link_rate)
  return float(busy.max())


def group_links(slice_: Slice, members_GxK: np.ndarray) -> np.ndarray:
  """Links that a chip of a group can receive over along each axis: 2 in a ring, 1 at the end of a line.

  Where the group takes every s-th chip of an axis only, s such groups share its links, and each has 1 / s of them.
  """
  links = np.zeros(members_GxK.shape[1])
  for axis in range(members_GxK.shape[1]):
    places = np.unique(members_GxK[:, axis])
    if len(places) > 1:
      stride = int(np.diff(places).min())
      whole = places[-1] - places[0] + stride >= slice_.shape[axis]
      links[axis] = (2 if whole and slice_.ring(axis) else 1) / stride
  return links


def coordinates(devices: list, axes: int) -> np.ndarray:
  """Place of each device in the torus [N, axes]."""
  return np.array([device.coords[:axes] for device in devices])
