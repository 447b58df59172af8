"""Audit of a dataset: python -m data.audit --dataset=DIR [--accept=KIND,...].

Looks for the six leaks between splits, counts near-duplicates, standing traffic and what the metadata covers;
writes DIR/audit.json and prints a table. Exit code 1 when a leak is found that --accept does not name.
"""

import dataclasses
import itertools
from collections import Counter, defaultdict
from typing import Any

from absl import flags

from experiments import program

_DATASET = flags.DEFINE_string("dataset", None, "Directory made by data.build.", required=True)
_ACCEPT = flags.DEFINE_list("accept", [], "Kinds of leak that are known and lived with.")

NEAR_M = 1.0  # m root-mean-square from a training situation at which a held-out one is a near-duplicate
_RESOLUTION_M = 0.25
_PROBES, _REFERENCES = 1000, 8000  # windows read at most
_CHUNK = 256  # windows in memory at a time
_STANDING = 0.5  # m/s
_SAMPLED = 3  # scenes of each split whose windows are cut again, the slowest part
_AXES = (
  "source", "domain", "geography", "operation", "weather", "light", "speed_regime", "traffic_side",
  "sensor_rig", "label_source", "rare_events",
)  # fmt: skip
_RANGES = ("dt", "friction", "driver_noise", "density", "label_horizon_s")


@dataclasses.dataclass
class _Seen:
  """What one pass over the scenes leaves: traces by split, stop counts by domain, some scenes' windows."""

  traces: dict[str, list] = dataclasses.field(default_factory=dict)
  standing: Counter = dataclasses.field(default_factory=Counter)
  present: Counter = dataclasses.field(default_factory=Counter)
  windows: list = dataclasses.field(default_factory=list)


def main() -> int:
  import difflib

  from data import leaks
  from data.datasets import open_dataset
  from data.errors import BadInput
  from data.files import write_json_atomic

  for kind in _ACCEPT.value:
    if kind not in leaks.KINDS:
      near = difflib.get_close_matches(kind, leaks.KINDS, 1, 0.0)[0]
      raise BadInput(f"{kind!r} is no kind of leak", "--accept", f"did you mean {near}?")
  dataset = open_dataset(_DATASET.value)
  report = audit(dataset, _ACCEPT.value)
  write_json_atomic(dataset.path / "audit.json", report)
  print(table(report))
  return int(any(found["count"] and not found["accepted"] for found in report["leaks"].values()))


def audit(dataset: Any, accepted: list[str]) -> dict[str, Any]:
  """The content of audit.json for an opened data.datasets.Dataset."""
  from data import leaks

  seen = _look(dataset)
  found = leaks.find(seen.traces)
  found["scene_identity"] += leaks.identity_in_paths(seen.traces, dataset.manifest["files"])
  found["scene_identity"] += leaks.identity_in_windows(seen.windows)
  near = _near_duplicates(dataset)
  return {
    "dataset_fingerprint": dataset.fingerprint,
    "leaks": {
      kind: {
        "count": len(items),
        "splits": sorted({split for leak in items for split in leak.splits}),
        "examples": [leak.what for leak in items[:5]],
        "accepted": kind in accepted,
      }
      for kind, items in found.items()
    },
    "near_duplicate_share": near["share"],
    "near_duplicates": near,
    "stop_share": _stop_share(seen),
    "coverage": coverage(seen.traces),
    "notes": notes(seen.traces),
    "accepted": sorted(accepted),
  }


def coverage(traces: dict[str, list]) -> dict[str, Any]:
  """Per metadata axis: scenes by value and split, or the range of a number by split."""
  result: dict[str, Any] = {}
  for axis in _AXES:
    counts: dict[str, Counter] = defaultdict(Counter)
    for split, items in traces.items():
      for t in items:
        value = getattr(t.metadata, axis)
        values = (value or ("none",)) if isinstance(value, tuple) else (str(value) or "unknown",)
        for name in values:
          counts[name][split] += 1
    result[axis] = {name: dict(sorted(counts[name].items())) for name in sorted(counts)}
  for axis in _RANGES:
    numbers = {split: [getattr(t.metadata, axis) for t in items] for split, items in traces.items() if items}
    result[axis] = {split: [min(n), max(n)] for split, n in numbers.items()}
  return result


def notes(traces: dict[str, list]) -> list[str]:
  """Sentences on what is no leak but bears on what a held-out loss can say."""
  found = []
  everything = [t.metadata for items in traces.values() for t in items]
  smoothed = [m for m in everything if m.label_source != "teacher" and m.label_horizon_s > 0]
  if smoothed:
    longest = max(m.label_horizon_s for m in smoothed)
    found.append(
      f"{len(smoothed)} of {len(everything)} scenes have tracks smoothed offline with up to {longest:g} s of"
      " their own future"
    )
  for (a, one), (b, other) in itertools.combinations(sorted(traces.items()), 2):
    maps = {t.metadata.map_id for t in one} & {t.metadata.map_id for t in other} - {""}
    if maps:
      found.append(f"{len(maps)} maps are in both {a} and {b}")
  for axis in _AXES:
    value_of = {s: {str(getattr(t.metadata, axis)) for t in items} for s, items in traces.items()}
    unseen = value_of.get("validation", set()) - value_of.get("train", set())
    if unseen and axis != "rare_events":
      found.append(f"{axis} {', '.join(sorted(unseen))} is in validation but not in train")
  unknown = [
    axis for axis in _AXES if axis != "rare_events" and not any(getattr(m, axis) for m in everything)
  ]
  if unknown:
    found.append(f"unknown throughout: {', '.join(unknown)}")
  return found


