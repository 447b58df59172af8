"""Perception on clips: one run of one self-supervised objective.

Papers: masked autoencoders (arXiv:2111.06377), I-JEPA (arXiv:2301.08243), contrast of sensors as in CLIP
(arXiv:2103.00020), self-distillation as in DINO (arXiv:2104.14294).

  python -m data.render --dataset=build/sumo --rig=pair --out=build/clips
  python -m experiments.train --config=experiments/configs/perception.py:jepa --config.data.dataset=build/clips \
    --workdir=build/run

Variants: "masked", "jepa", "contrastive", "self_distillation", and each with ":tiny" (64 steps, about a minute on two
cores); "tiny" is "masked:tiny". What they reach, and what to change for it: results/objectives.

Tiny runs (results/objectives):
  "masked" beats its random-init probe by 0.05 +- 0.01 (3 seeds) on occupancy.
  "jepa" beats its random-init probe by 0.07 +- 0.01 (3 seeds) on occupancy.
  "contrastive" beats its random-init probe by 0.05 +- 0.01 (3 seeds) on occupancy.
  "self_distillation" beats its random-init probe by 0.03 +- 0.01 (3 seeds) on occupancy.
"""

from ml_collections import ConfigDict

from experiments.configs import sections, variants

OBJECTIVES = ("masked", "jepa", "contrastive", "self_distillation")


def get_config(variant: str = "") -> ConfigDict:
  objective, size = variants.sized(variant, OBJECTIVES, __file__)
  tiny = size == "tiny"
  hide = dict(ratio=0.75, block=1, tube=True)
  predictor = dict(width=16, layers=2, head_dim=8) if tiny else dict(width=96, layers=4, head_dim=32)
  losses = dict(
    masked=dict(drop=0.0, hide=hide, predictor=predictor, standardise=False),
    jepa=dict(drop=0.0, hide=hide | dict(ratio=0.6, block=2), predictor=predictor, momentum=0.99),
    contrastive=dict(views="raster,lidar,camera", hidden=64, outputs=32),
    self_distillation=dict(
      hide=hide | dict(ratio=0.5),
      drop=0.3,
      views=2,
      hidden=64,
      outputs=16,
      prototypes=64,
      student_temperature=0.1,
      teacher_temperature=0.05,
      sinkhorn_rounds=3,
      centre_momentum=0.9,
      momentum=0.99,
    ),
  )
  return ConfigDict(
    dict(
      family="perception",
      objective=objective,
      seed=0,
      tokens=200_000 if tiny else 200_000_000,
      log_every=20,
      tensorboard=False,
      model=dict(
        sensors="ego,raster,lidar,camera",
        tube=1,
        grid_patch=16 if tiny else 8,
        camera_patch=16 if tiny else 8,
        lidar_channels=8 if tiny else 32,
        width=32 if tiny else 192,
        layers=2 if tiny else 8,
        head_dim=8 if tiny else 32,
        mixing="factorised",
        state=0,
        chunk=0,
        causal=False,
        dtype="float32",
        scan=False,
        remat="none",
        block=0,
        **sections.UNPRUNED,
      ),
      start=dict(sections.FROM_SCRATCH),
      adaptation=dict(sections.ALL_WEIGHTS),
      loss=losses[objective],
      data=dict(
        dataset="build/clips",
        train_split="train",
        eval_split="validation",
        batch_windows=16 if tiny else 64,
        unique_windows=0,
        read_threads=2,
        blind_to="",
        mixture=dict(sections.NATURAL),
      ),
      optimizer=dict(
        learning_rate=0.003,
        base_width=32,
        schedule="cosine",
        warmup=0.1,
        final=0.05,
        weight_decay=0.0,
        clip=1.0,
        b1=0.9,
        b2=0.95,
        accumulate=1,
      ),
      mesh=dict(sections.ONE_DEVICE),
      checkpoint=dict(every_steps=500, keep=1),
      probe=dict(sections.NO_PROBES),
      recovery=dict(sections.ROLL_BACK),
    )
  )
