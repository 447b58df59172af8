"""The stages of a curriculum, and their gates. A stage is a dict with these keys, none of them optional:

  name      its run directory
  config    FILE.py[:variant] of the run; or "export.build": then its directory holds the artifacts of the run it starts
            from, its changes are flags of that program, and its row is the manifest's {target: {"metric": ..., ...}}
  start     an earlier stage whose weights it begins with (where names agree, experiments/start.py), or ""
  changes   {dotted key: value} of its configuration; "{stage}" as a value is the directory of that stage
  entry     gates on the stage it starts from, or else the one that it names (its teacher), judged before it runs
  exit      gates on itself

A gate is one of

  {"value": key, "below": x}, {"value": key, "above": x}
      of result.json: "loss", "loss_by_slice/highway", "probes/occupancy" (of a run with probe.every_steps), ...,
      or of a target: "onnx_int8/relative_l2";
      x is a number, or another key of the same row, such as that of a baseline
  {"slice": text, "than": stage, "by": x}
      not worse there than that stage by more than x and noise
  {"slice": text, "than": stage, "by": x, "probe": target}
      the same of 1 - score of a linear probe: stages of different objectives, or whose loss ranks no runs

Bengio et al., "Curriculum Learning", ICML 2009.
"""

import dataclasses
import math
import pathlib
import runpy
from typing import Any

from data.errors import BadInput
from data.files import read_json, write_json_atomic
from experiments import stages
from experiments.config import from_dict
from experiments.program import LastingFault
from experiments.run_directory import read_config, read_result

EXPORT = "export.build"  # in place of a configuration
CONFIDENCE = 0.95  # that noise alone fails none of a stage's gates
_GATES = ({"value", "below"}, {"value", "above"}, {"slice", "than", "by"})


@dataclasses.dataclass(frozen=True)
class Stage:
  name: str
  config: str
  start: str
  changes: dict
  entry: tuple
  exit: tuple

  @property
  def named(self) -> list[str]:
    """Stages whose directories its configuration names."""
    return [value[1:-1] for value in self.changes.values() if _names_stage(value)]

  @property
  def before(self) -> str:
    """The stage that its entry gates judge; "" where it follows none."""
    return self.start or next(iter(self.named), "")


def read(file: str) -> list[Stage]:
  """The stages of FILE.py[:variant]; raises BadInput that names what is wrong with which."""
  path, _, variant = file.partition(":")
  try:
    made = runpy.run_path(path)["stages"](variant)
  except (FileNotFoundError, KeyError):
    raise BadInput("holds no stages(variant)", path, "give a file that does, :VARIANT after it") from None
  found: list[Stage] = []
  for number, values in enumerate(made):
    where = f"{path}, stage {number + 1}"
    stage = from_dict(values, Stage, where)
    earlier = [one.name for one in found]
    if stage.name in earlier or not stage.name.isidentifier():
      raise BadInput(f"name is {stage.name!r}", where, "give each a name of its own, of letters and digits")
    for name in [
      stage.start,
      *stage.named,
      *(gate["than"] for gate in _gates(stage, where) if "than" in gate),
    ]:
      if name and name not in earlier:
        raise BadInput(
          f"{name!r} is no earlier stage", where, f"choose one of {', '.join(earlier) or 'none'}"
        )
    if stage.config == EXPORT and not stage.start:
      raise BadInput("an export of no run", where, "name a stage in start")
    if stage.entry and not stage.before:
      raise BadInput("an entry gate without a stage to start from", where, "name it in start")
    found.append(stage)
  if not found:
    raise BadInput("holds no stage", file, "add one")
  return found


def _gates(stage: Stage, where: str) -> list[dict]:
  for gate in (*stage.entry, *stage.exit):
    if set(gate) - {"probe"} not in _GATES or ("probe" in gate and "slice" not in gate):
      known = "value and below, value and above, or slice, than and by, with probe or without"
      raise BadInput(f"{gate} is no gate", where, f"give {known}")
  return [*stage.entry, *stage.exit]


def command(stage: Stage, work: pathlib.Path, dataset: pathlib.Path) -> stages.Stage:
  """The command of a stage, valid as long as its configuration, data and the weights it began with are."""
  out = work / stage.name
  if stage.config == EXPORT:
    run = work / stage.start
    argv = [EXPORT, f"--run={run}", f"--dataset={dataset}", f"--out={out}"]
    argv += [f"--{name}={value}" for name, value in stage.changes.items()]
    inputs = [run / "result.json", dataset / "dataset.json"]
    return stages.Stage(stage.name, stage.name, tuple(argv), tuple(inputs), (out,), out)
  placed = {"start.run": f"{{{stage.start}}}"} if stage.start else {}
  placed |= {key: value for key, value in stage.changes.items() if _names_stage(value)}
  runs = {key: work / value[1:-1] for key, value in placed.items()}
  changes = stage.changes | {"data.dataset": dataset} | runs
  inputs = [pathlib.Path(stage.config.partition(":")[0]), dataset / "dataset.json"]
  inputs += [run / "result.json" for run in runs.values()]
  argv = ["experiments.train", f"--config={stage.config}", f"--workdir={out}"]
  argv += [f"--config.{key}={value}" for key, value in changes.items()]
  return stages.Stage(stage.name, stage.name, tuple(argv), tuple(inputs), (out / "result.json",), out)


def _names_stage(value: Any) -> bool:
  return isinstance(value, str) and value.startswith("{") and value.endswith("}")


