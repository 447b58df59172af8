"""Curricula: of the motion model, and of perception from pixels to a policy.

Motion: some domains, then all beside a replay of the first, then all domains alike, then a smaller model that follows.
Clips: hidden patches, the same on the domain to drive in, several heads at once, a world model of the next BEV, and
a policy that begins with what these have learned.

  python -m data.build --source=sumo --out=build/sumo
  python -m experiments.curriculum --stages=experiments/configs/curriculum.py --dataset=build/sumo --workdir=build/chain
  python -m data.render --dataset=build/sumo --rig=pair --out=build/clips
  python -m experiments.curriculum --stages=experiments/configs/curriculum.py:clips --dataset=build/clips \
    --workdir=build/chain_clips

Each stage must better what came before where it is meant to, and lose little of what it could. Variants: "motion",
"clips", and each with ":tiny". What came of it: results/adaptation.
"""

from experiments.configs import variants

FIRST = "domain=highway|urban_grid"
ALLOWED = 0.05  # nats per move that an earlier domain may lose, and noise beside it
HOME = "domain=urban_grid"


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
  untaught = {"value": "loss", "below": 5.0}  # a flat guess costs 5.5
  return [
    _stage("pretrain", config, "", early, exit=(untaught,)),
    _stage(
      "widen", config, "pretrain", wide, entry=({"value": "loss_by_slice/highway", "below": 4.0},), exit=kept
    ),
    _stage("balance", config, "widen", even, exit=kept),
    _stage("distil", student, "", {"tokens": tokens, "loss.teacher": "{balance}"}, exit=(untaught,)),
  ]


def _clips(size: str) -> list[dict]:
  """Heads and predictors of one stage have no place in the next; the sensors' encoders are carried along, by name.

  The raster shows the labels of multi_task, which therefore goes without; its encoder rejoins from fresh weights.
  """
  masked, driving = "experiments/configs/perception.py:masked", "experiments/configs/driving.py"
  sensors = {"model.sensors": "ego,raster,lidar,camera", "model.causal": True, "model.grid_patch": 8}
  return [
    _stage("pretrain", masked + size, "", sensors),
    _stage(
      "adapt",
      masked + size,
      "pretrain",
      sensors | {"data.mixture.only": HOME},
      exit=({"slice": HOME, "than": "pretrain", "by": 0.0},),
    ),
    _stage(
      "multi_task", f"{driving}:multi_task{size}", "adapt", sensors | {"model.sensors": "ego,lidar,camera"}
    ),
    _stage("world_model", f"{driving}:flow_cells{size}", "multi_task", sensors),
    _stage("policy", f"{driving}:policy{size}", "world_model", sensors),
  ]
