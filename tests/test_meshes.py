"""Laws of meshes: what is computed, kept and restored is the same on any, and
a host reads its own rows and no others."""

import json
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import shell
import warm

from item_jax.data import pipeline
from item_jax.data.records import open_dataset
from item_jax.data.tokenizer import load_tokenizer
from item_jax.training import sharding

CHILD = Path(__file__).parent / "helpers" / "eight_devices.py"
MESHES = ("2x4",)


def on_eight_devices(folder: Path, *names: str) -> dict:
  done = warm.run(
    [sys.executable, CHILD, folder, *names],
    env=shell.environment(devices=8),
    capture_output=True,
    text=True,
    timeout=900,
  )
  assert done.returncode == 0, done.stderr[-3000:]
  return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> dict:
  """What eight devices did with the five objectives, by mesh."""
  folder = tmp_path_factory.mktemp("meshes")
  names = ",".join(("1x1", *MESHES))
  return on_eight_devices(folder, f"item:{names}")["item"]


@pytest.mark.parametrize("mesh", MESHES)
def test_any_mesh_has_the_losses_of_one_device(found, mesh):
  losses, alone = found[mesh]["losses"], found["1x1"]["losses"]
  # What the steps before did to the parameters is in it.
  assert abs(alone[-1] - found["1x1"]["untrained"]) > 0.1
  np.testing.assert_allclose(losses, alone, rtol=1e-5)


@pytest.mark.parametrize("mesh", MESHES)
def test_moments_lie_where_their_parameters_do(found, mesh):
  assert found[mesh]["moments_lie_as_parameters"] == [True, True]


@pytest.mark.parametrize("mesh", MESHES)
def test_a_device_holds_its_share_of_what_is_large(found, mesh):
  whole, part = found[mesh]["large"]
  # The word table, two kernels of the block, each with its two moments.
  assert found[mesh]["count"] >= 9
  assert part * int(mesh.partition("x")[2]) == whole


@pytest.mark.parametrize("mesh", MESHES)
def test_parameters_are_gathered_and_the_batch_stays(found, mesh):
  """What the batch makes grows with it, the parameters do not."""
  assert found[mesh]["moved_batch"] == 0


@pytest.mark.parametrize("mesh", ["1x1", *MESHES])
def test_a_checkpoint_goes_on_on_another_mesh(found, mesh):
  moved = found[mesh]["moved"]
  assert moved
  for equal, losses in moved.values():
    assert equal
    np.testing.assert_allclose(
      losses, found["1x1"]["losses"][-len(losses) :], rtol=1e-5
    )


@pytest.mark.slow
@pytest.mark.parametrize("task", ["item", "align", "clip", "resnet50"])
def test_every_mesh_and_other_tasks(tmp_path, task):
  """Two views of a listing, photo and title, the statistics of batch norm."""
  others = ("8x1", "1x8", "4x2") if task == "item" else ("8x1", "4x2")
  found = on_eight_devices(tmp_path, f"{task}:{','.join(('1x1', *others))}")[
    task
  ]
  for mesh in others:
    np.testing.assert_allclose(
      found[mesh]["losses"], found["1x1"]["losses"], rtol=1e-5
    )
    assert found[mesh]["moments_lie_as_parameters"] == [True, True]
    assert all(equal for equal, _ in found[mesh]["moved"].values())


class Counted:
  """A source that remembers which rows were read."""

  def __init__(self, source):
    self.source, self.read = source, []

  def __len__(self):
    return len(self.source)

  def __getitem__(self, number):
    self.read.append(number)
    return self.source[number]


@pytest.fixture
def read_by(tiny_data, monkeypatch):
  """rows of a batch -> numbers of the records that three batches read."""
  store = open_dataset(tiny_data)
  tokenizer = load_tokenizer(Path(tiny_data) / "tokenizer.json")

  def read(rows: slice) -> list[int]:
    source = Counted(store.source("train"))
    with monkeypatch.context() as patch:
      patch.setattr(type(store), "source", lambda *_: source)
      batches = pipeline.training_batches(
        store,
        "train",
        tokenizer,
        image_size=16,
        max_title_tokens=12,
        batch_size=8,
        seed=3,
        start=0,
        stop=3,
        host_rows=rows,
      )
      assert [len(b.tokens_BT) for b in batches] == [rows.stop - rows.start] * 3
    return source.read

  return read


@pytest.mark.parametrize("hosts", [2, 4])
def test_a_host_reads_its_own_rows_and_no_others(read_by, hosts):
  mesh = sharding.make_mesh(4, 1)
  spans = sharding.over_batch(mesh).devices_indices_map((8,)).values()
  spans = sorted(rows.indices(8)[:2] for (rows,) in spans)
  read = Counter()
  for host in range(hosts):
    # Its devices follow each other, as `host_rows` has it.
    own = spans[host * 4 // hosts : (host + 1) * 4 // hosts]
    mine = read_by(slice(own[0][0], own[-1][1]))
    assert len(mine) == 3 * 8 // hosts
    read.update(mine)
  assert read == Counter(read_by(slice(0, 8)))