def judge(stage: Stage, when: str, work: pathlib.Path, split: str) -> None:
  """Judges the stage's gates and writes what they found; a closed one raises LastingFault that says which and why.

  Gates that opened are not judged again until the stages they look at are others. split: on which slices are compared;
  what gates decide on should not be what results are reported on.
  """
  wanted = stage.entry if when == "entry" else stage.exit
  if not wanted:
    return
  judged = stage.before if when == "entry" else stage.name
  looked_at = sorted({judged, *(gate["than"] for gate in wanted if "than" in gate)})
  results = {name: stages.digest(_row_file(work / name)) for name in looked_at}
  asked = {"gates": list(wanted), "split": split, "results": results}
  path = work / "gates" / f"{stage.name}.{when}.json"
  before = read_json(path, "delete it and run the chain again") if path.exists() else {}
  if before.get("asked") == asked and all(line["open"] for line in before["found"].values()):
    return
  lines = [_value(gate, work / judged) for gate in wanted if "value" in gate]
  compared: dict[tuple[str, str], dict[str, float]] = {}
  for gate in wanted:
    if "slice" in gate:
      compared.setdefault((gate["than"], gate.get("probe", "")), {})[gate["slice"]] = float(gate["by"])
  for (than, probe), allowed in compared.items():
    from experiments.continual import compare

    verdicts = compare(str(work / judged), str(work / than), allowed, split, CONFIDENCE, (), probe)
    lines += [
      {"gate": f"{name} of {judged} against {than}", "open": not v.closed, "says": v.sentence(name)}
      for name, v in verdicts.items()
    ]
  found = {line.pop("gate"): line for line in lines}
  write_json_atomic(path, {"asked": asked, "found": found})
  if shut := [line["says"] for line in lines if not line["open"]]:
    raise LastingFault(f"{when} of stage {stage.name}: " + "; ".join(shut))


def _value(gate: dict, run: pathlib.Path) -> dict:
  """{"gate", "open", "says"} of a gate on a number in the run's row."""
  row = _row(run)
  _require_ranking(gate["value"], row, run)
  at = _number(gate["value"], row, run)
  side, limit = next((side, gate[side]) for side in ("below", "above") if side in gate)
  bound = _number(limit, row, run) if isinstance(limit, str) else limit
  fine = at < bound if side == "below" else at > bound
  said = f"{gate['value']} of {run.name} is {at:.4f}, {'' if fine else 'not '}{side} {limit}"
  said += f" ({bound:.4f})" if isinstance(limit, str) else ""
  return {"gate": f"{gate['value']} {side} {limit}", "open": fine, "says": said}


def _number(key: str, row: dict, run: pathlib.Path) -> float:
  """What stands at "a" or "a/b" of a row; raises BadInput where that is no number."""
  at: Any = row
  for part in key.split("/", 1):
    at = at.get(part) if isinstance(at, dict) else None
  if not isinstance(at, int | float) or not math.isfinite(at):
    raise BadInput(f"{key!r} is no number there", _row_file(run), "name one that is")
  return at


def _require_ranking(value: str, row: dict, run: pathlib.Path) -> None:
  """Raises BadInput for a gate on a loss that falls when features collapse, over all or of a domain."""
  of, _, name = value.partition("/")
  if row.get("loss_ranks", True) or of not in ("loss", "loss_by_slice"):
    return
  dataset = pathlib.Path(read_config(run)["data"]["dataset"])
  domains = read_json(dataset / "dataset.json", "restore the dataset")["domains"]
  if of == "loss" or name in domains:
    what = f"the loss of {row['objective']} falls when features collapse, and opens no gate"
    raise BadInput(what, run, 'gate "probes/occupancy", say, and set probe.every_steps')


def outcome(stage: Stage, work: pathlib.Path) -> str:
  """What came of a stage, and what it began with, in one line."""
  row = _row(work / stage.name)
  if stage.config == EXPORT:
    said = (f"{name} {own['metric']:.4f} (float {own['metric_fp32']:.4f})" for name, own in row.items())
    return "held-out loss of artifacts: " + ", ".join(said)
  text = f"held-out loss {row['loss']:.4f} after {row['steps']} steps"
  return text + (f"; {_carried(work / stage.name)}" if stage.start else "")


def _row_file(stage: pathlib.Path) -> pathlib.Path:
  manifest = stage / "manifest.json"
  return manifest if manifest.exists() else stage / "result.json"


def _row(stage: pathlib.Path) -> dict[str, Any]:
  """What came of a run, or of every target of an export; {} before."""
  path = _row_file(stage)
  return (
    read_json(path, "run the chain again")["targets"]
    if path.name == "manifest.json"
    else read_result(stage) or {}
  )


def _carried(run: pathlib.Path) -> str:
  facts = read_json(run / "start.json", "run the chain again")
  counts = {name: len(facts[name]) for name in ("carried", "fresh", "resized", "left")}
  return ", ".join(f"{count} weights {name}" for name, count in counts.items() if count)


def summary(found: list[Stage], work: pathlib.Path) -> dict[str, Any]:
  """Every stage's row, where its weights come from, and its gates."""
  rows = {}
  for stage in found:
    gates = {
      when: read_json(path, "run the chain again")
      for when in ("entry", "exit")
      if (path := work / "gates" / f"{stage.name}.{when}.json").exists()
    }
    rows[stage.name] = {"start": stage.start, "row": _row(work / stage.name), "gates": gates}
  return rows
