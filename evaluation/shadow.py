"""May a candidate replace the incumbent? python -m evaluation.shadow --candidate=W --incumbent=W --dataset=D --out=DIR.

The candidate drives in the incumbent's shadow: both motion models read the same held-out logs, piece by piece, scenes
of all domains in turn, and are scored against what was driven (evaluation/shadowing/stream.py). After every record a
test with a stated rate of false alarms says promote, hold or reject, and names the slices in which the candidate is
shown to be worse (evaluation/shadowing/sequential_gate.py); scenes are its units. All records together decide, and so
do the slices that are named; other domains are watched only. How many scenes of every slice that decides a promotion
needs is said before anything is scored. Writes OUT/shadow.json with all of it and the records over which the two
differ most, and OUT/disagreements.html, in which they are drawn. The exit code is 0 whatever the verdict.
"""

from typing import Any

from absl import flags

from experiments import program

_CANDIDATE = flags.DEFINE_string("candidate", None, "Run directory that would follow.", required=True)
_INCUMBENT = flags.DEFINE_string("incumbent", None, "Run directory that is in use.", required=True)
_DATASET = flags.DEFINE_string("dataset", "", "Dataset to replay; empty: the candidate's own.")
_SPLIT = flags.DEFINE_string("split", "", "Its split; empty: the candidate's evaluation split.")
_OUT = flags.DEFINE_string("out", None, "Directory for the results.", required=True)
_SLICES = flags.DEFINE_string(
  "slices", "", 'Slices that decide too, joined by ";", such as "domain=rural;weather=rain".'
)
_SCORE = flags.DEFINE_enum("score", "hits", ["hits", "nats", "away"], "By what the two are judged.")
_MARGIN = flags.DEFINE_float("margin", 0.0, "Loss of score that must be ruled out; 0: the score's own.", 0.0)
_FALSE_ALARM = flags.DEFINE_float(
  "false_alarm", 0.05, "Rate of false rejections, of false promotions.", 1e-6, 0.5
)
_OBSERVED = flags.DEFINE_float("observed_s", 3.0, "Seconds of a record seen.", lower_bound=0.1)
_HORIZON = flags.DEFINE_float("horizon_s", 3.0, "Seconds of a record looked ahead.", lower_bound=0.1)
_SEED = flags.DEFINE_integer("seed", 0, "Of the order in which scenes come.", lower_bound=0)
_SHOWN = flags.DEFINE_integer("shown", 12, "Disagreements drawn.", lower_bound=0)

AXES = ("domain", "weather", "light", "speed_regime", "traffic_side")  # of a scene, to cut slices by
# By score: its field, its sign (higher is better), its margin, and the difference of a scene at which it is cut.
_JUDGED = {
  "hits": ("hits_N", 1, 0.05, 1.0),
  "nats": ("nats_N", -1, 0.05, 0.5),
  "away": ("away_N", -1, 0.1, 1.0),
}


def main() -> int:
  import dataclasses
  import logging

  from data.errors import BadInput
  from data.files import require_directory, write_json_atomic, write_text_atomic
  from evaluation.shadowing import disagreements
  from evaluation.shadowing.sequential_gate import Rule
  from evaluation.shadowing.stream import interleaved, score, stream
  from experiments import run as runs
  from experiments.progress import Progress
  from models.motion import MotionModel

  _, _, margin, bound = _JUDGED[_SCORE.value]
  rule = Rule(_FALSE_ALARM.value, _MARGIN.value or margin, bound)
  out = require_directory(_OUT.value, "--out")
  candidate = runs.open_run(_CANDIDATE.value, _DATASET.value)
  incumbent = runs.open_run(_INCUMBENT.value, str(candidate.dataset.path))
  for run in (candidate, incumbent):
    if not isinstance(run.task.model, MotionModel):
      raise BadInput(f"is of family {run.config.family}", run.path, "give runs of motion models")
  split = _SPLIT.value or candidate.config.data.eval_split
  window = candidate.dataset.window
  logged, empty, faults = stream(candidate.dataset.scenes(split), window, _OBSERVED.value, _HORIZON.value)
  records = interleaved(logged, _SEED.value)
  slices, watched = slices_of(records, _SLICES.value)
  reach = reach_of(records, slices, rule)
  print(said_before(reach))
  if reach["out_of_reach"]:
    logging.warning("too few scenes for a promotion, whatever the candidate: %s", reach["out_of_reach"])
  scores = []
  with Progress(2, f"{len(records)} records", unit="run") as bar:
    for run in (candidate, incumbent):
      scores.append(score(run.task.model.apply, run.weights, run.task.to_batch, window.dt, records))
      bar.update()
  result = report(records, scores[0], scores[1], _SCORE.value, rule, slices, watched) | {
    "reach": reach,
    "left_out": empty,
    "faults": dict(faults),
    "candidate": candidate.row["run_id"],
    "incumbent": incumbent.row["run_id"],
    "dataset_fingerprint": candidate.dataset.fingerprint,
    "split": split,
    "observed_s": _OBSERVED.value,
    "horizon_s": _HORIZON.value,
    "seed": _SEED.value,
  }
  shown = disagreements.worst(records, scores[0], scores[1], _SHOWN.value)
  result["disagreements"] = [dataclasses.asdict(one) | {"nearer": one.nearer} for one in shown]
  drawings = [disagreements.drawing(one, records, scores[0], scores[1]) for one in shown]
  title = f"{result['candidate']} in the shadow of {result['incumbent']}"
  write_json_atomic(out / "shadow.json", result)
  write_text_atomic(out / "disagreements.html", disagreements.page(title, sentence(result), shown, drawings))
  print(table(result))
  print(out / "shadow.json")
  return 0


