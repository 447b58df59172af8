"""Checkpoints that are either proven whole or not loaded at all.

Orbax writes the arrays (atomic rename, asynchronous) but its array files carry no checksum: a flipped bit
is restored without a word, a stray directory passes for the newest step, and nothing falls back. So a step
exists for us only with a manifest, written after the commit:

  checkpoints/<step>/       arrays, written by Orbax
  manifests/<step>.json     every file's size and SHA-256, see experiments/manifest.py
  quarantine/<step>-<n>/    what failed the check, never deleted here

In a run of several processes all call the same methods at the same steps; the first one writes manifests.
"""

import concurrent.futures
import errno
import itertools
import logging
import pathlib
import shutil
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils

from data.errors import BadInput
from data.files import canonical_json, require_free_space, write_json_atomic
from experiments import manifest as manifests

_SPARE = 2.5  # free space wanted before a save, over the bytes of the state


class Checkpoints:
  """The checkpoints of one run. Close it before letting go of the directory: a save may be under way.

  Args:
    directory: the run directory.
    keep: how many verified steps stay on disk, at least 1.
    read_only: for programs that load another process's run: nothing is moved, removed or written.
  """

  def __init__(self, directory: pathlib.Path | str, keep: int, read_only: bool = False):
    self.directory = pathlib.Path(directory).absolute()
    self.keep, self.read_only = max(1, keep), read_only
    self._arrays, self._manifests = self.directory / "checkpoints", self.directory / "manifests"
    self._orbax = ocp.AsyncCheckpointer(ocp.StandardCheckpointHandler())
    self._thread = concurrent.futures.ThreadPoolExecutor(1, "checkpoint")
    self._saving: concurrent.futures.Future | None = None
    if self._primary() and not read_only:
      self._arrays.mkdir(parents=True, exist_ok=True)
      for unfinished in self._arrays.glob("*.orbax-checkpoint-tmp*"):
        shutil.rmtree(unfinished)  # the directory is locked, so nobody is still writing it

  @property
  def quarantined(self) -> int:
    """How many damaged checkpoints this run has met, earlier attempts included; for result.json."""
    return len(list((self.directory / "quarantine").glob("*")))

  def steps(self) -> list[int]:
    """Steps that have a manifest, oldest first."""
    return sorted(int(p.stem) for p in self._manifests.glob("*.json") if p.stem.isdecimal())

  def save(self, step: int, state: Any, meta: dict) -> None:
    """Starts an asynchronous save; returns once the state may be donated. One save runs at a time.

    meta: JSON that belongs to the step (data position, seed, ...), restored with it.

    Raises FloatingPointError when a float leaf is not finite, BadInput when the disk is too full, and
    whatever went wrong with the save before. Nothing has been written in any of these cases.
    """
    self.wait()
    _require_finite(state)
    canonical_json(meta)
    require_free_space(self.directory, int(_SPARE * sum(leaf.nbytes for leaf in jax.tree.leaves(state))))
    if self._primary():
      (self._manifests / f"{step}.json").unlink(missing_ok=True)
    manifest = {"step": step, "meta": meta, "arrays": manifests.arrays(state)}
    # force: a directory without a manifest is no checkpoint, and may be in the way of one.
    self._orbax.save(self._arrays / str(step), args=ocp.args.StandardSave(state), force=True)
    self._saving = self._thread.submit(self._commit, manifest)

  def poll(self) -> None:
    """Call every step: raises the error of a save that failed in the background; never waits."""
    if self._saving is not None and self._saving.done():
      saving, self._saving = self._saving, None
      saving.result()

  def wait(self) -> None:
    """Blocks until the save under way, if any, has its manifest on disk; raises its error."""
    if self._saving is not None:
      saving, self._saving = self._saving, None
      saving.result()
    if jax.process_count() > 1:
      multihost_utils.sync_global_devices("drivetrain checkpoint")

  def close(self) -> None:
    """Ends the save under way, if any; its error is logged, for close is called while others are raised."""
    saving, self._saving = self._saving, None
    if saving is not None and (error := saving.exception()):
      logging.error("%s", error)
    self._thread.shutdown()
    self._orbax.close()

  def restore_newest(self, abstract_state: Any) -> tuple[int, Any, dict] | None:
    """(step, state, meta) of the newest step whose every file matches its manifest; None in a fresh run.

    abstract_state: tree of jax.ShapeDtypeStruct with the shardings wanted now; the mesh may differ from
    the one that saved. Damaged steps are moved to quarantine/ with a warning. Raises BadInput when there
    were checkpoints and none is left, or when the state has other shapes than the program expects.
    """
    self.wait()
    for path in self._unproven():
      logging.warning("%s has no manifest and is ignored", path)
    step = self._newest_good() if self._primary() else -1
    if jax.process_count() > 1:
      step = int(multihost_utils.broadcast_one_to_all(np.int32(step)))
    if step < 0:
      if self.quarantined or self.steps():
        raise BadInput(
          "no checkpoint is left that matches its manifest",
          self.directory,
          "put a good copy back, or start again in another --workdir",
        )
      return None
    manifest = manifests.read_manifest(self._manifests / f"{step}.json")
    manifests.require_same_arrays(
      manifests.arrays(abstract_state), manifest["arrays"], self._arrays / str(step)
    )
    state = self._orbax.restore(self._arrays / str(step), args=ocp.args.StandardRestore(abstract_state))
    return step, state, manifest["meta"]

  def _commit(self, manifest: dict) -> None:
    """In the background: waits for Orbax, writes the manifest, removes steps past `keep`."""
    step = manifest["step"]
    try:
      self._orbax.wait_until_finished()
      if not self._primary():
        return
      manifest["files"] = manifests.digests(self._arrays / str(step))
      manifest["digest"] = manifests.seal(manifest)
      write_json_atomic(self._manifests / f"{step}.json", manifest)
      self._prune()
    except Exception as error:
      full = "RESOURCE_EXHAUSTED" in str(error) or getattr(error, "errno", None) in (
        errno.ENOSPC,
        errno.EDQUOT,
      )
      if full:
        raise BadInput(
          f"no space left for step {step}", self._arrays, "free some space and run again"
        ) from error
      raise RuntimeError(f"the checkpoint of step {step} could not be saved: {error}") from error

  def _prune(self) -> None:
    kept = self.steps()[-self.keep :]
    for step in set(self.steps()) - set(kept):
      (self._manifests / f"{step}.json").unlink()  # first: a kill in between leaves no promise unkept
    for path in self._unproven():
      if path.name.isdecimal() and (path / "_CHECKPOINT_METADATA").exists():
        shutil.rmtree(path)

  def _unproven(self) -> list[pathlib.Path]:
    """What lies among the checkpoints without a manifest: an unfinished save, or a stray."""
    known = {str(step) for step in self.steps()}
    return [path for path in sorted(self._arrays.glob("*")) if path.name not in known]

  def _newest_good(self) -> int:
    """The newest step that verifies, or -1; the bad ones met on the way are quarantined."""
    for step in reversed(self.steps()):
      fault = manifests.fault(self._manifests / f"{step}.json", self._arrays / str(step))
      if fault is None:
        return step
      logging.error("checkpoint %d of %s is damaged: %s", step, self.directory, fault)
      if not self.read_only:
        self._quarantine(step)
    return -1

  def _quarantine(self, step: int) -> None:
    place = next(
      place
      for n in itertools.count()
      if not (place := self.directory / "quarantine" / f"{step}-{n}").exists()
    )
    place.mkdir(parents=True)
    if (self._arrays / str(step)).exists():
      (self._arrays / str(step)).rename(place / "arrays")
    (self._manifests / f"{step}.json").rename(place / "manifest.json")
    logging.error("checkpoint %d was moved to %s; an older one is used", step, place)

  def _primary(self) -> bool:
    return jax.process_index() == 0


@jax.jit
def _finite(leaves: list) -> jax.Array:
  return jnp.stack([jnp.isfinite(leaf).all() for leaf in leaves])


def _require_finite(state: Any) -> None:
  named = [
    (jax.tree_util.keystr(path), leaf)
    for path, leaf in jax.tree_util.tree_leaves_with_path(state)
    if jnp.issubdtype(leaf.dtype, jnp.inexact)
  ]
  if named:
    finite = np.asarray(_finite([leaf for _, leaf in named]))
    if not finite.all():
      raise FloatingPointError(f"{named[int(np.argmin(finite))][0]} is not finite; the step is not saved")
