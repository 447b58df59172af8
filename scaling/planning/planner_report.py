"""What a plan leaves: plan.json for machines, one table over every mesh, a page and a few lines for people."""

import csv
import io
import pathlib
from typing import Any

from data.files import write_json_atomic, write_text_atomic
from scaling import counting
from scaling.planning import program_cost
from scaling.planning.planner import Candidate, Step, describe, gib
from scaling.planning.slices import Slice
from scaling.report import Cell, Section, Table, write_report

COLUMNS = (
  "topology", "params_total", "data", "fsdp", "tensor", "sequence", "estimated_state_bytes", "estimated_bytes",
  "estimated_compute_seconds", "estimated_memory_seconds", "estimated_network_seconds", "estimated_step_seconds",
  "compiled", "fits", "bytes", "compute_seconds", "memory_seconds", "network_seconds", "step_seconds_bound", "limit",
  "mfu_bound", *(f"{kind}_{what}" for kind in program_cost.KINDS for what in ("count", "bytes")), "compile_seconds",
)  # fmt: skip
_SHOWN = 12  # sizes of collectives; plan.json has all
CAVEAT = (
  "Bounds of the compiled program at the chips' peak rates, everything overlapped; no step was run. A full compile may "
  "move some percent less through HBM than a quick one. Estimates order the meshes; where the compiler was asked, its "
  "word counts."
)


def write(
  out: pathlib.Path, slice_: Slice, step: Step, found: list[Candidate], best: Candidate, asked: dict
) -> None:
  """OUT/meshes.csv, OUT/report.html and, last, OUT/plan.json; `asked` is what the program was asked."""
  text = io.StringIO()
  table = csv.DictWriter(text, COLUMNS, lineterminator="\n")
  table.writeheader()
  table.writerows(row(slice_, step, candidate) for candidate in found)
  write_text_atomic(out / "meshes.csv", text.getvalue())
  sections = [
    Section(
      "The mesh to take"
      if best.verdict and best.verdict.fits
      else "No mesh fits, of those that were compiled",
      [*summary(slice_, step, found, best).splitlines(), CAVEAT],
      _collectives(best),
    ),
    Section("The model, counted", [], [count_table(step)]),
    Section(f"All {len(found)} meshes that divide", [], [_meshes(slice_, found, best)]),
  ]
  write_report(out / "report.html", f"Plan for {slice_.name}", sections, footer=f"{len(found)} meshes")
  write_json_atomic(out / "plan.json", as_json(slice_, step, found, best) | asked)


def as_json(slice_: Slice, step: Step, found: list[Candidate], best: Candidate) -> dict[str, Any]:
  """The contract of plan.json, and what stands behind it; numbers of a program that does not fit are null."""
  verdict = best.verdict
  assert verdict
  counted, bound, cost = counting.count(step.model), verdict.bound, verdict.cost
  positions = step.positions / slice_.chips
  return {
    "topology": slice_.name,
    "chips": slice_.chips,
    "fits": verdict.fits,
    "mesh": best.sizes,
    "bytes_per_chip": verdict.bytes,
    "hbm_per_chip": slice_.chip.hbm,
    "collectives": program_cost.by_kind(cost.collectives) if cost else {},
    "collectives_by_size": program_cost.by_size(cost.collectives) if cost else [],
    "step_seconds_bound": bound.seconds if bound else None,
    "mfu_bound": bound.mfu if bound else None,
    "limited_by": bound.limit if bound else None,
    "seconds": {name: getattr(bound, name) for name in ("compute", "memory", "network")} if bound else {},
    "hbm_traffic_per_chip": cost.hbm_bytes if cost else None,
    "flops_per_chip": cost.flops if cost else None,
    "flops_per_chip_model": counted.flops_per_token * positions,
    "flops_per_chip_recomputed": counted.recomputed * positions,
    "tokens_per_step": step.positions,
    "params": counted.params,
    "params_total": counted.params_total,
    "params_active": counted.params_active,
    "flops_per_token": counted.flops,
    "flops_6n_discrepancy": counted.discrepancy,
    "compile_seconds": verdict.seconds,
    "window": {"steps": step.model.steps, "agents": step.model.agents},
    "meshes": len(found),
  }


def row(slice_: Slice, step: Step, candidate: Candidate) -> dict[str, Any]:
  """One line of the table, and of one over several plans; what the compiler was not asked stays empty."""
  bound, verdict = candidate.estimate.bound, candidate.verdict
  made: dict[str, Any] = dict.fromkeys(COLUMNS) | candidate.sizes
  made |= {"topology": slice_.name, "params_total": counting.count(step.model).params_total}
  made |= {
    "estimated_state_bytes": candidate.estimate.state,
    "estimated_bytes": round(candidate.estimate.total),
    "estimated_compute_seconds": bound.compute,
    "estimated_memory_seconds": bound.memory,
    "estimated_network_seconds": bound.network,
    "estimated_step_seconds": bound.seconds,
    "compiled": verdict is not None,
  }
  if verdict:
    made |= {"fits": verdict.fits, "bytes": verdict.bytes, "compile_seconds": verdict.seconds}
  if verdict and verdict.bound and verdict.cost:
    made |= {f"{name}_seconds": getattr(verdict.bound, name) for name in ("compute", "memory", "network")}
    made |= {"step_seconds_bound": verdict.bound.seconds, "limit": verdict.bound.limit}
    made["mfu_bound"] = verdict.bound.mfu
    for kind, entry in program_cost.by_kind(verdict.cost.collectives).items():
      made |= {f"{kind}_count": entry["count"], f"{kind}_bytes": entry["bytes"]}
  return made


