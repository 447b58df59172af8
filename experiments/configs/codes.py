"""World model over frames of discrete codes: one run.

Paper: next-code prediction of video frames in the line of GAIA-1 (arXiv:2309.17080) and commaVQ.

  python -m data.build_codes --tokens=FILE --out=build/commavq
  python -m experiments.train --config=experiments/configs/codes.py:commavq --workdir=build/commavq_run
  python -m experiments.encode --run=build/tokeniser --out=build/codes
  python -m experiments.train --config=experiments/configs/codes.py:bev --workdir=build/world

Variants: "commavq" (frames of 128 codes out of 1,024), "bev" (windows of bird's-eye views, raw or encoded), "tiny"
(commaVQ, under a minute). What it reaches: results/commavq, results/bev_codes.

Tiny runs (results/bev_codes):
  "bev" beats its random-init probe by 0.22 +- 0.03 (3 seeds) on domain.
"""

from ml_collections import ConfigDict

from experiments.configs import sections, variants

_WIDTHS = {"commavq": 32, "bev": 64, "tiny": 16}
_TOKENS = {"commavq": 600_000, "bev": 2_000_000, "tiny": 40_000}


def get_config(variant: str = "commavq") -> ConfigDict:
  variant = variant or "commavq"
  variants.require(variant, tuple(_WIDTHS), __file__)
  return ConfigDict(
    dict(
      family="codes",
      objective="next_token",
      seed=0,
      tokens=_TOKENS[variant],
      log_every=20,
      tensorboard=False,
      model=dict(
        width=_WIDTHS[variant],
        past_layers=2,
        frame_layers=2,
        head_dim=_WIDTHS[variant] // 2,
        mixing="factorised",
        state=0,
        chunk=0,
        dtype="float32",
        scan=False,
        remat="none",
        block=0,
        **sections.UNPRUNED,
      ),
      start=dict(sections.FROM_SCRATCH),
      adaptation=dict(sections.ALL_WEIGHTS),
      loss=dict(z_weight=1e-4),
      data=dict(
        dataset="build/codes" if variant == "bev" else "build/commavq",
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
        weight_decay=0.1,
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
