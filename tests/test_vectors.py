"""Files of embeddings: every kind of float is read, and no other bytes."""

import ml_dtypes
import numpy as np
import pytest

from item_jax.errors import UserError
from item_jax.evaluation.vectors import check_embeddings, open_embeddings

IDS = ["a", "b", "c"]
ROWS = np.arange(-6, 6, dtype=np.float32).reshape(3, 4) / 8  # exact in bfloat16


@pytest.mark.parametrize("order", "CF")
@pytest.mark.parametrize(
  "dtype", [">f4", "<f4", "f2", "f8", ml_dtypes.bfloat16]
)
def test_floats_of_every_kind_are_read(tmp_path, dtype, order):
  """Also the one that numpy writes and does not read."""
  path = tmp_path / "rows.npy"
  np.save(path, ROWS.astype(dtype, order=order))
  rows = open_embeddings(path, IDS)
  assert isinstance(rows, np.memmap)
  np.testing.assert_array_equal(rows.astype(np.float32), ROWS)
  assert rows.dtype == dtype


@pytest.mark.parametrize(
  ("dtype", "says"),
  [
    ("V2", r"\|V2 \(bytes without a type; x.view\(ml_dtypes.bfloat16\)"),
    (ml_dtypes.float8_e4m3fn, r"\|V1 .*expected float32 .*x.astype"),
    (np.int8, "int8; expected float32"),
    (np.complex64, "complex64; expected float32"),
  ],
)
def test_other_bytes_are_refused(tmp_path, dtype, says):
  path = tmp_path / "rows.npy"
  np.save(path, np.zeros((3, 4), dtype))
  with pytest.raises(UserError, match=rf"rows\.npy holds {says}"):
    open_embeddings(path, IDS)


def test_an_array_of_bfloat16_is_taken():
  check_embeddings(ROWS.astype(ml_dtypes.bfloat16), IDS)
  with pytest.raises(UserError, match="3 rows, but there are 2 items"):
    check_embeddings(ROWS.astype(ml_dtypes.bfloat16), IDS[:2])
