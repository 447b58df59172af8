"""Two sites over one base: python -m benchmarks.two_sites --dataset=build/sumo --workdir=build/two_sites.

A motion model is trained on all domains but two; each of the two is then a site that adapts it by every method, on
its own records alone, or ("replay") with a quarter of every batch from the base's domains. Run again to continue.
Leaves WORKDIR/two_sites.csv, a row per run and seed: held-out loss on the site, on the other one and on the base's
domains, what learned, the bytes of its optimiser, and what a federated round would send.
"""

import pathlib
import sys

from absl import flags

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from benchmarks import seeded_runs
from experiments import program

_DATASET, _WORKDIR, _SEEDS = seeded_runs.define(
  "Dataset of simulated windows, by data.build.", "Bases, each with its sites."
)
_SITES = flags.DEFINE_list("sites", ["apron", "roundabout"], "The two domains kept from the base.")
_WIDTH = flags.DEFINE_integer("width", 16, "Width of the model.", lower_bound=4)
_TOKENS = flags.DEFINE_integer("tokens", 400_000, "Moves of a base.", lower_bound=1000)
_SITE_TOKENS = flags.DEFINE_integer("site_tokens", 100_000, "Moves of a site.", lower_bound=1000)

LORA = dict(method="lora", rank=4, alpha=8.0, match="/(attention|mlp)/")
REPLAY = 0.25
METHODS: dict[str, dict] = {
  "all weights": dict(method="none"),
  "replay": dict(method="none"),
  "lora": LORA,
  "adapter": dict(method="adapter", rank=4),
  "prefix": dict(method="prefix", rank=4),
  "bias": dict(method="bias"),
  "recalibrate": dict(method="recalibrate"),
}
FIELDS = (
  "seed", "site", "method", "site_loss", "other_site", "other_loss", "base_loss", "trainable", "optimizer_bytes",
  "round_bytes", "run_id",
)  # fmt: skip


def main() -> int:
  from data.datasets import open_dataset
  from data.errors import BadInput
  from data.files import require_directory
  from experiments.progress import Progress

  work = require_directory(_WORKDIR.value, "--workdir")
  domains = open_dataset(_DATASET.value, verify=False).domains
  if len(_SITES.value) != 2 or not set(_SITES.value) < set(domains):
    raise BadInput(f"{_SITES.value}", "--sites", f"give two of {', '.join(domains)}")
  rows = []
  with Progress(_SEEDS.value * (1 + 2 * len(METHODS)), "runs", unit="run") as bar:
    for seed in range(_SEEDS.value):
      base = work / f"base_{seed}"
      rest = "|".join(domain for domain in domains if domain not in _SITES.value)
      before = _train(base, seed, _TOKENS.value, rest, {}, "", "")
      bar.update(1)
      for site, other in (_SITES.value, _SITES.value[::-1]):
        rows.append(_line(seed, site, other, "base", before))
        for method, chosen in METHODS.items():
          out = work / f"{site}_{method.replace(' ', '_')}_{seed}"
          replay = rest if method == "replay" else ""
          row = _train(out, seed, _SITE_TOKENS.value, site, chosen, str(base), replay)
          rows.append(_line(seed, site, other, method, row))
          bar.update(1)
          seeded_runs.write(work / "two_sites.csv", rows)
  print(work / "two_sites.csv")
  return 0


def _train(
  out: pathlib.Path, seed: int, tokens: int, domains: str, chosen: dict, base: str, replay: str
) -> dict:
  """The row of a run on some domains, made or made before."""
  from experiments.configs import motion

  config = seeded_runs.motion(motion.get_config(f"w{_WIDTH.value}"), _DATASET.value, seed, tokens)
  config.data.mixture.only = f"domain={domains}"
  if replay:
    config.data.mixture.replay, config.data.mixture.replay_share = f"domain={replay}", REPLAY
  config.start.run = base
  config.adaptation.update(chosen)
  return seeded_runs.train(out, config)


def _line(seed: int, site: str, other: str, method: str, row: dict) -> dict:
  """base_loss: mean over the base's domains, each counted alike. round_bytes: of what learned, in float32."""
  losses = {name: loss for name, loss in row["loss_by_slice"].items() if "/" not in name and name != "moving"}
  kept = [loss for name, loss in losses.items() if name not in (site, other)]
  values = (
    seed, site, method, losses[site], other, losses[other], sum(kept) / len(kept), row["trainable"],
    row["optimizer_bytes"], 4 * row["trainable"], row["run_id"],
  )  # fmt: skip
  return dict(zip(FIELDS, values, strict=True))


if __name__ == "__main__":
  program.run(main)
