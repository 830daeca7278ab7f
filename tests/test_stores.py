"""Laws of what lies on an object store: it is what a folder would be, finished
when its marker is there, and never half of one and half of another."""

import csv
import json
import shutil
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
from exports import write_export
from store import Bucket, objects, open_bucket

from item_jax import remote
from item_jax.__main__ import main
from item_jax.cli import places, plan
from item_jax.config import Config
from item_jax.data.records import open_dataset
from item_jax.data.tokenizer import load_tokenizer
from item_jax.errors import UserError
from item_jax.files import CorruptError, write_manifest
from item_jax.object_store import copies
from item_jax.remote import Address, StoreError

SHOP = ("--products=12", "--image_size=32", "--workers=1")


@pytest.fixture
def bucket(tmp_path, monkeypatch):
  monkeypatch.setenv("ITEM_JAX_CACHE", str(tmp_path / "cache"))
  here = tmp_path / "here"
  here.mkdir()
  monkeypatch.chdir(here)
  return open_bucket(tmp_path / "store")


def left_here(tmp_path) -> list[str]:
  """Files in the working directory and the cache, locks and data sets aside."""
  found = [*Path().rglob("*"), *(tmp_path / "cache").rglob("*")]
  return [
    str(path)
    for path in found
    if path.is_file() and path.name != "lock" and "data" not in path.parts
  ]


def prepare(*words) -> int:
  fixed = ("--vocab_size=300", "--workers=1")
  return main(["prepare", *map(str, words), *fixed])


def test_a_shop_and_its_data_set_are_as_in_folders(bucket, tmp_path, capsys):
  assert main(["synthesize", "gs://bucket/shop", *SHOP]) == 0
  assert Bucket.written[-1] == "bucket/shop/products.csv"
  assert main(["synthesize", str(tmp_path / "shop"), *SHOP]) == 0
  assert main(["synthesize", "gs://bucket/shop", *SHOP, "--overwrite"]) == 0
  assert objects(bucket / "shop") == objects(tmp_path / "shop")

  # By default the images lie beside the table, on the store.
  assert prepare("gs://bucket/shop/products.csv", "--out=gs://bucket/d") == 0
  assert Bucket.written[-1] == "bucket/d/manifest.json"
  assert "gs://bucket/d: uploaded" in capsys.readouterr().out
  table = tmp_path / "shop" / "products.csv"
  assert prepare(table, f"--out={tmp_path / 'd'}") == 0
  assert objects(bucket / "d") == objects(tmp_path / "d")
  assert left_here(tmp_path) == []

  ours, theirs = open_dataset("gs://bucket/d"), open_dataset(tmp_path / "d")
  assert list(ours.source("train")) == list(theirs.source("train"))
  assert open_dataset(Path("gs://bucket/d")).path == ours.path
  assert main(["verify", "gs://bucket/d", "--records"]) == 0
  config = Config()
  config.data.path = "gs://bucket/d"
  assert plan._vocab_size(config) == load_tokenizer(tmp_path / "d").size


@pytest.fixture
def shop(bucket, tmp_path) -> Path:
  """products.csv of a shop of this machine."""
  assert main(["synthesize", str(tmp_path / "shop"), *SHOP]) == 0
  return tmp_path / "shop" / "products.csv"


def test_what_is_there_is_replaced_only_with_overwrite(bucket, shop, capsys):
  assert prepare(shop, "--out=gs://bucket/d") == 0
  before = objects(bucket)
  assert prepare(shop, "--out=gs://bucket/d") == 2
  assert "--overwrite replaces it" in capsys.readouterr().err
  assert objects(bucket) == before
  (bucket / "d" / "notes.txt").write_text("mine")
  assert prepare(shop, "--out=gs://bucket/d", "--overwrite") == 2
  assert "notes.txt" in capsys.readouterr().err
  (bucket / "d" / "notes.txt").unlink()
  (bucket / "d" / "notes").mkdir()
  (bucket / "d" / "notes" / "catalogue.json").write_text("mine")
  assert prepare(shop, "--out=gs://bucket/d", "--overwrite") == 2
  assert "notes/catalogue.json" in capsys.readouterr().err
  shutil.rmtree(bucket / "d" / "notes")
  with shop.open("a") as file:
    file.write("one,more,,red mug,A > B\n")
  Bucket.written.clear()
  assert prepare(shop, "--out=gs://bucket/d", "--overwrite") == 0
  assert objects(bucket).keys() == before.keys()
  assert objects(bucket) != before
  assert sum(open_dataset("gs://bucket/d").sizes.values()) == (
    len(list(csv.reader(shop.open()))) - 1
  )


