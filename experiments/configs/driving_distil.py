"""A small policy on clips that follows a finished, larger one: experiments/tasks/distillation.py.

  python -m experiments.train --config=experiments/configs/driving_distil.py --config.loss.teacher=build/policy \\
    --config.data.dataset=build/clips --workdir=build/student

Half the width and half the layers of "policy" in experiments/configs/driving.py; variants: "tiny". Half of the
objective is the teacher's answers. A chain that ends in it: results/curriculum.
"""

from ml_collections import ConfigDict

from experiments.configs import driving, variants


def get_config(variant: str = "") -> ConfigDict:
  variants.require(variant, ("tiny",), __file__)
  config = driving.get_config("policy:tiny" if variant else "policy")
  config.objective = "policy_distillation"
  config.model.width, config.model.layers = config.model.width // 2, max(2, config.model.layers // 2)
  config.loss = ConfigDict(dict(config.loss.to_dict(), teacher="build/policy", weight=0.5, temperature=2.0))
  return config
