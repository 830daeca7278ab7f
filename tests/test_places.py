"""Laws of addresses on object stores: no flag of any command, and no option of
a config, takes one for a folder of this machine."""

import argparse
import functools
from pathlib import Path

import pytest
import shell
from store import open_bucket

from item_jax.__main__ import COMMANDS, _make_parser, main
from item_jax.cli import places
from item_jax.config import Config, flatten
from item_jax.config_flags import ADDRESSES
from item_jax.errors import UserError
from item_jax.files import check_folders, exclusive_lock, write_bytes
from item_jax.ingest.prepare import prepare
from item_jax.remote import Address, locate
from item_jax.synthetic.synthesize import synthesize

# Flags whose words are no paths; all others have a type of item_jax.cli.places.
WORDS = {
  *("budget", "category_separator", "column", "compile", "coordinator"),
  "format",
  *(
    "missing",
    "parts",
    "pool",
    "rates",
    "runner",
    "size",
    "source",
    "split",
    "systems",
  ),
  "title",
}


@pytest.mark.parametrize(
  ("given", "place"),
  [
    ("gs://bucket/x", Address("gs://bucket/x")),
    ("gs://bucket/x/", Address("gs://bucket/x")),
    (Path("gs://bucket/x"), Address("gs://bucket/x")),  # pathlib's gs:/bucket/x
    ("S3://Bucket/X", Address("s3://Bucket/X")),
    ("s3:/b/x", Address("s3://b/x")),
    ("hdfs:///data/x", Address("hdfs:///data/x")),
    ("hdfs://name:9000/x", Address("hdfs://name:9000/x")),
    (Path("hdfs:///data/x"), Address("hdfs:///data/x")),
    ("abfs://c@a.dfs.net/x", Address("abfs://c@a.dfs.net/x")),
    ("memory://x", Address("memory://x")),
    ("arrow_hdfs://h/x", Address("arrow_hdfs://h/x")),
    ("simplecache::gs://b/x", Address("simplecache::gs://b/x")),
    ("file:///data/x", Path("/data/x")),
    ("file:/data/x", Path("/data/x")),
    ("c:\\data\\x", Path("c:\\data\\x")),
    ("c:/data/x", Path("c:/data/x")),
    ("./gs:/bucket/x", Path("gs:/bucket/x")),
    ("configs/a.py:small", Path("configs/a.py:small")),
    ("10:30", Path("10:30")),
    ("a b://c", Path("a b:/c")),
    ("", Path("")),
  ],
)
def test_an_address_is_distinguished_from_a_path(given, place):
  found = locate(given)
  assert (type(found), found) == (type(place), place)


@functools.cache
def parsers() -> dict[str, argparse.ArgumentParser]:
  (commands,) = (
    action
    for action in _make_parser()._actions
    if isinstance(action, argparse._SubParsersAction)
  )
  return commands.choices


def flags(command: str) -> list[argparse.Action]:
  return [a for a in parsers()[command]._actions if a.nargs != 0]


def takes_path(action) -> bool:
  return isinstance(action.type, places._Kind)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_flag_that_may_be_a_path_says_what_it_does(command):
  for action in flags(command):
    if takes_path(action) or action.choices or action.dest in WORDS:
      continue
    # What is left are numbers; anything else takes an address for a word.
    assert action.type is not None, action.dest
    with pytest.raises((ValueError, argparse.ArgumentTypeError)):
      action.type("gs://bucket/x")


def words_of(command: str, under_test, address: str) -> list[str]:
  """The command with all that it needs; one of its paths is an address."""
  words = [command]
  if command == "synthesize":
    words.append("--products=0")  # refused, but not for its address
  for action in flags(command):
    if action is not under_test and not action.required:
      continue
    if action.choices:
      values = [next(iter(action.choices))]
    else:
      count = action.nargs if isinstance(action.nargs, int) else 1
      values = [address if action is under_test else "missing"] * count
    if "=" in (action.metavar or "") and takes_path(action):
      values = [f"name={value}" for value in values]
    words += [*action.option_strings[-1:], *values]
  return words


CASES = [
  pytest.param(command, action.dest, id=f"{command}-{action.dest}")
  for command in COMMANDS
  for action in flags(command)
  if takes_path(action)
]