def slices_of(records: list, text: str) -> tuple[dict[str, Any], dict[str, Any]]:
  """(slices that decide, slices that are watched): name to records, bool [N].

  All records and the slices of `text` (data/slices.py) decide; the domains that it does not name are watched.
  """
  import numpy as np

  from data.slices import members

  said = {axis: [getattr(record.scene.metadata, axis) or "unknown" for record in records] for axis in AXES}
  names = {axis: sorted(set(values)) for axis, values in said.items()}
  labels = {axis: np.searchsorted(names[axis], values) for axis, values in said.items()}
  wanted = [one.strip() for one in text.split(";") if one.strip()]
  domains = [f"domain={one}" for one in names["domain"]]
  deciding = {"all": np.ones(len(records), bool)} | {one: members(one, labels, names) for one in wanted}
  return deciding, {one: members(one, labels, names) for one in domains if one not in wanted}


def reach_of(records: list, slices: dict[str, Any], rule) -> dict[str, Any]:
  """What a promotion asks of the stream: scenes of every slice that decides, for a candidate better by the bound in
  each ("at_best") and for one as good ("if_equal"), and how many scenes there are; slices with less than at best."""
  import numpy as np

  from evaluation.shadowing.sequential_gate import least_units

  unit_N = np.array([record.unit for record in records])
  scenes = {name: len(np.unique(unit_N[inside_N])) for name, inside_N in slices.items()}
  at_best = least_units(rule, rule.bound)
  return {
    "at_best": at_best,
    "if_equal": least_units(rule, 0.0),
    "scenes": scenes,
    "out_of_reach": [name for name, count in scenes.items() if count < (at_best or 0)],
  }


def said_before(reach: dict[str, Any]) -> str:
  there = ", ".join(f"{name} has {count}" for name, count in reach["scenes"].items())
  return (
    f"A promotion needs at least {reach['at_best']} scenes of every slice that decides, and {reach['if_equal']} of a"
    f" candidate that is as good as the incumbent in each: {there}."
  )


def report(
  records: list, candidate, incumbent, judged: str, rule, slices: dict[str, Any], watched: dict[str, Any]
) -> dict[str, Any]:
  """shadow.json but for its provenance and its disagreements.

  Args:
    records: of evaluation.shadowing.stream; candidate, incumbent: its Scores of them. judged: a key of _JUDGED.
    slices, watched: of `slices_of`.
  """
  import dataclasses

  import numpy as np

  from evaluation.shadowing.sequential_gate import decide

  field, sign, _, _ = _JUDGED[judged]
  unit_N = np.array([record.unit for record in records])
  better, worse = (sign * getattr(scores, field) for scores in (candidate, incumbent))
  decision = decide(better, worse, unit_N, slices, rule)
  looked_at = decide(better, worse, unit_N, watched, rule).slices if watched else {}

  def means(inside_N):
    return {"records": int(inside_N.sum())} | {
      name: {score: float(getattr(scores, of)[inside_N].mean()) for score, (of, *_) in _JUDGED.items()}
      for name, scores in (("candidate", candidate), ("incumbent", incumbent))
    }

  every = slices | watched
  return {
    "verdict": decision.verdict,
    "after_records": decision.after,
    "records": len(records),
    "scenes": len(np.unique(unit_N)),
    "score": judged,
    "rule": dataclasses.asdict(rule),
    "degraded": decision.worse,
    "not_yet_shown": decision.open,
    "not_seen_by_then": [name for name, inside_N in every.items() if not inside_N[: decision.after].any()],
    "slices": {
      name: dataclasses.asdict(found) | means(slices[name]) for name, found in decision.slices.items()
    },
    "watched": {
      name: {"units": found.units, "change": found.change} | means(watched[name])
      for name, found in looked_at.items()
    },
  }


def sentence(result: dict[str, Any]) -> str:
  rule, reasons = result["rule"], ""
  if result["degraded"]:
    reasons = f"; worse in {', '.join(result['degraded'])}"
  elif result["verdict"] == "hold":
    reasons = (
      f"; nothing is shown yet of {', '.join(result['not_yet_shown'])}" if result["not_yet_shown"] else ""
    )
  if result["not_seen_by_then"]:
    reasons += f"; no record yet of {', '.join(result['not_seen_by_then'])}"
  return (
    f"{result['verdict'].capitalize()} after {result['after_records']} of {result['records']} records"
    f" ({result['scenes']} scenes){reasons}. Judged by {result['score']}, a margin of {rule['margin']:g},"
    f" false alarms at most {rule['false_alarm']:g}."
  )


def table(result: dict[str, Any]) -> str:
  """What the program prints: the verdict, then every slice that decides, the most degraded first; then the watched."""
  scores = list(_JUDGED)
  head = f"{'slice (candidate / incumbent)':<34}{'scenes':>8}" + "".join(f"{name:>18}" for name in scores)
  lines = [sentence(result), "", head + f"{'worse':>12}{'harmless':>12}"]

  def row(name: str, one: dict[str, Any], shown: str) -> str:
    cells = "".join(f"{one['candidate'][s]:>9.3f} /{one['incumbent'][s]:>7.3f}" for s in scores)
    return f"{name:<34}{one['units']:>8}{cells}{shown}"

  for name, one in sorted(result["slices"].items(), key=lambda item: -item[1]["worse"]):
    shown = "".join(
      f"{'shown' if one[f'{what}_after'] is not None else format(one[what], '.3g'):>12}"
      for what in ("worse", "harmless")
    )
    lines.append(row(name, one, shown))
  lines += [
    row(name, one, f"{'watched':>12}")
    for name, one in sorted(result["watched"].items(), key=lambda item: item[1]["change"])
  ]
  return "\n".join(lines)


if __name__ == "__main__":
  program.run(main)
