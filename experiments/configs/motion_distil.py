"""A small motion model that follows a finished, larger one: experiments/tasks/distillation.py.

  python -m experiments.train --config=experiments/configs/motion_distil.py --config.loss.teacher=build/run \\
    --config.data.dataset=build/sumo --workdir=build/student

Variants: "w8", "w16", "w32" and "tiny" of experiments/configs/motion.py. Half of the objective is the teacher's answers
at temperature 2. A chain that ends in it: results/curriculum.
"""

from ml_collections import ConfigDict

from experiments.configs import motion, variants


def get_config(variant: str = "") -> ConfigDict:
  variants.require(variant, ("tiny", "w8", "w16", "w32"), __file__)
  config = motion.get_config(variant or "w8")
  config.objective = "distillation"
  config.loss = ConfigDict(
    dict(config.loss.to_dict(), teacher="build/run", weight=0.5, features=0.0, temperature=2.0)
  )
  return config
