"""Loss against bytes: what vehicles need to send for a fleet's motion model, by codec and by rounds.

  python -m benchmarks.federated_bytes --dataset=build/sumo --workdir=build/federated_bytes \\
    --out=results/federated_bytes [--seeds=0] [--only=one_of,...]

A setting is a codec up and a number of rounds: half the rounds have twice the local steps, so that every setting sees
as many windows. Bytes are those of the serialised messages, heads included. A setting is a run directory in --workdir;
the same command adds what is missing, and writes federated_bytes.json and the figure of all that is there.
"""

import argparse
import pathlib
from typing import Any

ROUNDS, STEPS = 120, 32  # of the reference
FINAL = 0.05  # of the clients' rate, in the last round


def settings() -> dict[str, dict[str, Any]]:
  """name -> what differs from the reference; "fewer": rounds less by this factor."""
  from experiments.configs.fleet import ALL

  outer = {"server_momentum": 0.5, "server_rate": 0.7}

  def up(codec: str, feedback: bool = False, **changes) -> dict[str, Any]:
    return ALL | {"codec": codec, "feedback": feedback} | changes

  return {
    "all": {},
    "all, constant rate": {"algorithm": {"client_final": 1.0}},
    "all, Nesterov": {"algorithm": outer},
    "all, 4 x fewer": {"fewer": 4},
    "all, 4 x fewer, Nesterov": {"fewer": 4, "algorithm": outer},
    "1 bit rotated": {"up": up("rotated", bits=1)},
    "1 bit rotated, 4 x fewer": {"up": up("rotated", bits=1), "fewer": 4},
    "1 bit rotated, 4 x fewer, Nesterov": {"up": up("rotated", bits=1), "fewer": 4, "algorithm": outer},
    "one of 32": {"up": up("one_of", feedback=True)},
    "one of 32, Nesterov": {"up": up("one_of", feedback=True), "algorithm": outer},
    "sign": {"up": up("sign", feedback=True)},
    "2 bits rotated": {"up": up("rotated", bits=2)},
    "4 bits": {"up": up("stochastic", bits=4)},
    "8 bits": {"up": up("stochastic", bits=8)},
    "top 1 %": {"up": up("top_k", feedback=True, share=0.01, bits=16)},
    "rank 1": {"up": up("power", feedback=True, rank=1)},
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


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--dataset", required=True)
  parser.add_argument("--workdir", required=True, type=pathlib.Path)
  parser.add_argument("--out", required=True, type=pathlib.Path)
  parser.add_argument("--rounds", default=ROUNDS, type=int, help="Of the reference.")
  parser.add_argument("--seeds", default="0")
  parser.add_argument("--only", default="", help="Settings to run, by name, separated by semicolons; all.")
  chosen = parser.parse_args()
  from data.files import read_json
  from experiments import federation

  known = settings()
  for seed in map(int, chosen.seeds.split(",")):
    for name in chosen.only.split(";") if chosen.only else known:
      folder = chosen.workdir / f"{name}, {chosen.rounds} rounds, seed {seed}"
      federation.simulate(str(folder), values(chosen.dataset, chosen.rounds, seed, known[name]))
      row = read_json(folder / "result.json", "run the same command again")
      print(f"{name:40s} {seed} {row['rounds']:4d} {row['uplink_bytes']:10d} {row['loss']:.4f}", flush=True)


if __name__ == "__main__":
  main()
