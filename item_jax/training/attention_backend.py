"""Chooses the attention kernel: a device's own where supported, else XLA's."""

import jax
import jax.numpy as jnp

from item_jax.distributed.collectives import as_first
from item_jax.errors import UserError
from item_jax.models.layers import attend

_AMPERE = 8.0  # compute capability: cuDNN's attention needs at least this
# Of each kernel that not every device has, those that do.
DEVICES = {"cudnn": "NVIDIA GPU of Ampere or newer", "pallas": "TPU"}


def has_cudnn(device=None) -> bool:
  """Whether a device, by default the first, is an NVIDIA GPU new enough."""
  device = device or jax.devices()[0]
  if device.platform != "gpu":
    return False
  # Not by its name: "Tesla T4" does not contain the maker.
  if "rocm" in device.client.platform_version.lower():
    return False
  return float(device.compute_capability) >= _AMPERE


def has(kernel: str, device=None) -> bool:
  """Whether a device, by default the first, has a kernel of `DEVICES`."""
  device = device or jax.devices()[0]
  return device.platform == "tpu" if kernel == "pallas" else has_cudnn(device)


def resume_with(kernel: str) -> tuple[str, str]:
  """Returns the kernel of a run, or XLA's where there is no such, and why."""
  if kernel in DEVICES and not has(kernel):
    return "xla", f"it was {kernel}; {jax.devices()[0].device_kind} has none"
  return kernel, "as before"


def choose(
  requested: str, *, shapes, dtype: str, device=None
) -> tuple[str, str]:
  """Returns ("xla" or one of `DEVICES`, why).

  Args:
    requested: `model.attention`: "auto" or a kernel.
    shapes: of each encoder: (positions, heads, depth, causal).
    dtype: of the computation.
    device: that is asked; the first one where none is given.

  Raises:
    UserError: another than "xla" is requested, and not supported.
  """
  if not shapes:
    return "xla", "the network has none"
  if requested == "xla":
    return "xla", "as configured"
  kernel = "cudnn" if requested == "auto" else requested
  problem = _why_not(kernel, shapes, dtype, device)
  # All processes must compile one program.
  if as_first(bool(problem)):
    if requested == kernel:
      raise UserError(f"model.attention={kernel}: {problem or 'see process 0'}")
    return "xla", problem or "as process 0"
  return kernel, "as configured" if requested == kernel else "supported"


def _why_not(kernel: str, shapes, dtype: str, device) -> str:
  """Why a kernel cannot compute attention there; "" where it can."""
  device = device or jax.devices()[0]
  if not has(kernel, device):
    return f"{device.device_kind} is no {DEVICES[kernel]}"
  if kernel == "cudnn" and dtype != "bfloat16":
    return f"cuDNN has no {dtype} attention: it needs model.dtype=bfloat16"
  for shape in shapes:
    try:
      _lower(shape, dtype, kernel)
    except (RuntimeError, ValueError, NotImplementedError) as error:
      reason = str(error).splitlines()[0] if str(error) else repr(error)
      return f"{kernel} does not support {shape}: {reason}"
  return ""


def _lower(shape, dtype: str, kernel: str = "cudnn") -> str:
  """Lowers attention and its gradient, for which jax checks kernels' limits.

  Returns:
    The program's text.
  """
  positions, heads, depth, causal = shape
  qkv = jax.ShapeDtypeStruct((1, positions, heads, depth), jnp.dtype(dtype))
  lengths_B = jax.ShapeDtypeStruct((1,), jnp.int32)

  def loss(query, key, value, lengths_B):
    out = attend(
      query, key, value, lengths_B, causal=causal, implementation=kernel
    )
    return out.astype(jnp.float32).sum()

  gradient = jax.jit(jax.grad(loss, argnums=(0, 1, 2)))
  traced = gradient.trace(qkv, qkv, qkv, lengths_B)
  # Named, so that a host without the device can ask too.
  platform = "tpu" if kernel == "pallas" else "cuda"
  return traced.lower(lowering_platforms=(platform,)).as_text()
