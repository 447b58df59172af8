"""Perception models on clips of simulated or real logs: one run.

  python -m data.build --source=sumo --out=build/sumo
  python -m data.render --dataset=build/sumo --out=build/clips
  python -m experiments.train --config=experiments/configs/perception.py:masked \
    --config.data.dataset=build/clips --workdir=build/masked

Variants: an objective, "masked" (masked autoencoder, arXiv:2111.06377); with ":tiny" behind it, or "tiny" alone, a
run of seconds.
"""

from ml_collections import ConfigDict

from experiments.configs import variants

LOSSES = {"masked": dict(ratio=0.75, block=1, tube=True, standardise=True, decoder_layers=2)}


def get_config(variant: str = "masked") -> ConfigDict:
  variant = "masked:tiny" if variant == "tiny" else variant or "masked"
  variants.require(variant, [*LOSSES, *(f"{name}:tiny" for name in LOSSES)], __file__)
  objective, _, size = variant.partition(":")
  tiny = size == "tiny"
  return ConfigDict(
    dict(
      family="perception",
      objective=objective,
      seed=0,
      tokens=100_000 if tiny else 50_000_000,
      log_every=20,
      tensorboard=False,
      model=dict(
        width=16 if tiny else 128,
        layers=2 if tiny else 8,
        head_dim=8 if tiny else 32,
        mixing="factorised",
        state=0,
        chunk=0,
        causal=True,
        tube=1,
        ego=True,
        raster_patch=8,
        lidar_patch=8,
        lidar_channels=8 if tiny else 32,
        camera_patch=8,
        dtype="float32",
        scan=False,
        remat="none",
      ),
      loss=LOSSES[objective],
      data=dict(
        dataset="build/clips",
        train_split="train",
        eval_split="validation",
        batch_windows=2 if tiny else 8,
        unique_windows=0,
        read_threads=2,
        blind_to="",
      ),
      optimizer=dict(
        learning_rate=1e-3,
        base_width=0,
        schedule="cosine",
        warmup=0.05,
        final=0.05,
        weight_decay=0.05,
        clip=1.0,
        b1=0.9,
        b2=0.95,
        accumulate=1,
      ),
      mesh=dict(data=1, fsdp=1, tensor=1, sequence=1),
      checkpoint=dict(every_steps=500, keep=2),
      recovery=dict(patience=3, rollbacks=2),
    )
  )