def table(report: dict[str, Any]) -> str:
  """The report for people."""
  from data import leaks

  lines = []
  for kind, found in report["leaks"].items():
    verdict = "accepted" if found["accepted"] and found["count"] else "LEAK" if found["count"] else "none"
    lines.append(f"{verdict:<9}{found['count']:>6}  {kind}: {leaks.KINDS[kind][1]}")
    lines += [f"{'':17}{example}" for example in found["examples"][:2]]
  near = report["near_duplicates"]
  every, moving = ("unknown" if near[k] is None else f"{near[k]:.1%}" for k in ("share", "moving_share"))
  lines.append(
    f"near-duplicates: {every} of {near['validation_situations']} validation situations lie within"
    f" {near['within_m']:g} m of one of {near['train_situations']} in train, {moving} where somebody moves"
  )
  stops = ", ".join(f"{domain} {share:.0%}" for domain, share in report["stop_share"].items())
  lines.append(f"standing: {stops}")
  for axis, values in report["coverage"].items():
    if axis in _AXES:
      lines.append(f"{axis}: " + ", ".join(f"{name} {sum(c.values())}" for name, c in values.items()))
  return "\n".join([*lines, *(f"note: {note}" for note in report["notes"])])


def _look(dataset: Any) -> _Seen:
  """One pass over all scenes."""
  import numpy as np

  from data import traces
  from data.errors import BadInput
  from data.windows import windows_of
  from experiments.progress import Progress

  seen = _Seen()
  counts = {name: count["scenes"] for name, count in dataset.manifest["splits"].items() if count["scenes"]}
  if not dataset.holds("scenes"):
    raise BadInput("holds no scenes", dataset.path, "audit a dataset made from logs")
  with Progress(sum(counts.values()), "scenes", unit="scene") as bar:
    for split, count in counts.items():
      seen.traces[split] = []
      stride = -(-count // _SAMPLED)
      for index, scene in enumerate(dataset.scenes(split)):
        seen.traces[split].append(traces.trace(scene))
        speed = np.hypot(scene.velocity_TxAx2[..., 0], scene.velocity_TxAx2[..., 1])
        seen.standing[scene.metadata.domain] += int((scene.valid_TxA & (speed < _STANDING)).sum())
        seen.present[scene.metadata.domain] += int(scene.valid_TxA.sum())
        if index % stride == 0:
          domain = dataset.domains.index(scene.metadata.domain)
          seen.windows.append(windows_of(scene, dataset.window, domain))
        bar.update(1)
  return seen


def _stop_share(seen: _Seen) -> dict[str, float]:
  shares = {domain: seen.standing[domain] / count for domain, count in sorted(seen.present.items())}
  return shares | {"all": sum(seen.standing.values()) / max(sum(seen.present.values()), 1)}


def _near_duplicates(dataset: Any) -> dict[str, Any]:
  """Share of validation situations near one of train, over all and over those where somebody moves."""
  import numpy as np

  from data import duplicates

  probes, references = _signatures(dataset, "validation", _PROBES), _signatures(dataset, "train", _REFERENCES)
  near = duplicates.nearest(probes, references) < NEAR_M
  moving = duplicates.moving(probes)
  return {
    "within_m": NEAR_M,
    "validation_situations": len(probes),
    "train_situations": len(references),
    "share": float(np.mean(near)) if len(near) else None,
    "moving_share": float(np.mean(near[moving])) if moving.any() else None,
  }


def _signatures(dataset: Any, split: str, most: int) -> Any:
  """float32 [S, D] of at most so many windows, drawn from the whole split; none where it is empty."""
  import numpy as np

  from data import duplicates
  from data.reader import RecordSource

  fields = ("mask_TxA", "group_A", "truth_TxAx2")
  limit = min(most, dataset.manifest["splits"].get(split, {}).get("windows", 0))
  if not limit:
    return np.zeros((0, duplicates.WIDTH), np.float32)
  source = RecordSource(dataset, split, fields, limit)
  found = []
  for some in np.array_split(np.arange(limit), -(-limit // _CHUNK)):
    arrays = source.stacked(some)
    mask, group, truth = (arrays[name] for name in fields)
    found.append(duplicates.signatures(mask, group, truth, _RESOLUTION_M))
  return np.concatenate(found)


if __name__ == "__main__":
  program.run(main)
