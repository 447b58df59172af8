"""A learned tokeniser of bird's-eye views: one run.

Papers: VQ-VAE (arXiv:1711.00937), finite scalar quantisation (arXiv:2309.15505).

  python -m experiments.train --config=experiments/configs/tokeniser.py:vq --config.data.dataset=build/clips \
    --workdir=build/tokeniser

Variants: "vq" (512 learned codes), "fsq" (8 x 8 x 8 levels), and each with ":tiny" (199 steps of a small model, under a
minute on two cores; "tiny" is "vq:tiny", of 32 codes). A frame of 64 x 64 cells is 64 codes. What they reach:
results/objectives, results/bev_codes.

Tiny runs (results/objectives):
  "vq" beats its random-init probe by 0.07 +- 0.04 (3 seeds) on domain.
  "fsq" beats its random-init probe by 0.09 +- 0.04 (3 seeds) on domain.
"""

from ml_collections import ConfigDict

from experiments.configs import sections, variants

NAMES = ("vq", "fsq")


def get_config(variant: str = "") -> ConfigDict:
  name, size = variants.sized(variant, NAMES, __file__)
  tiny, finite = size == "tiny", name == "fsq"
  return ConfigDict(
    dict(
      family="bev_tokeniser",
      objective="reconstruction",
      seed=0,
      tokens=13_000_000 if tiny else 50_000_000,
      log_every=20,
      tensorboard=False,
      model=dict(
        width=16 if tiny else 64,
        layers=1 if tiny else 2,
        head_dim=16 if tiny else 32,
        patch=8,
        levels=(8, 8, 8) if finite else (),
        codes=0 if finite else 32 if tiny else 512,
        code_dim=0 if finite else 8,
        dtype="float32",
        scan=False,
        remat="none",
      ),
      start=dict(sections.FROM_SCRATCH),
      adaptation=dict(sections.ALL_WEIGHTS),
      loss=dict(commitment=0.25, decay=0.95, least=0.02),
      data=dict(
        dataset="build/clips",
        train_split="train",
        eval_split="validation",
        batch_windows=4,
        unique_windows=0,
        read_threads=0,
        blind_to="",
        mixture=dict(sections.NATURAL),
      ),
      optimizer=dict(
        learning_rate=0.01,
        base_width=32,
        schedule="cosine",
        warmup=0.05,
        final=0.05,
        weight_decay=0.0,
        clip=1.0,
        b1=0.9,
        b2=0.98,
        accumulate=1,
      ),
      mesh=dict(sections.ONE_DEVICE),
      checkpoint=dict(every_steps=500, keep=2),
      probe=dict(sections.NO_PROBES),
      recovery=dict(sections.ROLL_BACK),
    )
  )
