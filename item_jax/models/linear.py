"""Builds linear layers, and looks rows of tables up, for one device or many.

What differs on many is the gradient alone: of parameters it is a sum over the
rows of all devices, and these layers hand each device's part on in float32,
before the compiler adds the parts up (`config.Mesh.reduce_dtype`).
"""

import functools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import flax.linen as nn
import jax
import jax.numpy as jnp

if TYPE_CHECKING:  # `layers` is built of these
  from item_jax.models.layers import TransformerConfig


def dense(
  config: "TransformerConfig",
  features: int | Sequence[int],
  *,
  name: str | None = None,
  axis: int | Sequence[int] = -1,
  out=None,
  use_bias: bool = True,
  split: bool = False,
):
  """A linear layer with float32 parameters, computed in `config.dtype`.

  Args:
    axis: the last one, or the last ones.
    out: the type of the sums; that of the computation where it is not given.
    split: to get an array for each index of the first axis of `features`;
      with a bias only.
  """
  return Linear(
    tuple(features) if isinstance(features, Sequence) else (features,),
    contracted=len(axis) if isinstance(axis, Sequence) else 1,
    dtype=config.dtype,
    out=out or config.dtype,
    use_bias=use_bias,
    split=split,
    float32_sums=sums_float32(config),
    kernel_init=nn.initializers.truncated_normal(config.init_std),
    name=name,
  )


def sums_float32(config: "TransformerConfig") -> bool:
  """Whether gradients would otherwise be handed on in a smaller type."""
  smaller = jnp.dtype(config.dtype).itemsize < 4
  return config.devices > 1 and config.reduce_dtype == "float32" and smaller


class Linear(nn.Module):
  """`nn.DenseGeneral` of the last axes, whose gradients suit the devices.

  The same parameters and the same values.

  features: axes out. contracted: how many axes in. float32_sums: whether
  gradients are float32 before devices add them up.
  """

  features: tuple[int, ...]
  contracted: int
  dtype: Any
  out: Any
  use_bias: bool
  split: bool
  float32_sums: bool
  kernel_init: Any

  @nn.compact
  def __call__(self, x) -> Any:
    x = x.astype(self.dtype)
    inside = x.shape[x.ndim - self.contracted :]

    def flat_init(key, shape):
      # As DenseGeneral: spread by the numbers in and out, whatever the axes.
      flat = (math.prod(inside), math.prod(self.features))
      return self.kernel_init(key, flat).reshape(shape)

    kernel = self.param("kernel", flat_init, (*inside, *self.features))
    y: Any
    if self.float32_sums:
      y = _product(x, kernel, self.contracted, self.out)
    else:
      kernel = kernel.astype(self.dtype)
      y = _product_on_one_device(x, kernel, self.contracted, self.out)
    zeros = nn.initializers.zeros
    bias = self.param("bias", zeros, self.features) if self.use_bias else None
    if not self.split:
      return self._add(y, bias)
    axis = y.ndim - len(self.features)

    def whole(y, bias):
      return jnp.unstack(self._add(y, bias), axis=axis)

    def apart(y, bias):
      # A TPU adds a part's gradient up for the bias while it makes that part.
      parts = zip(jnp.unstack(y, axis=axis), bias, strict=True)
      return tuple(self._add(part, of_part) for part, of_part in parts)

    return jax.lax.platform_dependent(y, bias, tpu=apart, default=whole)

  def _add(self, y, bias):
    if bias is None:
      return y
    if self.float32_sums:
      return y + _spread(bias, y.shape, y.dtype)
    return y + bias.astype(self.dtype)


def _times(x, kernel, contracted: int, out):
  """x times a float32 kernel in x's type, over x's last axes."""
  return jnp.tensordot(
    x, kernel.astype(x.dtype), contracted, preferred_element_type=out
  )


_product = jax.custom_vjp(_times, nondiff_argnums=(2, 3))


def _product_forward(x, kernel, contracted: int, out):
  return _times(x, kernel, contracted, out), (x, kernel)


