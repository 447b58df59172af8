"""The demo's report: python -m experiments.demo_report --workdir=W, on what experiments.demo left in W.

Fits the law again with the outcome beside it (W/law/fit.json) and writes W/report.html, one file that opens
offline.
"""

import pathlib
import sys
from typing import Any

from absl import flags

from data.files import read_json
from experiments import program
from scaling.report import Figure, Page, Section, Table, write_report

_WORKDIR = flags.DEFINE_string("workdir", None, "Directory of the demo.", required=True)

DRAWS = 1000
_AGAIN = "run experiments.demo again"


def main() -> int:
  from scaling import analysis, curves, fit_report, table

  work = pathlib.Path(_WORKDIR.value)
  law = work / "law"
  outcome = table.collect([work / "larger"], law / "larger.csv")
  fitted = read_json(law / "fit.json", _AGAIN)  # this report fits again, in the same way
  tables = [work / "ladder" / "runs.csv", outcome]
  way = fitted["draws"]["parametric"]["way"]
  options = analysis.Options(curves=tuple(curves.beside(tables)), bootstrap_by=way)
  found = analysis.analyse(tables, fitted["loss"], DRAWS, 0, 1, options)
  found = analysis.compare(found, law / "prediction.json")
  fit_report.write(found, law)
  sections = [
    *fit_report.sections(found, law),
    forecasts(read_json(work / "forecast" / "forecast.json", _AGAIN)),
    drives(work / "closed_loop"),
    artifacts(read_json(work / "vehicle" / "manifest.json", _AGAIN)),
    fleet(work / "fleet", work / "ladder" / "runs.csv"),
    places(read_json(work / "larger" / "result.json", _AGAIN)),
    traffic(
      read_json(work / "dataset" / "dataset.json", _AGAIN), read_json(work / "dataset" / "audit.json", _AGAIN)
    ),
    times(work / "stages"),
  ]
  title = "Drivetrain: a scaling law for a driving world model"
  summary, footer = fit_report.summary(found), fit_report.provenance(found)
  write_report(work / "report.html", title, sections, summary, footer)
  return 0


def forecasts(forecast: dict[str, Any]) -> Section:
  """Errors of the larger model beside constant velocity, in metres."""
  rows: list[list[Any]] = []
  for part, name in (("moving", "moving agents"), ("all", "all agents")):
    own = forecast[part]
    count = max(int(key.rpartition("_")[2]) for key in own if key.startswith("minADE_"))
    for who, values, k in (
      ("mean future", own, 1),
      (f"best of {count} futures", own, count),
      ("constant velocity", own["constant_velocity"], 1),
    ):
      errors = [values[f"{metric}_{k}"] for metric in ("minADE", "minFDE", "miss_rate")]
      rows.append([name, who, own["n_agents"], *errors])
  text = (
    f"The larger model drives all agents of held-out worlds for {forecast['horizon_s']:g} s, after seeing"
  )
  text += f" {forecast['observed_s']:g} s. Errors in metres; a miss ends more than 2 m away."
  header = ("", "forecast", "agents", "ADE (m)", "FDE (m)", "missed")
  return Section("Forecasts", (text,), (Table(header, rows),))


def drives(folder: pathlib.Path) -> Section:
  """Scores of the larger model in closed loop beside baselines, by kind of place, and one episode to watch."""
  result = read_json(folder / "closed_loop.json", _AGAIN)
  others = result["baselines"]
  names = [name.replace("policy:", "policy, ").replace("_", " ") for name in others]
  rows: list[list[Any]] = []
  for place in (*result["by_domain"], "all"):
    parts = [part if place == "all" else part["by_domain"][place] for part in (result, *others.values())]
    rows.append([place, parts[0]["episodes"], *(part["score"] for part in parts)])
  text = (
    "The larger model drives several vehicles at a time in simulated traffic that reacts to them. The score is 1 for"
    " a drive as far as the vehicle's own driver came, without rules broken, too near misses or discomfort."
  )
  watched: list[list[Any]] = [
    [kind, name, part["monitor"][kind]["takes_over"]]
    + [part["monitor"][kind]["counts"][count] for count in ("hits", "misses", "false_alarms")]
    for kind in result.get("monitor", {})
    for name, part in zip(("policy", *names), (result, *others.values()), strict=True)
    if kind in part.get("monitor", {})
  ]
  beside = (
    "A monitor of rules beside every driver says when it would take over, with constants of two sources. Contacts ahead"
    " within 3 s after that are hits, those without it misses; without a contact it was a false alarm."
  )
  taken = Table(("constants", "driver", "taken over", "hits", "misses", "false alarms"), watched)
  films = [Page(folder / "pictures" / name, f"An episode: {name}") for name in result["films"][:1]]
  header = ("", "episodes", "policy", *names)
  return Section("Driving in closed loop", (text, beside), (Table(header, rows), taken, *films))


