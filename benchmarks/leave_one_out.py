"""A domain that was not seen: python -m benchmarks.leave_one_out --dataset=build/sumo --workdir=build/leave_one_out.

For each domain, a motion model learns from all others (zero shot), then adapts to 4, 16 and 64 windows of the one
left out: all of its weights, or low-rank deltas beside them (LoRA, arXiv:2106.09685). Beside them stand models
trained from scratch on the same windows for the same moves, and one that saw every domain all along.

Run again to continue. Leaves WORKDIR/leave_one_out.csv, a row per seed, domain, method and number of windows: nats
per move on the held-out windows of that domain; and leave_one_out.png.
"""

import pathlib
import sys

from absl import flags

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from benchmarks import seeded_runs
from experiments import program

_DATASET, _WORKDIR, _SEEDS = seeded_runs.define(
  "Dataset of simulated windows, by data.build.", "Bases of each domain, each adapted."
)
_WIDTH = flags.DEFINE_integer("width", 8, "Width of the model.", lower_bound=4)
_TOKENS = flags.DEFINE_integer("tokens", 200_000, "Moves of a base.", lower_bound=1000)
_FEW_TOKENS = flags.DEFINE_integer("few_tokens", 20_000, "Moves of an adaptation.", lower_bound=1000)
_METHODS = flags.DEFINE_list("methods", ["fine-tuned", "scratch", "lora"], "What is done with few windows.")

WINDOWS = (4, 16, 64)
# adaptation, share of the rate of a run from scratch, whether it begins with the base
ADAPTATIONS = {
  "fine-tuned": (dict(method="none"), 0.25, True),
  "lora": (dict(method="lora", rank=4, alpha=8.0, match="/(attention|mlp)/"), 1.0, True),
  "scratch": (dict(method="none"), 1.0, False),
}
FIELDS = ("seed", "domain", "method", "windows", "loss", "run_id")


def main() -> int:
  from data.datasets import open_dataset
  from data.errors import BadInput
  from data.files import require_directory
  from experiments.progress import Progress

  work = require_directory(_WORKDIR.value, "--workdir")
  if unknown := set(_METHODS.value) - set(ADAPTATIONS):
    raise BadInput(f"no method {min(unknown)!r}", "--methods", f"choose of {', '.join(ADAPTATIONS)}")
  dataset = open_dataset(_DATASET.value, verify=False)
  rows: list[dict] = []
  with Progress(_SEEDS.value * (1 + len(dataset.domains) * _runs_of_a_domain()), "runs", unit="run") as bar:

    def add(seed: int, domain: str, method: str, windows: int, row: dict) -> None:
      values = (seed, domain, method, windows, row["loss_by_slice"][domain], row["run_id"])
      rows.append(dict(zip(FIELDS, values, strict=True)))

    for seed in range(_SEEDS.value):
      seen = _train(work / f"all_{seed}", seed, _TOKENS.value)
      bar.update(1)
      for domain in dataset.domains:
        rest = "|".join(name for name in dataset.domains if name != domain)
        zero = _train(_base(work, domain, seed), seed, _TOKENS.value, only=f"domain={rest}")
        bar.update(1)
        add(seed, domain, "zero shot", 0, zero)
        add(seed, domain, "seen", 0, seen)
      for method in _METHODS.value:
        for domain in dataset.domains:
          for windows in WINDOWS:
            add(seed, domain, method, windows, _few(work, dataset, domain, windows, method, seed))
            bar.update(1)
          seeded_runs.write(work / "leave_one_out.csv", rows)
          draw(rows, work / "leave_one_out.png")
  print(work / "leave_one_out.csv")
  return 0


def _runs_of_a_domain() -> int:
  return 1 + len(_METHODS.value) * len(WINDOWS)


def _base(work: pathlib.Path, domain: str, seed: int) -> pathlib.Path:
  return work / f"without_{domain}_{seed}"