def _product_backward(contracted: int, out, kept, cotangent):
  x, kernel = kept
  _, back = jax.vjp(lambda x: _times(x, kernel, contracted, out), x)
  rows = tuple(range(x.ndim - contracted))
  of_kernel = jnp.tensordot(
    x, cotangent, (rows, rows), preferred_element_type=jnp.float32
  )
  return *back(cotangent), of_kernel


_product.defvjp(_product_forward, _product_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _product_on_one_device(x, kernel, contracted: int, out):
  """x times a kernel of its type, whose gradient suits the device."""
  return _times(x, kernel, contracted, out)


def _product_on_one_device_backward(contracted: int, out, kept, cotangent):
  x, kernel = kept

  def as_derived(x, cotangent):
    # By jax: what compilers for accelerators make the best of.
    back = jax.linear_transpose(
      lambda kernel: _times(x, kernel, contracted, out), kernel
    )
    return back(cotangent)[0]

  def on_cpu(x, cotangent):
    of_kernel = _sum_over_rows(
      x.astype(cotangent.dtype).reshape(rows, inside),
      cotangent.reshape(rows, kernel.size // inside),
    )
    return of_kernel.reshape(kernel.shape).astype(kernel.dtype)

  inside = math.prod(kernel.shape[:contracted])
  rows = x.size // inside
  back = jax.linear_transpose(lambda x: _times(x, kernel, contracted, out), x)
  of_kernel = jax.lax.platform_dependent(
    x, cotangent, cpu=on_cpu, default=as_derived
  )
  return *back(cotangent), of_kernel


def _sum_over_rows(left_RI, right_RO):
  """left^T right, [I,O], in the form that XLA for CPUs is quick at.

  The narrower side is the one that is turned. What jax derives turns the side
  on the right whichever it is, is made a product of two turned sides, and
  takes up to twice as long.
  """
  rows = (((0,), (0,)), ((), ()))
  if left_RI.shape[1] <= right_RO.shape[1]:
    return jax.lax.dot_general(left_RI, right_RO, rows)
  product_OI = jax.lax.dot_general(right_RO, left_RI, rows)
  # Else the compiler would swap the sides to save turning the result.
  return jax.lax.optimization_barrier(product_OI).T


_product_on_one_device.defvjp(
  lambda x, kernel, contracted, out: (
    _times(x, kernel, contracted, out),
    (x, kernel),
  ),
  _product_on_one_device_backward,
)


def spread(config: "TransformerConfig", vector, shape: tuple[int, ...]):
  """A vector in the type of the computation, to stand at every position.

  It has this shape already where its gradient is a sum of float32.
  """
  if sums_float32(config):
    return _spread(vector, shape, config.dtype)
  return vector.astype(config.dtype)


def _spread(vector, shape: tuple[int, ...], dtype):
  # Cast last: cast first, its gradient would be a sum in `dtype`.
  return jnp.broadcast_to(vector, shape).astype(dtype)


def look_up(config: "TransformerConfig", table_VD, ids_BT) -> Any:
  """Rows of a table, whose gradient many devices add up once."""
  if config.devices == 1 or len(ids_BT) % config.devices:
    return table_VD[ids_BT]
  return _look_up(table_VD, ids_BT, config.devices)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _look_up(table_VD, ids_BT, devices: int):
  del devices
  return table_VD[ids_BT]


def _look_up_backward(devices: int, kept, cotangent_BTD):
  """Adds each device's rows to a table of its own, then the tables up.

  Left to itself the compiler adds rows to the gradient that decoders give the
  same table: it is added up over all devices before that, and again after it.
  Of a split table it would gather the rows of the whole batch.
  """
  table_VD, ids_BT = kept
  ids = ids_BT.reshape(devices, -1)
  rows = cotangent_BTD.reshape(*ids.shape, -1)
  zeros_VD = jnp.zeros_like(table_VD)
  # As a batch of tables: the compiler knows that no row leaves its table.
  own = jax.vmap(lambda ids, rows: zeros_VD.at[ids].add(rows))(ids, rows)
  return own.sum(0), None


_look_up.defvjp(
  lambda table_VD, ids_BT, _: (table_VD[ids_BT], (table_VD, ids_BT)),
  _look_up_backward,
)
