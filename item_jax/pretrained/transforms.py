"""Changes arrays as PyTorch keeps them into arrays as our trees keep them.

Each function takes the tensors that a leaf is made of, and the leaf as it is
before, whose shape (and, where only a part is filled, whose other values) the
result has. What doesn't fit raises ValueError; `convert` names the leaf.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np


class Pixels(NamedTuple):
  """How pixels in [0, 1] are normalised: (x - mean) / std, for each colour."""

  mean: tuple[float, ...]
  std: tuple[float, ...]


# parts, leaf -> leaf
Change = Callable[[Sequence[np.ndarray], np.ndarray], np.ndarray]


def same(parts, leaf):
  """As it is."""
  return parts[0]


def linear(parts, leaf):
  """A Linear's weight [out, in]: a kernel [in, out]."""
  return parts[0].T


def convolution(parts, leaf):
  """[out, in, height, width]: [height, width, in, out]."""
  return parts[0].transpose(2, 3, 1, 0)


def from_heads(parts, leaf):
  """Attention's last weight [D, D]: a kernel [heads, depth, D]."""
  heads, depth, _ = leaf.shape
  return _split(parts[0].T, 0, heads, depth)


def to_heads(parts, leaf):
  """Weights [D, D] of query, key, value: a kernel [D, 3, heads, depth]."""
  _, _, heads, depth = leaf.shape
  return np.stack([_split(p.T, 1, heads, depth) for p in parts], axis=1)


def to_heads_bias(parts, leaf):
  """Biases [D] of query, key, value: [3, heads, depth]."""
  _, heads, depth = leaf.shape
  return np.stack([_split(p, 0, heads, depth) for p in parts])


def _split(x, axis, heads, depth):
  if x.shape[axis] != heads * depth:
    raise ValueError(f"{x.shape[axis]} is not {heads} heads of {depth}")
  shape = (*x.shape[:axis], heads, depth, *x.shape[axis + 1 :])
  return x.reshape(shape)


def first_rows(parts, leaf):
  """The first rows are theirs; what comes after stays as it is."""
  rows = parts[0]
  if len(rows) > len(leaf) or rows.shape[1:] != leaf.shape[1:]:
    raise ValueError(f"{rows.shape} does not fit into {leaf.shape}")
  return np.concatenate([rows, leaf[len(rows) :]])


def token_at(token: int, position: int) -> Change:
  """One token, at one position, of the first segment: a vector of its own.

  Tensors: the tables of tokens, of positions and of segments.
  """

  def change(parts, leaf):
    tokens_VD, positions_SD, segments_D = parts
    return tokens_VD[token] + positions_SD[position] + segments_D[0]

  return change


def positions_from(first: int) -> Change:
  """Rows `first` and on of a table of positions, see `fit_rows`."""

  def change(parts, leaf):
    return fit_rows(parts[0][first:], len(leaf))

  return change


def sequence_from(first: int) -> Change:
  """Row `first` is the sequence's first position, kept whatever its length.

  Tensors: the table of positions and, where there is one, that of segments,
  whose first row every position of a title has.
  """

  def change(parts, leaf):
    rows_SD = parts[0][first:]
    out_SD = np.concatenate([rows_SD[:1], fit_rows(rows_SD[1:], len(leaf) - 1)])
    return out_SD + parts[1][0] if len(parts) > 1 else out_SD

  return change


def swap_segments(parts, leaf):
  """Segments: their first is the title's, our second."""
  return parts[0][::-1]


def no_first_segment(parts, leaf):
  """Segments of a network of images: nothing for the image's."""
  return np.concatenate([np.zeros_like(leaf[:1]), leaf[1:]])


def class_token(parts, leaf):
  """The class token [1,1,D] and its row of the positions [1,S,D]: [D]."""
  token, positions = parts
  return token[0, 0] + positions[0, 0]


def patch_positions(parts, leaf):
  """Positions [1, 1 + N, D] without the class token's, as a grid."""
  return fit_grid(parts[0][0, 1:], len(leaf))


def class_and_patch_positions(parts, leaf):
  """Positions [1 + N, D]: the class token's, then the grid."""
  rows_SD = parts[0]
  return np.concatenate([rows_SD[:1], fit_grid(rows_SD[1:], len(leaf) - 1)])


