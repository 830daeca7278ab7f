"""Laws of files: whole or not there, and altered in no byte unnoticed."""

import errno
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys

import pytest

from item_jax import files
from item_jax.errors import UserError
from item_jax.files import (
  MANIFEST,
  CorruptError,
  check_manifest,
  exclusive_lock,
  find_damage,
  read_checksummed,
  read_json,
  write_bytes,
  write_checksummed,
  write_manifest,
)

VALUE = {"name": "Täschchen ☃ \ud800", "steps": [1, 2.5, None], "on": True}


def test_what_was_written_is_read(tmp_path):
  path = tmp_path / "a" / "x.json"
  write_checksummed(path, VALUE)
  assert read_checksummed(path) == VALUE
  assert list(read_checksummed(path)) == list(VALUE)
  assert [file.name for file in path.parent.iterdir()] == ["x.json"]


def test_any_bit_of_a_checksummed_file_counts(tmp_path):
  path = tmp_path / "x.json"
  write_checksummed(path, VALUE)
  data = path.read_bytes()
  for place in range(len(data)):
    for bit in range(place % 3, 8, 3):
      changed = bytearray(data)
      changed[place] ^= 1 << bit
      path.write_bytes(changed)
      with pytest.raises(CorruptError) as error:
        read_checksummed(path)
      assert str(error.value).startswith(str(path))


