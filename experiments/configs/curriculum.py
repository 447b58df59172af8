"""Curricula: of the motion model, and of perception from pixels to a small policy.

Motion: some domains, then all beside a replay of the first, then all domains alike, then a smaller model that follows.
Clips: hidden patches everywhere, the same in towns beside a replay of the rest, several heads at once, a world model of
the next BEV, a policy that begins with what these have learned, and a smaller policy that follows it.

  python -m data.build --source=sumo --scenes_per_domain=14 --fractions=0.6,0.1,0.3 --out=build/sumo
  python -m experiments.curriculum --stages=experiments/configs/curriculum.py --dataset=build/sumo --workdir=build/chain
  python -m data.render --dataset=build/sumo --rig=pair --out=build/clips
  python -m experiments.curriculum --stages=experiments/configs/curriculum.py:clips --dataset=build/clips \
    --workdir=build/chain_clips

A gate before a stage asks for what it builds on, one after it that it has learned, and has lost little of what was
there; one on a slice needs eight held-out scenes. Variants: "motion", "clips", and each with ":tiny", which takes
minutes: four and six runs of about a minute each, and their gates. What came of it: results/curriculum.
"""

from experiments.configs import variants

FIRST = "domain=highway|urban_grid"
ALLOWED = 0.05  # nats per move that an earlier domain may lose, and noise beside it
TOWNS = "domain=ring_radial|roundabout|suburb|urban_grid"
REST = "apron|highway|rural"
EVERYWHERE = f"{TOWNS}|{REST}"


def stages(variant: str = "") -> list[dict]:
  variants.require(variant, ("motion", "clips", "motion:tiny", "clips:tiny"), __file__)
  kind, _, size = (variant or "motion").partition(":")
  return _clips(f":{size}" if size else "") if kind == "clips" else _motion(bool(size))


def _stage(name: str, config: str, start: str, changes: dict, entry: tuple = (), exit: tuple = ()) -> dict:
  return dict(name=name, config=config, start=start, changes=changes, entry=entry, exit=exit)


def _motion(tiny: bool) -> list[dict]:
  config = "experiments/configs/motion.py:" + ("tiny" if tiny else "w32")
  student = "experiments/configs/motion_distil.py:" + ("tiny" if tiny else "w8")
  tokens = 40_000 if tiny else 2_000_000
  kept = ({"slice": FIRST, "than": "pretrain", "by": ALLOWED},)
  early = {"tokens": tokens, "data.mixture.only": FIRST}
  wide = {"tokens": tokens, "data.mixture.replay": FIRST, "data.mixture.replay_share": 0.25}
  even = {"tokens": tokens // 2, "data.mixture.axes": "domain", "data.mixture.temperature": 2.0}
  learned = {"value": "loss", "below": 5.0}  # a flat guess costs 5.5
  first = {"value": "loss_by_slice/highway", "below": 4.0}
  taught = {"tokens": tokens, "loss.teacher": "{balance}"}
  return [
    _stage("pretrain", config, "", early, exit=(learned,)),
    _stage("widen", config, "pretrain", wide, entry=(first,), exit=kept),
    _stage("balance", config, "widen", even, entry=(learned,), exit=kept),
    _stage("distil", student, "", taught, entry=(learned,), exit=(learned,)),
  ]


def _clips(size: str) -> list[dict]:
  """Heads and predictors of one stage have no place in the next; the sensors' encoders are carried along, by name.

  The raster shows the labels of multi_task, which therefore goes without; its encoder rejoins from fresh weights.
  """
  masked = "experiments/configs/perception.py:masked" + size
  driving, student = (f"experiments/configs/driving{name}.py" for name in ("", "_distil"))
  sensors = {"model.sensors": "ego,raster,lidar,camera", "model.causal": True, "model.grid_patch": 8}
  if size:
    sensors |= {"model.grid_patch": 16, "tokens": 200_000}
  towns = {
    "data.mixture.only": TOWNS,
    "data.mixture.replay": f"domain={REST}",
    "data.mixture.replay_share": 0.25,
  }
  unmasked = {"value": "loss", "below": 0.5}  # of 1 at the start
  seen = {"value": "loss_by_slice/segmentation", "below": 1.5}  # nats; a flat guess costs ln 11
  foreseen = {"value": "loss_by_slice/occupancy", "below": 1.5}
  # An untrained plan goes on with constant turn and acceleration, which tiny runs have hardly left.
  rival = "plan_constant_velocity" if size else "plan_constant_turn"
  plans = {"value": "loss_by_slice/plan_ADE", "below": f"loss_by_slice/{rival}"}
  return [
    _stage("pretrain", masked, "", sensors, exit=(unmasked,)),
    _stage(
      "adapt",
      masked,
      "pretrain",
      sensors | towns,
      entry=(unmasked,),
      exit=(
        {"slice": TOWNS, "than": "pretrain", "by": 0.0},
        {"slice": EVERYWHERE, "than": "pretrain", "by": 0.02},
      ),
    ),
    _stage(
      "multi_task",
      f"{driving}:multi_task{size}",
      "adapt",
      sensors | {"model.sensors": "ego,lidar,camera"},
      entry=({"slice": EVERYWHERE, "than": "pretrain", "by": 0.05, "probe": "occupancy"},),
      exit=(seen, foreseen),
    ),
    _stage(
      "world_model",
      f"{driving}:flow_cells{size}",
      "multi_task",
      sensors,
      entry=(foreseen,),
      exit=({"value": "loss", "below": 1.5},),  # an untrained field costs 2
    ),
    _stage(
      "policy",
      f"{driving}:policy{size}",
      "world_model",
      sensors,
      entry=({"slice": EVERYWHERE, "than": "multi_task", "by": 0.1, "probe": "displacement"},),
      exit=(plans,),
    ),
    _stage(
      "distil",
      student + size,
      "",
      sensors | {"loss.teacher": "{policy}"},
      entry=(plans,),
      exit=(plans,),
    ),
  ]
