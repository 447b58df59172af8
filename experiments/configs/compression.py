"""From a motion model to what a vehicle carries, in one chain: train, prune, recover, prune again, export as 8 bits.

  python -m data.build --source=sumo --scenes_per_domain=14 --fractions=0.6,0.1,0.3 --out=build/sumo
  python -m experiments.curriculum --stages=experiments/configs/compression.py --dataset=build/sumo --workdir=build/c

Each pruned run begins with the heads and units of the one before that its loss needs most (`start.other_shapes`), and
follows the whole one, from which it may not fall back by more than noise and ALLOWED. Domains that are rarer come
oftener. What is exported has half the FLOPs. Variant: "tiny", which takes minutes. What pruning is worth:
results/pruning.
"""

from experiments.configs import variants

EVERYWHERE = "domain=apron|highway|ring_radial|roundabout|rural|suburb|urban_grid"
ALLOWED = 0.05  # nats per move


def stages(variant: str = "") -> list[dict]:
  variants.require(variant, ("tiny",), __file__)
  tokens, recovery = (40_000, 40_000) if variant else (2_000_000, 600_000)
  size = "tiny" if variant else "w32"
  student = f"experiments/configs/motion_distil.py:{size}"
  steps = ({"hidden": 24}, {"hidden": 12}) if variant else ({"hidden": 84}, {"heads": 1, "hidden": 44})
  kept = ({"slice": EVERYWHERE, "than": "whole", "by": ALLOWED},)
  chain = [_stage("whole", f"experiments/configs/motion.py:{size}", "", {"tokens": tokens}, ())]
  for number, shape in enumerate(steps, 1):
    changes = {f"model.{name}": count for name, count in shape.items()} | {
      "start.other_shapes": "taylor",
      "loss.teacher": "{whole}",
      "data.mixture.axes": "domain",
      "data.mixture.temperature": 2.0,
      "tokens": recovery,
    }
    chain.append(_stage(f"pruned_{number}", student, chain[-1]["name"], changes, kept))
  targets = {"targets": "onnx_fp32,onnx_int8"}
  right = ({"value": "onnx_int8/relative_l2", "below": 0.1},)
  return [*chain, _stage("vehicle", "export.build", chain[-1]["name"], targets, right)]


def _stage(name: str, config: str, start: str, changes: dict, exit: tuple) -> dict:
  return dict(name=name, config=config, start=start, changes=changes, entry=(), exit=exit)
