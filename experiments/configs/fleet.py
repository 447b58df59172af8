"""The motion world model learnt by a fleet of simulated vehicles that keep their logs.

Every vehicle lives in one kind of place and holds a scene or a few of it. Clients take AdamW's steps, the server the
mean of where they came to.

  python -m data.build --source=sumo --out=build/sumo
  python -m federated.simulate --config=experiments/configs/fleet.py --config.train.data.dataset=build/sumo \
    --workdir=build/fleet

Variants: "tiny" (seconds), "demo" (the demo's fleet, half a minute).
"""

from ml_collections import ConfigDict

from experiments.configs import motion, variants

ALL = dict(codec="none", share=0.0, bits=32, rank=0, feedback=False)  # everything is sent as it is
HONEST = dict(name="none", share=0.0, factor=1.0)
MEAN = dict(name="mean", group=1, share=0.0, byzantine=0, keep=1, radius=1.0, iterations=1)
NO_GOLDEN_SET = dict(split="", axes="", level=0.01, tolerance=0.0)
OPEN = dict(
  name="none",
  clip=1.0,
  noise=0.0,
  epsilon=0.0,
  delta=0.0,
  quantile=0.0,
  quantile_rate=0.2,
  quantile_noise=1.0,
)


def get_config(variant: str = "") -> ConfigDict:
  variants.require(variant, ("tiny", "demo"), __file__)
  tiny = variant == "tiny"
  return ConfigDict(
    dict(
      seed=0,
      rounds={"tiny": 4, "demo": 40}.get(variant, 100),
      clients=8,
      lanes=4,
      mesh=dict(clients=1),
      steps=4 if tiny else 32,
      batch=1,
      epochs=1.0,
      evaluate_every={"tiny": 4, "demo": 10}.get(variant, 20),
      fleet=dict(
        vehicles=14 if tiny else 56,
        axes="domain",
        without="",
        alpha=0.0,
        steps_per_second=2.0,
        up=250_000.0,
        down=1_250_000.0,
        spread=0.5,
        reached=0.9,
      ),
      algorithm=dict(
        name="fedavg",
        client_rate=0.006,
        client_final=1.0,
        client="adamw",
        proximal=0.0,
        server="sgd",
        server_rate=1.0,
        server_momentum=0.0,
        longest=1e3,
        heaviest=1e6,
      ),
      up=dict(ALL),
      down=dict(ALL),
      attack=dict(HONEST),
      aggregate=dict(MEAN),
      golden=dict(NO_GOLDEN_SET),
      privacy=dict(OPEN),
      accept="",
      train=motion.get_config("w8").to_dict(),
    )
  )