@pytest.mark.parametrize(
  "change",
  [
    lambda data: b"",
    lambda data: data[:-1],
    lambda data: data[: len(data) // 2],
    lambda data: data + b"\n",
    lambda data: data + data,
    lambda data: b"[]",
    lambda data: b'{"seal": 1}',
    lambda data: b"{}",
    lambda data: data.replace(b"2.5", b"2.50"),  # the same value
    lambda data: data.replace(b'"on"', b'"on": false,\n "on"'),
    lambda data: b"[" * 100_000,
    lambda data: b'{"a":' * 100_000,
    lambda data: b"9" * 5_000,
  ],
)
def test_another_checksummed_file_is_refused(tmp_path, change):
  path = tmp_path / "x.json"
  write_checksummed(path, VALUE)
  path.write_bytes(change(path.read_bytes()))
  with pytest.raises(
    CorruptError, match=r"x\.json (was altered|has no checksum)"
  ):
    read_checksummed(path)


def test_what_is_absent_is_not_damaged(tmp_path):
  with pytest.raises(FileNotFoundError):
    read_checksummed(tmp_path / "x.json")


def test_json_is_read_up_to_a_size(tmp_path, monkeypatch):
  path = tmp_path / "x.json"
  path.write_text(json.dumps("x" * 98))
  monkeypatch.setattr(files, "MAX_JSON", 100)
  assert read_json(path) == "x" * 98
  monkeypatch.setattr(files, "MAX_JSON", 99)
  with pytest.raises(CorruptError, match="larger"):
    read_json(path)


def test_a_write_that_is_killed_leaves_what_was_there(tmp_path):
  """Killed where the new content is half on disk."""
  path = tmp_path / "x"
  write_bytes(path, b"before")
  script = (
    "import os, signal; from pathlib import Path; from item_jax import files\n"
    "files.os.fsync = lambda number: os.kill(os.getpid(), signal.SIGKILL)\n"
    f"files.write_bytes(Path({str(path)!r}), b'after')"
  )
  done = subprocess.run([sys.executable, "-c", script], check=False)
  assert done.returncode == -signal.SIGKILL
  assert path.read_bytes() == b"before"
  write_bytes(path, b"after")
  assert os.listdir(tmp_path) == ["x"]
  assert path.read_bytes() == b"after"


@pytest.fixture
def folder(tmp_path):
  folder = tmp_path / "f"
  write_bytes(folder / "a", b"some bytes")
  write_bytes(folder / "deep" / "er" / "b", bytes(range(256)) * 40)
  write_bytes(folder / "empty", b"")
  write_manifest(folder)
  return folder


def names(folder):
  return sorted(p for p in folder.rglob("*") if p.is_file())


def test_a_folder_as_it_was_is_whole(folder):
  check_manifest(folder)
  assert list(find_damage(folder)) == []
  shutil.copytree(folder, folder.with_name("moved"))
  check_manifest(folder.with_name("moved"))  # nothing in it says where it lies


def test_one_bit_in_any_file_is_named(folder):
  for file in names(folder):
    data = file.read_bytes()
    for place in {0, 1, len(data) // 3, len(data) - 2, len(data) - 1}:
      if not 0 <= place < len(data):
        continue
      for bit in range(8):
        changed = bytearray(data)
        changed[place] ^= 1 << bit
        file.write_bytes(changed)
        with pytest.raises(CorruptError) as error:
          check_manifest(folder)
        assert str(error.value).startswith(f"{file} ")
    file.write_bytes(data)
  check_manifest(folder)


@pytest.mark.parametrize("change", ["delete", "longer", "shorter", "folder"])
def test_any_other_change_of_any_file_is_named(folder, change):
  for file in names(folder):
    data = file.read_bytes()
    if change in ("delete", "folder"):
      file.unlink()
    if change == "longer":
      file.write_bytes(data + b"\0")
    if change == "shorter":
      if not data:
        continue
      file.write_bytes(data[:-1])
    if change == "folder":
      file.mkdir()
    with pytest.raises(CorruptError) as error:
      check_manifest(folder)
    assert str(error.value).startswith(f"{file} ")
    if change == "folder":
      file.rmdir()
    file.write_bytes(data)
  check_manifest(folder)


def test_what_was_added_is_named(folder):
  write_bytes(folder / "deep" / "c", b"")
  with pytest.raises(CorruptError, match=r"deep/c was added"):
    check_manifest(folder)


def test_of_large_files_the_size_alone_counts(folder):
  large = folder / "deep" / "er" / "b"
  size = large.stat().st_size
  large.write_bytes(bytes(size))
  check_manifest(folder, largest=size - 1)
  with pytest.raises(CorruptError, match="SHA-256"):
    check_manifest(folder, largest=size)
  large.write_bytes(bytes(size - 1))
  with pytest.raises(CorruptError, match=f"{size - 1} bytes, were {size}"):
    check_manifest(folder, largest=0)


def test_all_damage_is_found_not_just_the_first(folder):
  (folder / "a").write_bytes(b"SOME bytes")
  (folder / "empty").unlink()
  (folder / "more").write_bytes(b"")
  found = list(find_damage(folder))
  said = ["a was altered", "empty is missing", "more was added"]
  assert len(found) == len(said)
  for damage, start in zip(found, said, strict=True):
    assert damage.startswith(f"{folder}/{start}")


@pytest.mark.parametrize(
  "made_up", [{}, {"files": 3}, {"files": {"a": 3}}, {"files": {"a": {}}}]
)
def test_a_manifest_of_another_kind_is_refused(folder, made_up):
  write_checksummed(folder / MANIFEST, made_up)
  with pytest.raises(CorruptError, match="is no manifest"):
    check_manifest(folder)


def test_a_manifest_reaches_no_file_outside(folder):
  outside = folder.with_name("outside")
  outside.write_bytes(b"x")
  said = {"bytes": 1, "sha256": files.sha256(outside)}
  write_checksummed(folder / MANIFEST, {"files": {"../outside": said}})
  with pytest.raises(CorruptError):
    check_manifest(folder)


def test_one_at_a_time_and_the_dead_have_no_claim(tmp_path):
  script = (
    "import sys, time; from pathlib import Path\n"
    "from item_jax.files import exclusive_lock\n"
    f"with exclusive_lock(Path({str(tmp_path / 'w')!r}), what='run'):\n"
    "  print('in', flush=True); time.sleep(60)"
  )
  other = subprocess.Popen(
    [sys.executable, "-c", script], stdout=subprocess.PIPE
  )
  try:
    assert other.stdout.readline() == b"in\n"
    with (
      pytest.raises(UserError, match="another run is at work"),
      exclusive_lock(tmp_path / "w", what="run"),
    ):
      pytest.fail("two at a time")
  finally:
    other.kill()
    other.communicate()
  with exclusive_lock(tmp_path / "w", what="run"):
    pass


def test_a_file_system_without_locks_is_named(tmp_path, monkeypatch):
  def refuse(file, operation):
    raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

  monkeypatch.setattr(fcntl, "flock", refuse)  # as Lustre without -o flock
  with (
    pytest.raises(
      UserError, match=f"{tmp_path}: this file system has no locks"
    ),
    exclusive_lock(tmp_path, what="run"),
  ):
    pytest.fail("nothing keeps another out")
