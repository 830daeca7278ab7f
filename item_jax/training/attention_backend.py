"""Chooses the attention kernel: cuDNN's where it is supported, else XLA's."""

import jax
import jax.numpy as jnp

from item_jax.distributed.collectives import as_first
from item_jax.errors import UserError
from item_jax.models.layers import attend

_AMPERE = 8.0  # compute capability: cuDNN's attention needs at least this


def has_cudnn(device=None) -> bool:
  """Whether a device, by default the first, is an NVIDIA GPU new enough."""
  device = device or jax.devices()[0]
  if device.platform != "gpu":
    return False
  # Not by its name: "Tesla T4" does not contain the maker.
  if "rocm" in device.client.platform_version.lower():
    return False
  return float(device.compute_capability) >= _AMPERE


def resume_with(kernel: str) -> tuple[str, str]:
  """Returns the kernel of a run, or XLA's where there is no such, and why."""
  if kernel == "cudnn" and not has_cudnn():
    return "xla", f"it was cudnn; {jax.devices()[0].device_kind} has none"
  return kernel, "as before"


def choose(
  requested: str, *, shapes, dtype: str, device=None
) -> tuple[str, str]:
  """Returns ("xla" or "cudnn", why).

  Args:
    requested: `model.attention`: "auto", "xla" or "cudnn".
    shapes: of each encoder: (positions, heads, depth, causal).
    dtype: of the computation.
    device: that is asked; the first one where none is given.

  Raises:
    UserError: "cudnn" is requested, and not supported.
  """
  if not shapes:
    return "xla", "the network has none"
  if requested == "xla":
    return "xla", "as configured"
  problem = _why_not_cudnn(shapes, dtype, device)
  # All processes must compile one program.
  if as_first(bool(problem)):
    if requested == "cudnn":
      raise UserError(f"model.attention=cudnn: {problem or 'see process 0'}")
    return "xla", problem or "as process 0"
  return "cudnn", "as configured" if requested == "cudnn" else "supported"


def _why_not_cudnn(shapes, dtype: str, device) -> str:
  """Why cuDNN cannot compute attention there; "" where it can."""
  device = device or jax.devices()[0]
  if not has_cudnn(device):
    return f"{device.device_kind} is no NVIDIA GPU of Ampere or newer"
  if dtype != "bfloat16":
    return f"cuDNN has no {dtype} attention: it needs model.dtype=bfloat16"
  for shape in shapes:
    try:
      _lower(shape, dtype)
    except (RuntimeError, ValueError, NotImplementedError) as error:
      reason = str(error).splitlines()[0] if str(error) else repr(error)
      return f"cuDNN does not support {shape}: {reason}"
  return ""


def _lower(shape, dtype: str, kernel: str = "cudnn") -> str:
  """Lowers attention and its gradient, for which jax checks cuDNN's limits.

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
  # Named, so that a host without a GPU can ask too.
  return traced.lower(lowering_platforms=("cuda",)).as_text()
