"""How many tokens clips are: python -m data.count_tokens --dataset=DIR [--split=train].

For each sensor and label: the vocabulary and the tokens of a frame (of one camera for images), exactly; and on --clips
clips, spread over the split, the share of tokens that say something, and how many points, boxes, lines or actions of a
clip find no room or lie out of range.
"""

from fractions import Fraction
from typing import Any

from absl import flags

from experiments import program

_DATASET = flags.DEFINE_string("dataset", None, "Directory made by data.render.", required=True)
_SPLIT = flags.DEFINE_string("split", "train", "Split to look at.")
_CLIPS = flags.DEFINE_integer("clips", 100, "Clips looked at.", lower_bound=1)


def main() -> int:
  from data.datasets import open_dataset

  print(table(count(open_dataset(_DATASET.value), _SPLIT.value, _CLIPS.value)))
  return 0


def count(dataset, split: str, clips: int) -> list[dict[str, Any]]:
  """One row for each tokeniser; "used" is a share, "dropped" of a clip."""
  import numpy as np

  from data.clip_tokens import clip_tokens
  from data.reader import RecordSource

  found = clip_tokens(dataset.clip)
  source = RecordSource(dataset, split, sorted({field for one in found.values() for field in one.fields}))
  chosen = np.unique(np.linspace(0, len(source) - 1, clips).astype(int))
  used: dict[str, list] = {name: [] for name in found}
  dropped = dict.fromkeys(found, 0)
  for index in chosen:
    clip = {name: value[0] for name, value in source.stacked(np.array([index])).items()}
    for name, one in found.items():
      made = one.encode(clip)
      used[name].append(made.mask.mean())
      dropped[name] += made.dropped
  return [
    {
      "name": name,
      "vocabulary": one.tokeniser.vocabulary,
      "tokens_per_frame": Fraction(one.tokeniser.tokens_per_frame),
      "used": float(np.mean(used[name])),
      "dropped": dropped[name] / len(chosen),
    }
    for name, one in found.items()
  ]


def table(rows: list[dict[str, Any]]) -> str:
  lines = [f"{'':<10}{'vocabulary':>12}{'a frame':>10}{'used':>8}{'dropped of a clip':>20}"]
  for row in rows:
    vocabulary = "vectors" if row["vocabulary"] is None else f"{row['vocabulary']:,}"
    numbers = f"{row['tokens_per_frame']!s:>10}{row['used']:>8.1%}{row['dropped']:>20.2f}"
    lines.append(f"{row['name']:<10}{vocabulary:>12}{numbers}")
  return "\n".join(lines)


if __name__ == "__main__":
  program.run(main)