def summary(slice_: Slice, step: Step, found: list[Candidate], best: Candidate) -> str:
  """The answer in a few lines."""
  counted, verdict = counting.count(step.model), best.verdict
  assert verdict
  asked = sum(candidate.verdict is not None for candidate in found)
  lines = [
    f"{counted.params_total / 1e9:.3g} B parameters, {step.positions:,} tokens per step in windows of "
    f"{step.model.steps} x {step.model.agents}, on {slice_.chips} chips of {slice_.name}: "
    f"{len(found)} meshes divide, {asked} compiled"
  ]
  if not verdict.fits or verdict.bound is None or verdict.cost is None:
    lines.append(
      f"does not fit: {describe(best.sizes)} asks for {gib(verdict.bytes):.2f} of {gib(slice_.chip.hbm):.2f} GiB "
      "per chip; use more chips, model.remat=full or a larger optimizer.accumulate"
    )
    return "\n".join(lines)
  if verdict.bytes > 0.95 * slice_.chip.hbm:
    lines.append("close to the limit: ask again with --effort=full before renting it")
  bound, flops = verdict.bound, verdict.cost.flops
  own = (counted.flops_per_token + counted.recomputed) * step.positions / slice_.chips
  lines += [
    f"mesh {describe(best.sizes)}: fits, {gib(verdict.bytes):.2f} of {gib(slice_.chip.hbm):.2f} GiB per chip",
    f"step >= {bound.seconds * 1e3:.1f} ms, limited by {bound.limit} (compute {bound.compute * 1e3:.1f}, memory "
    f"{bound.memory * 1e3:.1f}, network {bound.network * 1e3:.1f}); MFU <= {bound.mfu:.1%}",
    f"FLOPs of the program over the analytic count: {flops / own:.4f}; "
    f"{counted.recomputed / counted.flops_per_token:.0%} of the model's are computed twice",
  ]
  return "\n".join(lines)


def count_table(step: Step) -> Table:
  """Parameters and FLOPs per token by part, `6 N` beside them."""
  counted = counting.count(step.model)
  rows: list[list[Cell]] = [["parameters, non-embedding (N)", counted.params, None]]
  rows += [["parameters, embedding and output", counted.params_embedding, None]]
  rows += [["parameters, total; all are active", counted.params_total, None]]
  rows += [[f"FLOPs per token: {part}", flops, counted.shares[part]] for part, flops in counted.flops.items()]
  rows += [["FLOPs per token", counted.flops_per_token, 1.0]]
  rows += [["6 N", counted.flops_6n, 1.0 - counted.discrepancy]]
  tripled = counted.flops_config / counted.flops_per_token
  rows += [["three forward passes, as run tables count", counted.flops_config, tripled]]
  rows += [["recomputed per token, not credited", counted.recomputed, None]]
  return Table(["", "count", "share of FLOPs"], rows)


def _collectives(best: Candidate) -> list[Table]:
  if not best.verdict or not best.verdict.cost:
    return []
  sizes = program_cost.by_size(best.verdict.cost.collectives)
  rows: list[list[Cell]] = [
    [one["kind"], one["bytes"] / 2**20, one["chips"], one["count"], int(one["runs"]), one["received"] / 2**20]
    for one in sizes[:_SHOWN]
  ]
  rest = sizes[_SHOWN:]
  if rest:
    total = sum(one["received"] for one in rest) / 2**20
    rows.append([f"{len(rest)} smaller sizes", None, None, sum(one["count"] for one in rest), None, total])
  header = ["collective", "MiB per chip", "chips", "in the program", "runs per step", "MiB received per step"]
  return [Table(header, rows)]


def _meshes(slice_: Slice, found: list[Candidate], best: Candidate) -> Table:
  rows: list[list[Cell]] = []
  for candidate in found:
    estimate, verdict = candidate.estimate, candidate.verdict
    said = ("fits" if verdict.fits else "too large") if verdict else "not asked"
    bound = verdict.bound if verdict else None
    rows.append([
      *candidate.sizes.values(),
      gib(estimate.total), estimate.bound.seconds * 1e3,
      "recommended" if candidate is best and verdict and verdict.fits else said,
      gib(verdict.bytes) if verdict else None,
      bound.seconds * 1e3 if bound else None,
      bound.mfu if bound else None,
    ])  # fmt: skip
  header = ["data", "fsdp", "tensor", "sequence", "GiB, estimated", "ms, estimated", "compiler"]
  caption = f"Bytes per chip against {gib(slice_.chip.hbm):.2f} GiB; least milliseconds per step."
  return Table([*header, "GiB", "ms", "MFU bound"], rows, caption)