def patch_kernel(theirs: Pixels, ours: Pixels) -> Change:
  """A convolution of patches [D,C,h,w]: a kernel [h*w*C, D] for our pixels.

  x in [0, 1] is (x - m) / s to them and (x - m0) / s0 to us; so theirs are
  ours * s0 / s + (m0 - m) / s. The first half goes into the kernel, the second
  into the bias.
  """
  ratio_C = np.asarray(ours.std) / np.asarray(theirs.std)

  def change(parts, leaf):
    kernel = parts[0].transpose(2, 3, 1, 0) * ratio_C[:, None]
    return kernel.reshape(-1, kernel.shape[-1]).astype(np.float32)

  return change


def patch_bias(theirs: Pixels, ours: Pixels) -> Change:
  """The bias that goes with `patch_kernel`.

  Tensors: the convolution's weight and, where it has one, its bias.
  """
  apart_C = np.asarray(ours.mean) - np.asarray(theirs.mean)
  shift_C = apart_C / np.asarray(theirs.std)

  def change(parts, leaf):
    bias = np.einsum("ochw,c->o", parts[0].astype(np.float64), shift_C)
    return (bias + (parts[1] if len(parts) > 1 else 0)).astype(np.float32)

  return change


def fit_rows(rows_LD: np.ndarray, length: int) -> np.ndarray:
  """A table of positions [L,D] for another length [length,D].

  Shorter: the first rows, because a title's fifth token stays its fifth.
  Longer: linear between neighbours, ends on ends, because no row was ever
  learned for the positions beyond.
  """
  if length <= len(rows_LD):
    return rows_LD[:length]
  where = np.linspace(0, len(rows_LD) - 1, length)
  low = np.minimum(where.astype(int), len(rows_LD) - 2)
  part = (where - low)[:, None].astype(np.float32)
  return rows_LD[low] * (1 - part) + rows_LD[low + 1] * part


def fit_grid(rows_ND: np.ndarray, positions: int) -> np.ndarray:
  """A square table of positions [N,D], row by row, for another size [N',D].

  Bicubic, as ViT's and CLIP's own code goes to other image sizes.
  """
  old, new = round(len(rows_ND) ** 0.5), round(positions**0.5)
  if old**2 != len(rows_ND) or new**2 != positions:
    raise ValueError(f"{len(rows_ND)} or {positions} positions are no square")
  if old == new:
    return rows_ND
  weights = _cubic(old, new)
  grid = rows_ND.reshape(old, old, -1)
  out = np.einsum("ia,jb,abd->ijd", weights, weights, grid, optimize=True)
  return out.reshape(positions, -1).astype(np.float32)


def _cubic(old: int, new: int) -> np.ndarray:
  """[new, old]: cubic convolution (Keys 1981, a = -0.75), edges repeated.

  Pixels are areas: position i lies at (i + 0.5) old / new - 0.5. Nothing is
  smoothed before a table shrinks. So does PyTorch's `interpolate`.
  """
  a = -0.75
  weights = np.zeros((new, old))
  for i in range(new):
    where = (i + 0.5) * old / new - 0.5
    base = int(np.floor(where))
    for j in range(base - 1, base + 3):
      x = abs(where - j)
      if x <= 1:
        weight = (a + 2) * x**3 - (a + 3) * x**2 + 1
      else:
        weight = a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a
      weights[i, min(max(j, 0), old - 1)] += weight
  return weights


# Tables of positions by the names that our own trees give them.
_STRETCHED = {
  "patch_position": lambda parts, leaf: fit_grid(parts[0], len(leaf)),
  "title_position": positions_from(0),
  "position": sequence_from(0),
  "title_tower/position": sequence_from(0),
  "image_tower/position": class_and_patch_positions,
}


def stretched(name: str, found: np.ndarray, leaf: np.ndarray) -> np.ndarray:
  """Stretches a table of positions of one of our trees to another's size.

  Whatever cannot be stretched is given back as it is.
  """
  if name not in _STRETCHED or found.shape[1:] != leaf.shape[1:]:
    return found
  return _STRETCHED[name]([found], leaf)
