"""Do winter vehicles better winter without their logs leaving them, also in a region that no vehicle has seen?

  python -m data.build --source=sumo --weathers=clear,snow --scenes_per_domain=16 --steps=120 --seed=11 \
    --fractions=0.6,0.12,0.28 --out=build/climates
  python -m benchmarks.two_climates --dataset=build/climates --out=results/two_climates [--seeds=0,1,2]

A model is trained centrally on logs of summer alone, and shipped. Then vehicles, a scene of one place and one weather
each, go on: half of them drive in snow. One domain is left out of everything, in either weather: its held-out scenes in
snow are the region that nobody has seen. Another one with every seed. All ways take as many local steps, from the same
base. Writes two_climates.json (sums and counts of every cell of domain and weather) and two_climates.svg.
"""

import argparse
import dataclasses
import json
import pathlib
from collections.abc import Callable
from typing import Any

from benchmarks.climate_ways import Study, central, ways

CLIMATES = {"summer": "clear", "winter": "snow"}
REGIONS = ("rural", "suburb", "roundabout", "highway", "urban_grid")  # the one of each seed
BASE_STEPS, BASE_RATE = 6000, 0.006


def prepare(dataset: str, region: str, seed: int, width: int) -> Study:
  import jax
  import jax.numpy as jnp
  import numpy as np

  from data import reader, scene_labels
  from data.datasets import open_dataset
  from experiments import federation
  from experiments.configs import fleet as config_file
  from experiments.configs import motion
  from experiments.federation_config import parse
  from experiments.task import make_task

  opened = open_dataset(dataset)
  values = config_file.get_config("demo").to_dict()
  values["train"] = motion.get_config(f"w{width}").to_dict()
  values["seed"] = values["train"]["seed"] = seed
  values["train"]["data"]["dataset"] = dataset
  fleets = {}
  for name, also in (("both", ""), ("summer", ";weather=snow")):
    without = f"domain={region}{also}"
    values["fleet"] |= {"axes": "domain,weather", "without": without, "reached": 1.0}
    values["fleet"]["vehicles"] = _scenes(opened, without)
    config, train = parse(values)
    fleets[name] = federation.make_fleet(config, opened, "train")
  _, names = scene_labels.of_records(opened, "train", ["weather"])
  snow = names["weather"].index(CLIMATES["winter"])
  winter_V = np.array([cell["weather"] == snow for cell in fleets["both"].cells])[fleets["both"].home_V]

  places, weathers = len(opened.domains), len(names["weather"])
  task = make_task(train, opened.config, places * weathers)  # which judges by cell of domain and weather

  def read(split: str) -> dict:
    source = reader.RecordSource(opened, split, task.fields)
    labels, _ = scene_labels.of_records(opened, split, ["weather"])
    stacked = source.stacked(np.arange(len(source)))
    stacked["domain"] = labels["domain"] * weathers + labels["weather"]
    return task.to_batch(stacked)

  held = {split: _in_pieces(read(split), 64) for split in ("tune", "validation")}

  @jax.jit
  def lost(params, pieces):
    found = jax.lax.map(lambda b: task.held_out(params, b, jax.random.key(0))["by_domain"], pieces)
    return jax.tree.map(lambda x: x.sum(0), found)

  def judge(params, split: str):
    return tuple(np.asarray(x, np.float64) for x in lost(params, held[split]))

  data = {name: jnp.asarray(value) for name, value in read("train").items()}
  key = jax.random.key(seed)
  example = {name: value[:1] for name, value in data.items()}
  fresh = jax.jit(lambda key: _unboxed(task.init(key, example)["params"]))(key)
  winter_G = np.tile(np.arange(weathers) == snow, places)
  found = Study(task, opened.domains, data, fleets, winter_V, fresh, judge, winter_G, key, seed)
  return dataclasses.replace(found, base=central(found, "summer", BASE_STEPS, BASE_RATE))


def _scenes(opened: Any, without: str) -> int:
  """How many scenes of train are in none of the slices."""
  import numpy as np

  from data import scene_labels, slices

  labels, names = scene_labels.of_records(opened, "train", slices.axes(without))
  gone = np.any([slices.members(one, labels, names) for one in without.split(";")], 0)
  return len(np.unique(labels["scene"][~gone]))


def _in_pieces(batch: dict, size: int) -> dict:
  """[pieces, size, ...]; records of zeros at the end supervise no move."""
  import jax.numpy as jnp
  import numpy as np

  def cut(value):
    missing = -len(value) % size
    full = np.concatenate([value, np.zeros((missing, *value.shape[1:]), value.dtype)])
    return jnp.asarray(full.reshape(-1, size, *value.shape[1:]))

  return {name: cut(np.asarray(value)) for name, value in batch.items()}


def _unboxed(params):
  import flax.linen as nn

  return nn.unbox(params)


def measured(study: Study, way: Callable, split: str) -> dict[str, Any]:
  """Sums over the cells of each climate under its model, counts, and bytes; the mean over several models."""
  import numpy as np

  pairs, sent = way(study)
  sums = []
  for summer, winter in pairs:
    by_model = [study.judge(model, split) for model in ((summer,) if summer is winter else (summer, winter))]
    sums.append(np.where(study.winter_G, by_model[-1][0], by_model[0][0]))
  counts = by_model[0][1]
  return {"sums": np.mean(sums, 0).tolist(), "counts": counts.tolist(), "bytes": sent}


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--dataset", required=True)
  parser.add_argument("--out", required=True, type=pathlib.Path)
  parser.add_argument("--seeds", default="0,1,2")
  parser.add_argument("--width", default=16, type=int)
  parser.add_argument("--ways", default="", help="Names joined by ';'; empty: all.")
  parser.add_argument("--split", default="validation")
  chosen = parser.parse_args()
  from benchmarks import two_climates_figure
  from data.files import write_json_atomic

  chosen.out.mkdir(parents=True, exist_ok=True)
  path = chosen.out / "two_climates.json"
  found = json.loads(path.read_text()) if path.exists() else {"seeds": {}}
  for seed in chosen.seeds.split(","):
    region = REGIONS[int(seed) % len(REGIONS)]
    here = found["seeds"].setdefault(seed, {"region": region, "ways": {}})
    asked = chosen.ways.split(";") if chosen.ways else list(ways())
    wanted = [name for name in asked if name not in here["ways"]]
    if not wanted:
      continue
    study = prepare(chosen.dataset, region, int(seed), chosen.width)
    found |= {"domains": study.domains, "winter": study.winter_G.tolist()}
    for name in wanted:
      here["ways"][name] = measured(study, ways()[name], chosen.split)
      write_json_atomic(path, found)
      print(seed, region, name, flush=True)
  print(two_climates_figure.table(found))
  two_climates_figure.draw(found, chosen.out / "two_climates")


if __name__ == "__main__":
  main()