def _few(work: pathlib.Path, dataset, domain: str, windows: int, method: str, seed: int) -> dict:
  """The row of a model that learned from a few windows of the domain, the same for every method and seed."""
  adaptation, share, begins = ADAPTATIONS[method]
  return _train(
    work / f"{domain}_{method}_{windows}_{seed}",
    seed,
    _FEW_TOKENS.value,
    only=f"domain={domain}",
    limit=_limit(dataset, domain, windows),
    adaptation=adaptation,
    share=share,
    start=str(_base(work, domain, seed)) if begins else "",
  )


def _limit(dataset, domain: str, windows: int) -> int:
  """The least `unique_windows` that holds so many windows of a domain: a larger one adds to a smaller one."""
  import numpy as np

  from data import reader
  from data.errors import BadInput

  every = reader.RecordSource(dataset, "train", ["domain"])
  drawn = reader.RecordSource(dataset, "train", ["domain"], limit=len(every))
  of_domain = reader.labels(drawn, ["domain"])["domain"] == dataset.domains.index(domain)
  if of_domain.sum() < windows:
    what = f"domain {domain} has {of_domain.sum()} windows, not {windows}"
    raise BadInput(what, dataset.path, "build more scenes of it")
  return int(np.flatnonzero(of_domain)[windows - 1]) + 1


def _train(
  out: pathlib.Path,
  seed: int,
  tokens: int,
  *,
  only: str = "",
  limit: int = 0,
  adaptation: dict | None = None,
  share: float = 1.0,
  start: str = "",
) -> dict:
  """The row of a run, made or made before."""
  from experiments.configs import motion

  config = seeded_runs.motion(motion.get_config(f"w{_WIDTH.value}"), _DATASET.value, seed, tokens, share)
  config.data.mixture.only, config.data.unique_windows = only, limit
  config.start.run = start
  config.adaptation.update(adaptation or {})
  return seeded_runs.train(out, config)


def draw(rows: list[dict], path: pathlib.Path) -> None:
  """One panel per domain: loss over windows, the mean of the seeds, each seed as a point."""
  import matplotlib as mpl
  import numpy as np
  from matplotlib.figure import Figure

  from scaling.figures.theme import BLUE, INK, ORANGE, PINK, SOFT, STYLE, WIDTH

  labels = {
    "fine-tuned": "others, then these windows",
    "lora": "others, then LoRA on these",
    "scratch": "these windows alone",
  }
  domains = sorted({row["domain"] for row in rows})
  colours = {"fine-tuned": BLUE, "lora": PINK, "scratch": ORANGE}
  with mpl.rc_context(STYLE):
    figure = Figure(figsize=(WIDTH, 3.6), layout="constrained")
    panels = figure.subplots(2, -(-(len(domains) + 1) // 2), sharex=True, sharey=True).ravel()
    for axes, domain in zip(panels, domains, strict=False):
      own = [row for row in rows if row["domain"] == domain]

      def losses(method: str, windows: int, own=own) -> list[float]:
        return [row["loss"] for row in own if (row["method"], row["windows"]) == (method, windows)]

      axes.axhline(
        np.mean(losses("zero shot", 0)),
        color=INK,
        linestyle="--",
        label="other domains (zero shot)",
      )
      axes.axhline(np.mean(losses("seen", 0)), color=SOFT, linestyle=":", label="all domains")
      for method, colour in colours.items():
        found = {windows: values for windows in WINDOWS if (values := losses(method, windows))}
        if found:
          means = [np.mean(values) for values in found.values()]
          axes.plot(list(found), means, "o-", color=colour, label=labels[method])
        for windows, values in found.items():
          axes.plot([windows] * len(values), values, "_", color=colour)
      axes.set_xscale("log", base=2)
      axes.set_xticks(WINDOWS, [str(windows) for windows in WINDOWS])
      axes.set_title(domain.replace("_", " "))
      axes.tick_params(labelbottom=True, labelleft=True)
    for axes in panels[len(domains) :]:
      axes.set_axis_off()  # room for the legend
    figure.supxlabel("training windows of the domain in the title")
    figure.supylabel("nats per move on its held-out windows")
    legend = panels[0].get_legend_handles_labels()
    panels[-1].legend(*legend, loc="center", title="trained on", alignment="left", borderpad=0)
    figure.savefig(path, metadata={"Software": None})


if __name__ == "__main__":
  program.run(main)
