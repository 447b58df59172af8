"""Camera and LiDAR paths on real frames: python -m benchmarks.real_sensors --input=KITTI [--out=real_sensors.json].

Twelve paired frames of one drive (data/kitti.py) are reconstructed from the half of their tokens that is left: the
perception model reads images whose hidden patches are gray, or sweeps without the points of hidden pillars, and a
linear head on the hidden tokens predicts what objectives/masked.py asks. The frames overlap almost fully, so this
shows that the paths run and learn on real sensors, not that they generalise. Losses are means over the first and the
last ten steps, each with a new mask, beside the best constant prediction.
"""

import json
import pathlib
import sys

from absl import flags

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from experiments import program

_INPUT = flags.DEFINE_string("input", None, "Directory with image_02/ and velodyne/.", required=True)
_OUT = flags.DEFINE_string("out", "", "JSON file for the numbers; none when empty.")
_STEPS = flags.DEFINE_integer("steps", 150, "Training steps.", lower_bound=20)
_SEEDS = flags.DEFINE_integer("seeds", 3, "Seeds, each its own initialisation and masks.", lower_bound=1)

PATCH, RATIO, WINDOW = 8, 0.5, 10


def main() -> int:
  clips, config = read(pathlib.Path(_INPUT.value))
  result = {}
  for sensor in ("camera", "lidar"):
    runs = [losses(sensor, clips, config, _STEPS.value, seed, width=32) for seed in range(_SEEDS.value)]
    first, last = (
      [round(sum(one) / WINDOW, 4) for one in part] for part in zip(*map(ends, runs), strict=True)
    )
    result[sensor] = {"first": first, "last": last, "constant": round(constant(sensor, clips, config), 4)}
    print(sensor, json.dumps(result[sensor]))
  if _OUT.value:
    pathlib.Path(_OUT.value).write_text(json.dumps(result, indent=1) + "\n")
  return 0


def ends(found):
  return found[:WINDOW], found[-WINDOW:]


def read(directory: pathlib.Path):
  """Batch arrays of clips of two frames, each frame once, and the shape of the clips."""
  import numpy as np

  from data import kitti
  from data.clips import ClipConfig
  from experiments.task import batch_name

  config = ClipConfig(
    rig="pair", steps=2, step_seconds=0.1, image_height=48, image_width=96, beams=16, azimuths=180, grid=16,
    cell_m=4.0, rear_m=32.0, boxes=1, futures=1, elements=1, element_points=2,
  )  # fmt: skip
  clips = kitti.paired_clips(directory, config)[:: config.steps]
  batch = {batch_name(name): np.stack([clip[name] for clip in clips]) for name in config.spec}
  batch["images_BxTxCxHxWx3"] = batch["images_BxTxCxHxWx3"][:, :, :1]  # the camera that looks ahead
  return batch, config


def targets(sensor: str, clips, config):
  """[B, T, S, P], and bool [B, T, S]: which tokens show anything."""
  import jax
  import jax.numpy as jnp

  from models.sensors import patches, point_features
  from models.sensors_config import GridConfig
  from objectives import masked

  if sensor == "camera":
    images = jnp.asarray(clips["images_BxTxCxHxWx3"][:, :, 0], jnp.float32)
    values = patches(images, PATCH, 1)
    return masked.standardised(values), values.std(-1) > 1.0
  grid = GridConfig(config.grid, 1, config.cell_m, config.rear_m)

  @jax.vmap
  def statistics(points_TxPx4, echo_TxP):
    """Of each pillar: height over 3 m and intensity."""
    cell_TxP, features_TxPx9, _ = point_features(points_TxPx4.astype(jnp.float32), echo_TxP, grid)
    own = features_TxPx9[..., 2:4]
    return jax.vmap(lambda cell_P, x: masked.pillar_statistics(cell_P, x, config.grid**2))(cell_TxP, own)

  values = statistics(jnp.asarray(clips["points_BxTxPx4"]), jnp.asarray(clips["echo_BxTxP"]))
  return values, jnp.ones(values.shape[:3], bool)


def error(sensor: str):
  from objectives import masked

  return masked.squared_error if sensor == "camera" else masked.pillar_error


