"""Loss against bytes: what vehicles need to send for a fleet's motion model, by codec and by rounds.

  python -m benchmarks.federated_bytes --dataset=build/sumo --workdir=build/federated_bytes \
    --out=results/federated_bytes [--seeds=0,1,2] [--only="all;1 bit rotated, 4 x fewer"]

A setting is a codec up and a number of rounds: a quarter of the rounds has four times the local steps, so that every
setting sees as many windows. Clients' rates fall as a cosine over the rounds. Bytes are those of the serialised
messages, heads included. A setting is a run directory in --workdir: the same command adds what is missing, and writes
federated_bytes.json and the figure of all settings that are there.
"""

import argparse
import pathlib
from typing import Any

ROUNDS, STEPS = 120, 32  # of the reference
FINAL = 0.05  # of the clients' rate, in the last round


def settings() -> dict[str, dict[str, Any]]:
  """name -> what differs from the reference; "fewer": rounds less by this factor."""
  from experiments.configs.fleet import ALL

  def up(codec: str, feedback: bool = False, **changes) -> dict[str, Any]:
    return ALL | {"codec": codec, "feedback": feedback} | changes

  return {
    "all": {},
    "all, constant rate": {"algorithm": {"client_final": 1.0}},
    "all, 4 x fewer": {"fewer": 4},
    "8 bits": {"up": up("stochastic", bits=8)},
    "sign": {"up": up("sign", feedback=True)},
    "one of 32": {"up": up("one_of", feedback=True)},
    "1 bit rotated, 4 x fewer": {"up": up("rotated", bits=1), "fewer": 4},
    "4 bits rotated, 15 x fewer": {"up": up("rotated", bits=4), "fewer": 15},
  }


def values(dataset: str, rounds: int, seed: int, change: dict[str, Any]) -> dict[str, Any]:
  """A fleet's configuration."""
  from experiments.configs import fleet as config_file

  made = config_file.get_config("demo").to_dict()
  fewer = change.get("fewer", 1)
  made |= {"seed": seed, "rounds": rounds // fewer, "steps": STEPS * fewer, "epochs": 1e6}
  made["lanes"], made["evaluate_every"] = made["clients"], max(1, made["rounds"] // 2)
  made["train"]["seed"], made["train"]["data"]["dataset"] = seed, dataset
  made["fleet"]["reached"] = 1.0
  made["algorithm"]["client_final"] = FINAL
  for name, value in change.items():
    if name != "fewer":
      made[name] = made[name] | value
  return made


def found(workdir: pathlib.Path, rounds: int) -> list[dict[str, Any]]:
  """A row for each finished run of this many rounds of the reference."""
  from data.files import read_json
  from experiments.run_directory import read_jsonl

  rows = []
  for name in settings():
    for folder in sorted(workdir.glob(f"{name}, {rounds} rounds, seed *")):
      if not (folder / "result.json").exists():
        continue
      row = read_json(folder / "result.json", "run the same command again")
      judged = [record for record in read_jsonl(folder / "metrics.jsonl") if "loss" in record]
      rows.append(
        {"setting": name, "seed": int(folder.name.rpartition(" ")[2])}
        | {key: row[key] for key in ("rounds", "uplink_bytes", "downlink_bytes", "loss")}
        | {"curve": [(record["uplink_bytes"], record["loss"]) for record in judged]}
      )
  return rows


def draw(rows: list[dict[str, Any]], path: pathlib.Path) -> None:
  import matplotlib as mpl
  from matplotlib.figure import Figure

  from scaling.figures import theme

  last: dict[str, list[dict[str, Any]]] = {}
  for row in rows:
    last.setdefault(row["setting"], []).append(row)
  mean = {name: sum(row["loss"] for row in own) / len(own) for name, own in last.items()}
  with mpl.rc_context(theme.STYLE):
    figure = Figure(figsize=(theme.WIDTH * 0.8, 2.8), layout="constrained")
    axes = figure.add_subplot()
    for name, own in last.items():
      colour = theme.BLUE if "up" in settings()[name] else theme.SOFT
      axes.plot([row["uplink_bytes"] for row in own], [row["loss"] for row in own], "o", color=colour)
      axes.annotate(
        name, (own[0]["uplink_bytes"], max(row["loss"] for row in own)), (0, 5), textcoords="offset points",
        ha="center", color=colour, fontsize=7,
      )  # fmt: skip
    if "all" in mean:
      axes.axhline(1.01 * mean["all"], color=theme.ORANGE, lw=0.8, ls="--")
      axes.axvline(last["all"][0]["uplink_bytes"] / 100, color=theme.ORANGE, lw=0.8, ls="--")
    axes.set(
      xscale="log", xlabel="bytes sent by all vehicles together", ylabel="held-out loss (nats per token)"
    )
    axes.margins(0.15)
    theme.finish(figure, "dashed: a hundredth of the bytes of all, and one per cent above its loss")
    theme.save_pictures(figure, path, png=True)


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--dataset", required=True)
  parser.add_argument("--workdir", required=True, type=pathlib.Path)
  parser.add_argument("--out", required=True, type=pathlib.Path)
  parser.add_argument("--rounds", default=ROUNDS, type=int, help="Of the reference.")
  parser.add_argument("--seeds", default="0")
  parser.add_argument("--only", default="", help="Settings to run, by name, separated by semicolons.")
  chosen = parser.parse_args()
  from data.files import write_json_atomic
  from experiments import federation

  known = settings()
  for seed in map(int, chosen.seeds.split(",")):
    for name in chosen.only.split(";") if chosen.only else known:
      folder = chosen.workdir / f"{name}, {chosen.rounds} rounds, seed {seed}"
      federation.simulate(str(folder), values(chosen.dataset, chosen.rounds, seed, known[name]))
  rows = found(chosen.workdir, chosen.rounds)
  chosen.out.mkdir(parents=True, exist_ok=True)
  write_json_atomic(chosen.out / "federated_bytes.json", {"rounds": chosen.rounds, "runs": rows})
  draw(rows, chosen.out / "federated_bytes")
  for row in rows:
    print(
      f"{row['setting']:32s} {row['seed']} {row['rounds']:4d} {row['uplink_bytes']:10d} {row['loss']:.4f}"
    )


if __name__ == "__main__":
  main()
