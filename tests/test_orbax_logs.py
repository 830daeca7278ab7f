"""What nobody retrieved is told, unless it is a write of orbax's."""

import asyncio
import gc
from pathlib import Path

import pytest
from etils import epath
from orbax.checkpoint._src.path import async_path

from item_jax.training import orbax_logs


async def ours(path: Path) -> None:
  path.write_text("")


def of_orbax(path: Path):
  return async_path.write_text(epath.Path(path), "")


@pytest.mark.parametrize(("write", "told"), [(ours, True), (of_orbax, False)])
def test_only_writes_of_orbax_fail_without_a_word(
  tmp_path, caplog, write, told
):
  """The first write that failed is told by the save; others end after it."""

  async def leave_it():
    task = asyncio.create_task(write(tmp_path / "missing" / "file"))
    await asyncio.wait([task])

  with orbax_logs.quiet_saves():
    asyncio.run(leave_it())
    gc.collect()
  assert ("never retrieved" in caplog.text) is told
  assert ("FileNotFoundError" in caplog.text) is told