def test_a_shop_of_others_is_not_replaced(bucket, tmp_path, capsys):
  (bucket / "shop" / "images").mkdir(parents=True)
  (bucket / "shop" / "products.csv").write_text("id,image\n1,images/1.jpg\n")
  (bucket / "shop" / "images" / "1.jpg").write_bytes(b"mine")
  before = objects(bucket)
  words = ["synthesize", "gs://bucket/shop", *SHOP, "--overwrite"]
  assert main(words) == 2
  assert "(products.csv): name another place" in capsys.readouterr().err
  assert objects(bucket) == before


@pytest.mark.parametrize("name", ["train.py", "embed.py"])
def test_a_project_with_a_readme_is_no_package(bucket, capsys, name):
  """It has no file that a package has not, or none that says it is one."""
  (bucket / "p").mkdir(parents=True)
  for file in ("README.md", "tokenizer.json", name):
    (bucket / "p" / file).write_text("mine")
  before = objects(bucket)
  assert main(["package", "RUN", "--out=gs://bucket/p", "--overwrite"]) == 2
  assert "did not write" in capsys.readouterr().err
  assert objects(bucket) == before


def test_too_many_bad_rows_are_listed_on_the_store(bucket, shop):
  with shop.open("a") as file:
    file.write("one,more,gone.jpg,red mug,A > B\n" * 5)
  assert prepare(shop, "--out=gs://bucket/d") == 3
  assert list(objects(bucket)) == ["d.rejected.csv"]


def test_an_upload_that_is_cut_off_is_no_data_set(
  bucket, shop, tmp_path, capsys
):
  for room in (1, 2, 5, 7):  # the first is the probe
    Bucket.room = room
    code = prepare(shop, "--out=gs://bucket/d")
    said = capsys.readouterr()
    assert code == 4, said
    assert "the store is away" in said.err
    Bucket.room = None
    with pytest.raises((UserError, FileNotFoundError)):
      open_dataset("gs://bucket/d")
  assert prepare(shop, "--out=gs://bucket/d") == 0
  assert prepare(shop, f"--out={tmp_path / 'd'}") == 0
  assert objects(bucket / "d") == objects(tmp_path / "d")


def test_a_store_that_is_away_is_an_error_before_the_work(bucket, shop, capsys):
  Bucket.room = 0
  assert prepare(shop, "--out=gs://bucket/d") == 2
  said = capsys.readouterr()
  assert "the store is away" in said.err
  assert said.err.count("\n") == 1  # no bar: no row was read


