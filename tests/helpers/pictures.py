"""Two pictures, and what is made of them on the way to a listing."""

import io

import numpy as np
from PIL import Image

from item_jax.inference.inputs import listings

RAMP = np.arange(0, 256, 4, dtype=np.uint8)
GREY = np.repeat(np.repeat(RAMP[None], 48, axis=0), 2, axis=1)  # [48,128]
# Of no full colours, which some modes lack.
COLOURED = 64 + np.dstack([GREY // 2, GREY[:, ::-1] // 2, GREY // 4])


def png(pixels) -> bytes:
  file = io.BytesIO()
  Image.fromarray(pixels).save(file, "PNG")
  return file.getvalue()


def jpegs(images) -> list[bytes]:
  return [jpeg for jpeg, _ in listings(images, None)]