def constant(sensor: str, clips, config) -> float:
  """The loss of predicting the same for every token: zero for standardised patches, else the means."""
  import jax.numpy as jnp

  target, there = targets(sensor, clips, config)
  if sensor == "camera":
    guess = jnp.zeros_like(target)
  else:
    share = target[..., 0].mean()
    means = target[..., 1:].sum((0, 1, 2)) / target[..., 0].sum()
    guess = jnp.broadcast_to(jnp.concatenate([jnp.log(share / (1 - share))[None], means]), target.shape)
  return float((error(sensor)(guess, target) * there).sum() / there.sum())


def losses(sensor: str, clips, config, steps: int, seed: int, width: int) -> list[float]:
  """The loss per hidden token at every step of training on all clips at once."""
  import flax.linen as nn
  import jax
  import jax.numpy as jnp
  import numpy as np
  import optax

  from models.perception import PerceptionModel
  from models.perception_config import PerceptionConfig
  from models.sensors import patch_rays
  from models.sensors_config import CameraConfig, GridConfig, LidarConfig
  from models.trunk_config import TrunkConfig
  from objectives import masks

  target, there = targets(sensor, clips, config)
  arrays = ("images_BxTxCxHxWx3",) if sensor == "camera" else ("points_BxTxPx4", "echo_BxTxP")
  rows, columns = config.image_height // PATCH, config.image_width // PATCH
  camera, lidar = None, None
  if sensor == "camera":
    camera, grid = CameraConfig(1, config.image_height, config.image_width, PATCH), (1, rows, columns)
  else:
    cells = GridConfig(config.grid, 1, config.cell_m, config.rear_m)
    lidar, grid = LidarConfig(cells, config.points, 16), (1, config.grid, config.grid)
  trunk = TrunkConfig(
    width=width, layers=2, head_dim=16, mixing="factorised", state=0, chunk=0, causal=False, steps=config.steps,
    space=grid[1] * grid[2], dtype="float32", scan=False, remat="none", block=0, adapter=0, prefix=0, heads=0, hidden=0,
  )  # fmt: skip
  shape = PerceptionConfig(ego=None, raster=None, lidar=lidar, camera=camera, tube=1, trunk=trunk)
  rays = patch_rays(config.rays_CxHxWx3[:1], config.origins_Cx3[:1], PATCH)

  class Reconstruct(nn.Module):
    @nn.compact
    def __call__(self, batch):
      x, _ = PerceptionModel(shape, name="model")(batch)
      return nn.Dense(target.shape[-1], name="head")(x)

  def without(clips, hidden_BxTxS):
    """What is left of the sensor."""
    if sensor == "camera":
      blank = hidden_BxTxS.reshape(*hidden_BxTxS.shape[:2], rows, columns)
      blank = jnp.repeat(jnp.repeat(blank, PATCH, 2), PATCH, 3)[:, :, None, ..., None]
      images = jnp.where(blank, jnp.uint8(128), clips["images_BxTxCxHxWx3"])
      return {"images_BxTxCxHxWx3": images, "rays_BxCxSx6": np.broadcast_to(rays, (len(images), *rays.shape))}
    points = clips["points_BxTxPx4"].astype(jnp.float32)
    cell = jnp.floor((points[..., :2] + config.rear_m) / config.cell_m).astype(jnp.int32)
    inside = ((cell >= 0) & (cell < config.grid)).all(-1)
    index = jnp.where(inside, cell[..., 0] * config.grid + cell[..., 1], 0)
    gone = jnp.take_along_axis(hidden_BxTxS, index, axis=2) & inside
    return {"points_BxTxPx4": points, "echo_BxTxP": clips["echo_BxTxP"] & ~gone}

  def loss_fn(params, clips, target, there, key):
    hidden = masks.hide(key, there, RATIO, grid, 2, True)
    prediction = model.apply({"params": params}, without(clips, hidden))
    return (error(sensor)(prediction, target) * hidden).sum() / hidden.sum()

  @jax.jit
  def step(params, state, key, clips, target, there):
    value, gradient = jax.value_and_grad(loss_fn)(params, clips, target, there, key)
    updates, state = tx.update(gradient, state, params)
    return optax.apply_updates(params, updates), state, value

  model, tx, key = Reconstruct(), optax.adam(3e-3), jax.random.key(seed)
  clips = {name: jnp.asarray(clips[name]) for name in arrays}
  params = nn.unbox(jax.jit(model.init)(key, without(clips, jnp.zeros_like(there)))["params"])
  state, found = tx.init(params), []
  for i in range(steps):
    params, state, value = step(params, state, jax.random.fold_in(key, i), clips, target, there)
    found.append(float(value))
  return found


if __name__ == "__main__":
  program.run(main)