def test_what_was_altered_on_the_store_is_named(bucket, shop):
  assert prepare(shop, "--out=gs://bucket/d") == 0
  shard = next(bucket.glob("d/catalogue-train*"))
  data = bytearray(shard.read_bytes())
  data[len(data) // 2] ^= 1
  shard.write_bytes(data)
  with pytest.raises(CorruptError, match=shard.name):
    open_dataset("gs://bucket/d")
  data[len(data) // 2] ^= 1
  shard.write_bytes(data)
  assert open_dataset("gs://bucket/d").sizes["train"]


def test_a_data_set_is_copied_once_and_again_when_replaced(bucket, shop):
  assert prepare(shop, "--out=gs://bucket/d") == 0
  first = open_dataset("gs://bucket/d")
  times = [p.stat().st_mtime_ns for p in first.path.iterdir()]
  assert open_dataset("gs://bucket/d").path == first.path
  assert [p.stat().st_mtime_ns for p in first.path.iterdir()] == times
  with shop.open("a") as file:
    file.write("one,more,,red mug,A > B\n")
  assert prepare(shop, "--out=gs://bucket/d", "--overwrite") == 0
  assert open_dataset("gs://bucket/d").path != first.path
  assert len(list(first.source("train"))) == first.sizes["train"]


def test_exports_are_read_and_scores_written(bucket, tmp_path, capsys):
  vectors_ND = np.eye(4, dtype=np.float32)[[0, 0, 1, 1, 2, 2]]
  rows = [{"product": f"p{n // 2}"} for n in range(6)]
  write_export(bucket / "e", vectors_ND, rows)
  words = ["evaluate", "gs://bucket/e", "--bootstrap=10"]
  files = ["--json=gs://bucket/s.json", "--per_query=gs://bucket/q.csv"]
  assert main([*words, *files]) == 0
  assert json.loads((bucket / "s.json").read_text())["recall@1"] == 1
  assert (bucket / "q.csv").read_text().count("\n") == 7
  assert main(["fuse", *["gs://bucket/e"] * 2, "--out=gs://bucket/f"]) == 0
  assert Bucket.written[-1] == "bucket/f/meta.json"
  assert main(["evaluate", "gs://bucket/f"]) == 0
  assert main(["verify", "gs://bucket/f"]) == 0
  pair = "gs://bucket/e/embeddings.npy:gs://bucket/e/items.csv"
  both = ["fuse", "gs://bucket/e", pair, "--out=gs://bucket/g"]
  assert main([*both, "--weights", "1", "0"]) == 0
  assert main(["evaluate", pair, "--json=gs://bucket/p.json"]) == 0
  assert json.loads((bucket / "p.json").read_text())["recall@1"] == 1
  assert main(["evaluate", "gs://bucket/g"]) == 0
  assert left_here(tmp_path) == []

  (bucket / "f" / "meta.json").unlink()
  (bucket / "v.csv").write_text("product,variant,differs\np0,p1,a > b\n")
  variants = ["variants", "x=gs://bucket/f", "--variants=gs://bucket/v.csv"]
  capsys.readouterr()
  for words in (["evaluate", "gs://bucket/f"], variants):
    assert main(words) == 2
    assert "error: gs://bucket/f is unfinished" in capsys.readouterr().err
  assert main(["verify", "gs://bucket/f"]) == 1


def test_scores_that_cannot_be_uploaded_are_kept(bucket, capsys):
  write_export(bucket / "e", np.eye(2), [{"product": "p"}] * 2)
  Bucket.room = 1  # for the probe
  words = ["evaluate", "gs://bucket/e", "--json=gs://bucket/s.json"]
  assert main(words) == 4
  said = capsys.readouterr().err
  (kept,) = (
    p for p in copies.cache_folder().rglob("s.json") if str(p.parent) in said
  )
  assert json.loads(kept.read_text())["queries"] == 2


def test_names_that_leave_the_folder_are_refused(bucket, monkeypatch):
  (bucket / "e").mkdir(parents=True)
  (bucket / "e" / "x").write_bytes(b"x")
  found = [{"name": "bucket/e/../../evil", "size": 1, "type": "file"}]
  monkeypatch.setattr(Bucket, "ls", lambda *_, **__: found)
  with pytest.raises(UserError, match="odd name"):
    remote.list_files(Address("gs://bucket/e"))


def test_a_store_that_does_not_list_is_not_empty(bucket, monkeypatch):
  (bucket / "e" / "deep").mkdir(parents=True)
  (bucket / "e" / "deep" / "x").write_bytes(b"x")
  listed = Bucket.ls

  def fail(self, path, **options):
    if path.endswith("deep"):
      raise ConnectionError("the store is away")
    return listed(self, path, **options)

  assert remote.list_files(Address("gs://bucket/e")) == {"deep/x": 1}
  assert remote.list_files(Address("gs://bucket/e/deep/x")) == {}
  assert remote.list_files(Address("gs://bucket/none")) == {}
  monkeypatch.setattr(Bucket, "ls", fail)
  with pytest.raises(StoreError, match="gs://bucket/e: ConnectionError"):
    remote.list_files(Address("gs://bucket/e"))


def test_an_object_that_is_lost_on_the_way_is_noticed(
  bucket, tmp_path, monkeypatch
):
  folder = tmp_path / "f"
  folder.mkdir()
  for name in ("a", "b", "end"):
    (folder / name).write_bytes(b"content")
  put = Bucket.put_file

  def lossy(self, lpath, rpath, **options):
    if not rpath.endswith("/b"):
      put(self, lpath, rpath, **options)

  monkeypatch.setattr(Bucket, "put_file", lossy)
  with pytest.raises(StoreError, match="gs://bucket/f/b has None bytes, not 7"):
    copies.send(folder, Address("gs://bucket/f"), last="end")
  assert copies.UPLOADING in objects(bucket / "f")


def test_what_killed_commands_left_is_removed(bucket, tmp_path):
  with copies.temporary() as one:
    home = one.parent
    host = one.name.rpartition("-")[0].rpartition("-")[0]
    dead = home / f"{host}-999999999-x"
    dead.mkdir()
    # The cache may be on a disk that several machines share.
    theirs = home / f"{host}-999999999-123-x"
    theirs.mkdir()
    with copies.temporary():
      assert one.is_dir()
      assert not dead.exists()
      assert theirs.is_dir()
    theirs.rmdir()
  assert list(home.iterdir()) == []
  shutil.rmtree(home)


def test_the_checkpoint_of_an_export_is_copied_for_it(bucket, tmp_path):
  """Not the best one, where vectors are to be like those of an earlier one."""
  best = {"config": {"checkpoint.best": "both/map@10"}}
  for step, score in ((1, 0.1), (2, 0.2)):
    folder = bucket / "run" / "checkpoints" / str(step)
    folder.mkdir(parents=True)
    (folder / "weights").write_text(str(step))
    write_manifest(folder, metrics={"both/map@10": score})
  (bucket / "run" / "run.json").write_text(json.dumps(best))
  write_export(bucket / "e", np.eye(2), [{}, {}], step=1)
  for like, step in (
    (None, 2),
    (bucket / "e", 1),
    (places.COPY("gs://bucket/e"), 1),
  ):
    args = Namespace(
      workdir=places.RUN("gs://bucket/run"), like=like, step=None
    )
    seen = []
    places.with_copies(
      args, lambda args=args, seen=seen: seen.extend(objects(args.workdir))
    )
    assert [name for name in seen if name.endswith("weights")] == [
      f"checkpoints/{step}/weights"
    ]


# ---- An export goes on, or is compared, as in a folder. ----


def export(write, *, overwrite=False) -> int | None:
  """What `write` does with the folder that stands for gs://bucket/e."""
  args = Namespace(out=places.EXPORT_OUT("gs://bucket/e"), overwrite=overwrite)
  args.split, args.modality = "test", "both"
  return places.with_copies(args, lambda: write(args.out))


def unfinished(folder: Path) -> int:
  (folder / "parts").mkdir(parents=True)
  (folder / "parts" / "00000.npy").write_bytes(b"x")
  return 4


def whole(folder: Path, vectors_ND=((1, 0), (0, 1))) -> None:
  shutil.rmtree(folder, ignore_errors=True)
  write_export(folder, vectors_ND, [{}, {}])


def test_an_unfinished_export_stays_here_until_it_is_whole(bucket, caplog):
  with caplog.at_level("INFO"):
    assert export(unfinished) == 4
  assert "nothing is uploaded before it is complete" in caplog.text
  assert objects(bucket) == {}
  seen = []

  def go_on(folder):
    seen.extend(path.name for path in folder.rglob("*"))
    whole(folder)

  export(go_on)
  assert "00000.npy" in seen
  assert sorted(objects(bucket / "e")) == [
    *("embeddings.npy", "items.csv", "meta.json")
  ]


def test_a_finished_export_is_compared_and_stays(bucket):
  export(whole)
  before, seen = objects(bucket), []
  Bucket.written.clear()
  export(lambda folder: seen.append(objects(folder)))
  assert seen == [objects(bucket / "e")]
  assert [name for name in Bucket.written if "probe" not in name] == []

  def refuse(folder):
    raise UserError("another export")

  with pytest.raises(UserError):
    export(refuse)
  assert objects(bucket) == before
  export(lambda folder: whole(folder, np.ones((2, 2))), overwrite=True)
  assert objects(bucket) != before


def test_a_finished_export_gets_its_map_there_too(bucket):
  export(whole)
  before = objects(bucket / "e")

  def draw(folder):
    (folder / "atlas.parquet").write_bytes(b"a map")
    (folder / "lock").write_bytes(b"")

  export(draw)
  assert objects(bucket / "e") == before | {"atlas.parquet": b"a map"}


def test_what_another_machine_has_finished_meanwhile_stays(bucket):
  def slow(folder):
    write_export(bucket / "e", np.ones((2, 3)), [{}, {}])
    whole(folder)

  with pytest.raises(
    StoreError, match=r"is already there; .* what was made is"
  ):
    export(slow)
  assert np.load(bucket / "e" / "embeddings.npy").shape == (2, 3)
  assert copies.UPLOADING not in objects(bucket / "e")


def test_one_command_at_a_time_makes_what_goes_to_an_address(bucket):
  def again(folder):
    with pytest.raises(UserError, match="another command that writes to gs://"):
      export(whole)
    whole(folder)

  export(again)
  assert "meta.json" in objects(bucket / "e")


@pytest.mark.parametrize("name", ["t/split=val/n=1/a.csv", "t/split=val"])
def test_a_folders_name_on_a_store_is_a_column(bucket, name):
  path = bucket / "t" / "split=val" / "n=1" / "a.csv"
  path.parent.mkdir(parents=True)
  path.write_text("id,title\n1,red mug\n2,red cup\n")
  (Path() / "train.csv").write_text("id,title,split,n\n3,red mug,train,1\n")
  assert prepare("train.csv", f"gs://bucket/{name}", "--out=d") == 0
  assert open_dataset("d").sizes == {"train": 1, "val": 2}


def test_tables_of_several_folders_on_a_store_need_images(bucket, capsys):
  tables = []
  for name in ("a", "b"):
    (bucket / name).mkdir(parents=True)
    (bucket / name / "c.csv").write_text(f"id,title\n{name},red mug\n")
    tables.append(f"gs://bucket/{name}/c.csv")
  assert prepare(*tables, "--out=d") == 2
  assert "gs://bucket/b: --images says where" in capsys.readouterr().err
  assert prepare(*tables, "--out=d", "--images=gs://bucket/a") == 0
  assert open_dataset("d").counts["stored"] == 2
