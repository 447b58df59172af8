"""A curriculum of the motion model: some domains first, then others beside a replay of the first, then a smaller one.

  python -m data.build --source=sumo --out=build/sumo
  python -m experiments.curriculum --stages=experiments/configs/curriculum.py --dataset=build/sumo --workdir=build/chain

Each stage must better what came before where it is meant to, and lose little of what it could. Variants: "tiny".
What came of it: results/adaptation.
"""

from experiments.configs import variants

FIRST = ("highway", "urban_grid")
CONFIG = "experiments/configs/motion.py"


def stages(variant: str = "") -> list[dict]:
  variants.require(variant, ("tiny",), __file__)
  tiny = variant == "tiny"
  tokens, width, student = (40_000, "tiny", "tiny") if tiny else (2_000_000, "w32", "w8")
  early = f"domain={'|'.join(FIRST)}"
  return [
    dict(
      name="pretrain",
      config=f"{CONFIG}:{width}",
      start="",
      changes={"tokens": tokens, "data.mixture.only": early},
      entry=(),
      exit=(
        {"value": "loss", "below": 7.0},
      ),  # of 221 moves at random: 5.4 nats and what it costs to be sure
    ),
    dict(
      name="widen",
      config=f"{CONFIG}:{width}",
      start="pretrain",
      changes={"tokens": tokens, "data.mixture.replay": early, "data.mixture.replay_share": 0.25},
      entry=({"value": f"loss_by_slice/{FIRST[0]}", "below": 7.0},),
      exit=({"slice": early, "than": "pretrain", "by": 0.05},),
    ),
    dict(
      name="balance",
      config=f"{CONFIG}:{width}",
      start="widen",
      changes={"tokens": tokens // 2, "data.mixture.axes": "domain", "data.mixture.temperature": 2.0},
      entry=(),
      exit=({"slice": early, "than": "pretrain", "by": 0.05},),
    ),
    dict(
      name="distil",
      config=f"experiments/configs/motion_distil.py:{student}",
      start="",
      changes={"tokens": tokens, "loss.teacher": "{balance}"},
      entry=(),
      exit=({"value": "loss", "below": 7.0},),
    ),
  ]
