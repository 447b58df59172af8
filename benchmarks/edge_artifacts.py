"""What benchmarks/edge_latency.py compares: a run in float32 and INT8 for every runtime, ours beside NNCF's."""

import pathlib

ALPHAS = {"off": -1.0, ".15": 0.15, ".5": 0.5, ".95": 0.95}  # of its smoothing; .95 is NNCF's own choice


OURS = ("onnx_fp32", "onnx_int8", "onnx_int8_dynamic", "tensorrt_int8", "openvino_int8", "litert_int8")


def written(run, root: pathlib.Path, records: int, smooth: bool, nncf: bool) -> None:
  """All artifacts below `root`, calibrated on so many records; those that are there already are left as they are."""
  from export import judge

  calibrating = judge.records_of_split(run, run.config.data.train_split, records)
  root.mkdir(parents=True, exist_ok=True)
  if not all((root / name).exists() for name in (*OURS, "litert_fp32")):
    ours(run, root, calibrating, smooth)
  if nncf:
    for name, alpha in ALPHAS.items():
      if not (root / f"nncf{name}").exists():
        by_nncf(root / "onnx_fp32" / "model.onnx", calibrating, alpha, root / f"nncf{name}")


def ours(run, root: pathlib.Path, calibrating: list[dict], smooth: bool) -> None:
  """As export.build makes them, and LiteRT's float32, which is no target."""
  import shutil

  from experiments import run as runs
  from export import calibration, onnx_capture, smoothing, tensorflow_capture
  from export.exportable import forward
  from export.targets import TARGETS, Parts

  model, weights, example = runs.deployed(run)
  plain = forward(model.apply, weights, example)
  moves = smoothing.plan(plain, calibrating, inputs=False) if smooth else []
  exported = smoothing.smoothed(plain, moves)
  observed = calibration.observe(exported, calibrating)
  unsigned, signed = (calibration.static_recipe(observed, "mse", sign, 8, {}) for sign in (False, True))
  parts = Parts(exported, onnx_capture.capture(exported), unsigned, signed, plain, None, tuple(moves))
  writers = {name: TARGETS[name].write for name in OURS}

  def litert(parts: Parts, directory: pathlib.Path) -> None:
    tensorflow_capture.save(parts.exported, directory / "saved_model")
    (directory / "model.tflite").write_bytes(tensorflow_capture.litert(directory / "saved_model"))
    shutil.rmtree(directory / "saved_model")

  for name, write in (writers | {"litert_fp32": litert}).items():
    (root / name).mkdir(exist_ok=True)
    write(parts, root / name)


def by_nncf(path: pathlib.Path, records: list[dict], alpha: float, out: pathlib.Path) -> None:
  """Post-training quantisation as NNCF's documentation has it for transformers, on the same records."""
  from data.errors import BadInput
  from export.runtimes import import_openvino

  ov = import_openvino()
  try:
    import nncf
    from nncf.quantization.advanced_parameters import (
      AdvancedQuantizationParameters,
      AdvancedSmoothQuantParameters,
    )
  except ImportError:
    raise BadInput(
      "nncf is not installed", "--nncf", "make an environment of requirements/bench.txt, or give --nonncf"
    ) from None
  model = ov.Core().read_model(path)
  names = [one.get_any_name() for one in model.inputs]
  smooth = AdvancedSmoothQuantParameters(matmul=alpha, convolution=-1)
  quantised = nncf.quantize(
    model,
    nncf.Dataset(records, lambda record: {name: record[name] for name in names}),
    preset=nncf.QuantizationPreset.PERFORMANCE,
    model_type=nncf.ModelType.TRANSFORMER,
    subset_size=len(records),
    advanced_parameters=AdvancedQuantizationParameters(smooth_quant_alphas=smooth),
  )
  out.mkdir()
  ov.save_model(quantised, out / "model.xml", compress_to_fp16=False)
