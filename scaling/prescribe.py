"""What to train: python -m scaling.prescribe --fit=fit.json --config=F.py[:variant] --budget_flops=C.

In the place of --budget_flops: --topology=v5e:16x16 --hours=H --mfu=0.4, or --plan=plan.json --hours=H (the bound that
scaling.plan found, or an expectation below it), or --target_loss=L. With --inference_tokens=T the same loss is reached
at the least cost of training and of T tokens read afterwards.

Prints N*, D* and the loss with intervals, the width that exists nearby, and the command that trains it; leaves
OUT/prescription.json, and OUT/points.json for scaling.sweep --points. Beyond 100 times the table's largest run the
first line says so.
"""

from absl import flags

from data.errors import BadInput
from data.files import require_directory, write_json_atomic
from experiments import program

_CONFIG = program.define_config()
_FIT = flags.DEFINE_string("fit", None, "fit.json of scaling.fit, its draws.csv beside it.", required=True)
_FLOPS = flags.DEFINE_float("budget_flops", None, "Training compute C in FLOPs, fully counted.")
_TOPOLOGY = flags.DEFINE_string("topology", "", "Slice to train on: v5e:16x16, v5p:8x8x8, ...; with --hours.")
_HOURS = flags.DEFINE_float("hours", None, "Hours of training on --topology or on the slice of --plan.")
_MFU = flags.DEFINE_float("mfu", None, "Share of the chips' peak FLOP/s that you expect to train with.")
_PLAN = flags.DEFINE_string(
  "plan", "", "plan.json of scaling.plan: its slice, and its upper bound of the MFU."
)
_LOSS = flags.DEFINE_float("target_loss", None, "Held-out loss to reach, in nats per token.")
_INFERENCE = flags.DEFINE_float("inference_tokens", None, "Tokens that the model will read in its life.")
_UNIQUE = flags.DEFINE_float("unique_tokens", None, "Supervised tokens in the dataset, when it is not here.")
_REPETITION = flags.DEFINE_list(
  "repetition", [], "R_D*,R_N* of the law of repeated data (arXiv:2305.16264), as 15.4,5.3."
)
_OUT = flags.DEFINE_string("out", "build/prescription", "Directory for prescription.json and points.json.")
_WORKDIR = flags.DEFINE_string("workdir", "build/prescribed", "Run directory in the printed command.")


def main() -> int:
  from ml_collections import config_flags

  values = program.config_dict(_CONFIG)
  _require_one_way()
  out = require_directory(_OUT.value, "--out")
  holder = flags.FLAGS["config"]
  config, base = config_flags.get_config_filename(holder), config_flags.get_override_values(holder)

  compute, repetition = _compute(), _pair()

  from scaling.advice import data_at_hand, family, fitted, prescription_report
  from scaling.advice.prescription import Wish

  wish = Wish(compute.flops if compute else None, _LOSS.value, _INFERENCE.value or 0.0)
  fit = fitted.read(_FIT.value)
  data = data_at_hand.read(values["data"], _UNIQUE.value, repetition)
  members = family.load(config.partition(":")[0])
  made = prescription_report.as_json(fit, members, wish, compute, data, int(values["seed"]))
  point = made["config"]["point"]
  own = {key: value for key, value in point.items() if not key.startswith("trial.")}
  for key in base.keys() & own.keys() - {"seed"}:
    raise BadInput("is what is prescribed", f"--config.{key}", "leave it out")
  command = prescription_report.command(config, base | own, _WORKDIR.value)
  text = prescription_report.summary(made, command)
  out.mkdir(parents=True, exist_ok=True)
  write_json_atomic(out / "points.json", [point])
  write_json_atomic(out / "prescription.json", made | {"command": command})
  print(text)
  print(out / "prescription.json")
  return 0


def _require_one_way() -> None:
  """Raises BadInput unless the compute, the slice or the loss is given, and only one of them."""
  asked = {
    "--budget_flops": _FLOPS.value,
    "--topology": _TOPOLOGY.value or None,
    "--plan": _PLAN.value or None,
  }
  asked["--target_loss"] = _LOSS.value
  given = [name for name, value in asked.items() if value is not None]
  if not given:
    raise BadInput("says neither compute nor loss", "command line", f"give one of {', '.join(asked)}")
  if len(given) > 1:
    raise BadInput("say two different things", " and ".join(given[:2]), "give one of them")
  for flag, value in (("--hours", _HOURS.value), ("--mfu", _MFU.value)):
    if value is not None and given[0] not in ("--topology", "--plan"):
      raise BadInput("needs chips", flag, "give --topology or --plan, or leave it out")
  from scaling.advice.compute import positive

  for flag, value in (("--target_loss", _LOSS.value), ("--inference_tokens", _INFERENCE.value)):
    if value is not None:
      positive(flag, value)
  if _UNIQUE.value is not None:
    positive("--unique_tokens", _UNIQUE.value)


def _compute():
  from scaling.advice import compute

  if _FLOPS.value is not None:
    return compute.of_flops(_FLOPS.value)
  if _TOPOLOGY.value:
    return compute.of_slice(_TOPOLOGY.value, _HOURS.value, _MFU.value)
  if _PLAN.value:
    return compute.of_plan(_PLAN.value, _HOURS.value, _MFU.value)
  return None


def _pair() -> tuple[float, float] | None:
  from scaling.advice.compute import positive

  if not _REPETITION.value:
    return None
  try:
    r_data, r_params = map(float, _REPETITION.value)
  except ValueError:
    raise BadInput(
      f"is {','.join(_REPETITION.value)!r}", "--repetition", "give two numbers, as 15.4,5.3"
    ) from None
  return positive("--repetition", r_data), positive("--repetition", r_params)


if __name__ == "__main__":
  program.run(main)