@pytest.mark.parametrize(("command", "dest"), CASES)
def test_no_flag_takes_an_empty_path_for_this_folder(
  command, dest, tmp_path, monkeypatch, capsys
):
  """As `--workdir=$RUN` gives it where RUN is not set."""
  monkeypatch.chdir(tmp_path)
  (action,) = (a for a in flags(command) if a.dest == dest)
  with pytest.raises(SystemExit, match="2"):
    main(words_of(command, action, ""))
  assert "it is empty: expected a path" in capsys.readouterr().err
  assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("command", "dest"), CASES)
@pytest.mark.parametrize("address", ["gs://bucket/x", "nosuch://bucket/x"])
def test_no_flag_makes_a_folder_of_an_address(
  command, dest, address, tmp_path, monkeypatch, capsys
):
  bucket = open_bucket(tmp_path / "store")
  monkeypatch.setenv("ITEM_JAX_CACHE", str(tmp_path / "cache"))
  here = tmp_path / "here"
  here.mkdir()
  monkeypatch.chdir(here)
  (action,) = (a for a in flags(command) if a.dest == dest)
  code = main(words_of(command, action, address))
  said = capsys.readouterr().err
  assert code == 2, said
  assert said.startswith("item-jax: error: ")
  assert "Traceback" not in said
  if not isinstance(action.type, (places.Out, places.Workdir, places.Images)):
    assert said.count("\n") == 1
    assert str(locate(address)) in said
  assert list(here.iterdir()) == []
  assert not [p for p in bucket.rglob("*") if p.is_file()]


@pytest.mark.parametrize(
  "name", [n for n, v in flatten(Config()).items() if isinstance(v, str)]
)
def test_no_option_makes_a_folder_of_an_address(
  name, tmp_path, monkeypatch, capsys
):
  open_bucket(tmp_path / "store")
  monkeypatch.setenv("ITEM_JAX_CACHE", str(tmp_path / "cache"))
  here = tmp_path / "here"
  here.mkdir()
  monkeypatch.chdir(here)
  words = ["train", f"--config={shell.CONFIG}", "--workdir=w"]
  assert main([*words, f"--config.{name}=gs://bucket/x"]) == 2
  said = capsys.readouterr().err
  if name not in ADDRESSES:
    assert "gs://bucket/x is on an object store" in said
  assert list(here.iterdir()) == []


@pytest.mark.parametrize("path", ["gs://bucket/x", Path("gs://bucket/x")])
def test_functions_that_write_refuse_an_address(path, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)

  def lock():
    with exclusive_lock(Path(path), what="run"):
      pass

  for call in (
    lock,
    lambda: check_folders(path),
    lambda: write_bytes(Path(path), b""),
    lambda: synthesize(path, products=1, seed=0, workers=1),
    lambda: prepare("c.csv", images=".", out=path),
  ):
    with pytest.raises(UserError, match="gs://bucket/x is on an object store"):
      call()
  assert list(tmp_path.iterdir()) == []


def test_tables_of_a_probe_are_written_here(capsys):
  assert main(["probe", "a", "--train=b", "--out=gs://bucket/x"]) == 2
  assert "gs://bucket/x is on an object store" in capsys.readouterr().err


def test_images_of_other_stores_are_refused(tmp_path):
  with pytest.raises(UserError, match="hdfs://h/x: files are read one by one"):
    prepare("c.csv", images="hdfs://h/x", out=tmp_path / "data")


def test_many_processes_do_not_write_to_a_store(tmp_path, monkeypatch, capsys):
  open_bucket(tmp_path / "store")
  words = ["export", "--workdir=w", "--data=d", "--out=gs://bucket/x"]
  assert main([*words, "--distributed"]) == 2
  assert "one process can write to" in capsys.readouterr().err


@pytest.mark.parametrize(
  ("address", "why"),
  [
    ("memory://x/y", "would be gone with this process"),
    ("gs://bucket", "is a whole store"),
    ("simplecache::gs://bucket/x", "chains file systems"),
  ],
)
def test_what_would_be_lost_is_refused(address, why, tmp_path, capsys):
  open_bucket(tmp_path / "store")
  assert main(["synthesize", address, "--products=1"]) == 2
  assert why in capsys.readouterr().err
