"""Chooses an attention kernel: shapes in, the quicker implementation out."""

import time

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils

from item_jax.errors import UserError
from item_jax.models.layers import attend

_AMPERE = 8.0  # compute capability: cuDNN's attention knows none before


def has_cudnn() -> bool:
  """Whether the default device is an NVIDIA GPU that is new enough."""
  device = jax.devices()[0]
  if device.platform != "gpu":
    return False
  # Not by its name: a "Tesla T4" does not say whose it is.
  if "rocm" in device.client.platform_version.lower():
    return False
  return float(device.compute_capability) >= _AMPERE


def as_before(kernel: str) -> tuple[str, str]:
  """The kernel that a run had, or XLA's where this device has none of that."""
  if kernel == "cudnn" and not has_cudnn():
    return "xla", f"it was cudnn; {jax.devices()[0].device_kind} has none"
  return kernel, "as before"


def choose(asked: str, *, rows: int, shapes, dtype: str) -> tuple[str, str]:
  """("xla" or "cudnn", why).

  Args:
    asked: "auto", "xla" or "cudnn".
    rows: pairs on one device in one pass.
    shapes: of each encoder: (places, heads, depth, causal).

  Every process gets process 0's answer: they must compile one program.
  """
  if not shapes:
    return "xla", "the network has none"
  if asked == "xla":
    return "xla", "as configured"
  if not has_cudnn():
    if asked == "cudnn":
      raise UserError(
        f"model.attention=cudnn, but the device is {jax.devices()[0]}"
      )
    return "xla", "no NVIDIA GPU of Ampere or newer"
  if dtype != "bfloat16":
    if asked == "cudnn":
      raise UserError(
        f"model.attention=cudnn needs model.dtype=bfloat16, not {dtype}"
      )
    return "xla", f"cuDNN has no {dtype} attention"
  if asked == "cudnn":
    return "cudnn", "as configured"
  xla = sum(_seconds(rows, shape, dtype, "xla") for shape in shapes)
  try:
    cudnn = sum(_seconds(rows, shape, dtype, "cudnn") for shape in shapes)
  except (RuntimeError, ValueError, NotImplementedError) as error:
    first = str(error).splitlines()[0] if str(error) else repr(error)
    cudnn, why = float("inf"), f"cuDNN refused: {first}"
  else:
    why = f"cuDNN {1e3 * cudnn:.2f} ms, XLA {1e3 * xla:.2f} ms"
  quicker = np.int32(cudnn < xla)
  if jax.process_count() > 1:
    quicker = multihost_utils.broadcast_one_to_all(quicker)
  return ("cudnn" if quicker else "xla"), why


def _seconds(rows: int, shape, dtype: str, implementation: str) -> float:
  """Median time of attention's forward and backward pass."""
  places, heads, depth, causal = shape
  keys = jax.random.split(jax.random.key(0), 3)
  qkv = [
    jax.random.normal(k, (rows, places, heads, depth), jnp.dtype(dtype))
    for k in keys
  ]
  lengths_B = jnp.full((rows,), places - places // 8, jnp.int32)

  def loss(q, k, v):
    out = attend(
      q, k, v, lengths_B, causal=causal, implementation=implementation
    )
    return out.astype(jnp.float32).sum()

  run = jax.jit(jax.grad(loss, argnums=(0, 1, 2)))
  jax.block_until_ready(run(*qkv))
  times = []
  for _ in range(10):
    begin = time.perf_counter()
    jax.block_until_ready(run(*qkv))
    times.append(time.perf_counter() - begin)
  return float(np.median(times))