def artifacts(manifest: dict[str, Any]) -> Section:
  """The larger model as files for vehicles: their size, error, loss and latency beside float."""
  made = {name: own for name, own in manifest["targets"].items() if "failed" not in own}
  rows: list[list[Any]] = []
  for name, own in made.items():
    size = sum(file["bytes"] for file in own["files"].values())
    taken = own["latency_ms"]
    rows.append(
      [
        name,
        size,
        own["relative_l2"],
        own["metric"],
        own["metric"] - own["metric_fp32"],
        taken["p50"],
        taken["p99"],
      ]
    )
  machine = next(iter(made.values()))["machine"] if made else {}
  text = (
    f"The larger model, calibrated on training records and judged on {manifest['records']} held-out ones: the error is"
    " the relative L2 distance of its answers from the float model's, the loss the run's own with the artifact in the"
    f" model's place. Latency of one window on {machine.get('processor', 'no machine')},"
    f" {machine.get('threads', 0)} thread, all artifacts in turn; a model this small is mostly overhead."
  )
  failed = [f"{name} failed: {own['failed']}" for name, own in manifest["targets"].items() if "failed" in own]
  header = ("target", "bytes", "error", "loss", "more than float", "p50 (ms)", "p99 (ms)")
  return Section("On the vehicle", (text,), (Table(header, rows),), failed)


def fleet(folder: pathlib.Path, runs: pathlib.Path) -> Section:
  """A fleet's curve beside the ladder's best run of its size, and what went over the air."""
  from experiments import federation_figure
  from experiments.run_directory import read_jsonl
  from scaling import table

  result, ladder = read_json(folder / "result.json", _AGAIN), table.read_runs(runs)
  same = ladder.params == result["params"]
  central = float(ladder.loss[same].min()) if same.any() else None
  federation_figure.draw(read_jsonl(folder / "metrics.jsonl"), central, folder / "curve")
  beside = (
    f" The ladder's best run of its size, trained where all logs are: {central:.4f}." if central else ""
  )
  up, down = (result[f"{way}link_bytes"] / 1e6 for way in ("up", "down"))
  text = (
    f"{result['vehicles']} vehicles keep their logs; in each of {result['rounds']} rounds {result['clients']} of them"
    f" train on their own and send what they learnt: {up:.1f} MB up, {down:.1f} MB down,"
    f" {result['simulated_seconds'] / 3600:.2f} simulated hours, {result['rejected']} updates rejected. Held-out loss"
    f" {result['loss']:.4f} nats per token.{beside}"
  )
  curve = Figure(folder / "curve.svg", "Held-out loss of a fleet against rounds and against bytes sent.")
  return Section("A fleet that keeps its logs", (text,), (curve,))


def places(result: dict[str, Any]) -> Section:
  """Held-out loss of the larger model by kind of place, nats per token."""
  slices = result["loss_by_slice"]
  rows: list[list[Any]] = [
    [name, slices[name], slices.get(f"moving/{name}")]
    for name in sorted(slices)
    if name != "moving" and "/" not in name
  ]
  rows.append(["all", result["loss"], slices.get("moving")])
  header = ("", "all agents", "moving agents")
  return Section("Loss by kind of place", ("Nats per token of the larger model.",), (Table(header, rows),))


def traffic(manifest: dict[str, Any], audit: dict[str, Any]) -> Section:
  """What was simulated, and what the audit says of the split."""
  counted = ("scenes", "windows", "tokens")
  rows: list[list[Any]] = [
    [name, *(counts[key] for key in counted)] for name, counts in manifest["splits"].items()
  ]
  leaks = [f"{kind}: {found['count']}" for kind, found in audit["leaks"].items() if found["count"]]
  text = f"Simulated traffic of {len(manifest['domains'])} kinds of place; every world has a map of its own and lies"
  text += " in one split. The audit looked for six kinds of leak and found " + (
    "none." if not leaks else "some."
  )
  return Section("Logs", (text,), (Table(("split", "worlds", "windows", "tokens"), rows),), leaks)


def times(stamps: pathlib.Path) -> Section:
  """Seconds by stage; the environment's own when make installed it."""
  installed = [pathlib.Path(sys.prefix) / name for name in (".demo", ".full")]
  rows: list[list[Any]] = []
  for path in installed:
    if path.exists() and path.read_text().strip().isdigit():
      rows.append(["install", float(path.read_text()), "make"])
      break
  for path in sorted(stamps.glob("*.json"), key=lambda p: p.stat().st_mtime):
    stamp = read_json(path, _AGAIN)
    if "command" in stamp:
      rows.append([path.stem, round(stamp["seconds"], 1), stamp["command"]])
  rows.append(["total, without this report", round(sum(row[1] for row in rows), 1), ""])
  return Section("How long it took", (), (Table(("stage", "seconds", "command"), rows),))


if __name__ == "__main__":
  program.run(main)
