"""Nothing runs that was not asked for: no file is a program, and no number in
a file takes memory before it is compared with the file.

Config files are Python by design and are run: they are the user's own.
"""

import ast
import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from item_jax.data.records import Record, open_dataset
from item_jax.evaluation.vectors import open_embeddings
from item_jax.files import write_manifest
from item_jax.ingest.writer import DatasetWriter

PACKAGE = Path(__file__).parents[1] / "item_jax"

# What makes programs or objects out of bytes, or files out of an archive.
MODULES = {
  "_pickle",
  "cloudpickle",
  "code",
  "codeop",
  "dill",
  "joblib",
  "jsonpickle",
  "marshal",
  "pickle",
  "requests",
  "runpy",
  "shelve",
  "tarfile",
  "torch",
  "urllib",
  "yaml",
  "zipfile",
}
_SPELLING = "urllib.parse"  # of names; it opens nothing
BY_DESIGN = {
  # They run the config file that was asked for, and this program itself.
  "comparison/systems.py": "imports runpy",
  "comparison/child.py": "imports runpy",
  # It reads members of shards one by one, and writes none to the disk.
  "ingest/readers/webdataset.py": "imports tarfile",
  # It keeps compiled programs, which are machine code, in the user's own cache,
  # as jax does, and takes none that another user wrote or may write.
  "training/kept_programs.py": "imports pickle",
}
CALLS = {
  "__import__",
  "compile",
  "eval",
  "exec",
  "execfile",
  "extract",
  "extractall",
  "fromfile",
  "getoutput",
  "popen",
  "startfile",
  "system",
  "unpack_archive",
}


def called(node: ast.Call) -> tuple[str, str]:
  """("np", "load") of np.load(...), ("", "eval") of eval(...)."""
  function = node.func
  if isinstance(function, ast.Attribute):
    owner = function.value
    return (owner.id if isinstance(owner, ast.Name) else "?", function.attr)
  return "", function.id if isinstance(function, ast.Name) else "?"


def forbidden(tree: ast.AST) -> list[str]:
  """What of a module is not allowed, with its line."""
  found = []
  for node in ast.walk(tree):
    if isinstance(node, ast.Import):
      modules = [name.name for name in node.names]
    elif isinstance(node, ast.ImportFrom):
      modules = [node.module or ""]
      modules += [f"{node.module}.{name.name}" for name in node.names]
    else:
      modules = []
    found += [
      f"line {node.lineno}: imports {name}"
      for name in modules
      if (name.split(".")[0] in MODULES and not name.startswith(_SPELLING))
      or name == "shutil.unpack_archive"
    ]
    if isinstance(node, ast.Call):
      found += [f"line {node.lineno}: {what}" for what in _bad_call(node)]
  return found


def _bad_call(node: ast.Call) -> list[str]:
  owner, name = called(node)
  given = {k.arg: k.value for k in node.keywords}
  found = []
  if name in CALLS:
    # re.compile and lowered.compile make no program of a text.
    harmless = (name == "compile" and owner) or owner == "platform"
    if not harmless:
      found.append(f"calls {name}")
  if name == "load" and owner in ("np", "numpy"):
    pickles = given.get("allow_pickle")
    if not (isinstance(pickles, ast.Constant) and pickles.value is False):
      found.append("np.load without allow_pickle=False")
  shell = given.get("shell")
  if shell is not None and not (
    isinstance(shell, ast.Constant) and shell.value is False
  ):
    found.append(f"{name} with a shell")
  pickles = given.get("allow_pickle")
  if isinstance(pickles, ast.Constant) and pickles.value:
    found.append(f"{name} with allow_pickle")
  return found


def test_nothing_makes_a_program_of_a_file():
  found = {
    path.relative_to(PACKAGE).as_posix(): bad
    for path in sorted(PACKAGE.rglob("*.py"))
    if (bad := forbidden(ast.parse(path.read_text())))
  }
  assert found.keys() == BY_DESIGN.keys()
  for name, bad in found.items():
    assert [what.partition(": ")[2] for what in bad] == [BY_DESIGN[name]]


@pytest.mark.parametrize(
  "line",
  [
    "import pickle",
    "import pickle as json",
    "from pickle import loads",
    "import os, marshal",
    "import torch.serialization",
    "from joblib import load",
    "from shutil import unpack_archive",
    "eval('1')",
    "exec(text)",
    "__import__(name)",
    "compile(text, '', 'exec')",
    "os.system('ls')",
    "os.popen('ls')",
    "archive.extractall(folder)",
    "shutil.unpack_archive(path)",
    "subprocess.run('ls', shell=True)",
    "subprocess.run(x, shell=y)",
    "np.load(path)",
    "np.load(path, allow_pickle=True)",
    "np.load(path, allow_pickle=y)",
    "np.lib.format.read_array(file, allow_pickle=True)",
    "np.fromfile(path)",
  ],
)
def test_the_search_for_it_finds_it(line):
  assert forbidden(ast.parse(f"def f():\n  {line}"))


@pytest.mark.parametrize(
  "line",
  ["np.load(p, allow_pickle=False)", "re.compile('a')", "lowered.compile()"],
)
def test_the_search_finds_nothing_else(line):
  assert not forbidden(ast.parse(line))


# ---- Numbers in files. Each made-up file is opened in a process that may take
# 2 GB more than it has; what it ends in must be an error for the user. ----

OPENERS = {
  "npy": "open_embeddings(path, ['a'] * 3)",
  "items": "read_items(path)",
  "export": "open_export(path)",
  "weights": "open_tensors(path)",
  "photo": "store_jpeg(path.read_bytes())",
  "stored": "load_square(path.read_bytes(), 32)",
  "data": "open_dataset(path)",
  "words": "load_tokenizer(path)",
  "run": "read_run(path)",
  "verify": "list(verify(path)) and damaged(path)",
}
SCRIPT = """
import json, resource, sys
from pathlib import Path
from item_jax.data.images import BadImage, load_square, store_jpeg
from item_jax.data.records import open_dataset
from item_jax.data.tokenizer import load_tokenizer
from item_jax.errors import UserError
from item_jax.evaluation.items import open_export, read_items
from item_jax.evaluation.vectors import open_embeddings
from item_jax.diagnostics.verify import verify
from item_jax.pretrained.files import open_tensors
from item_jax.training.run import read_run

def damaged(path):
  raise UserError("; ".join(f.text for f in verify(path) if f.state != "whole"))

size = int(Path("/proc/self/statm").read_text().split()[0]) * 4096 + 2**31
resource.setrlimit(resource.RLIMIT_AS, (size, size))
for call, name in json.loads(sys.stdin.read()):
  path = Path(name)
  try:
    eval(call)
  except (UserError, BadImage) as error:
    print(json.dumps(["refused", str(error)[:300]]))
  except BaseException as error:
    print(json.dumps(["failed", repr(error)[:300]]))
  else:
    print(json.dumps(["opened", ""]))
"""
DEEP = '{"a":' * 100_000 + "1" + "}" * 100_000


def npy(shape: str, length: int | None = None) -> bytes:
  text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}"
  header = text.encode().ljust(117) + b"\n"
  size = len(header) if length is None else length
  return b"\x93NUMPY\x02\x00" + struct.pack("<I", size) + header + bytes(64)


def sparse(path: Path, start: bytes = b"", size: int = 9 << 28) -> Path:
  """A file of more than the 2 GB that may be taken, and of none of the disk."""
  with path.open("wb") as file:
    file.write(start)
    file.truncate(size)
  return path


def photo_claiming(kind: str) -> bytes:
  """A whole photo but for its header, which says 60,000 x 60,000 or more."""
  import io
  import zlib

  from PIL import Image

  file = io.BytesIO()
  Image.new("RGB", (64, 64), "red").save(file, kind, lossless=True)
  data = bytearray(file.getvalue())
  if kind == "JPEG":
    start = data.index(b"\xff\xc0")
    data[start + 5 : start + 9] = struct.pack(">HH", 60_000, 60_000)
  if kind == "PNG":
    data[16:24] = struct.pack(">II", 60_000, 60_000)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
  if kind == "WEBP":  # 14 bits a side: 16,384 x 16,384 is the most there is
    start = data.index(b"VP8L") + 9
    data[start : start + 4] = b"\xff\xff\xff\x0f"
  return bytes(data)


def make_data(folder: Path, name: str, change) -> Path:
  """A data set whose author changed a file and its manifest with it."""
  folder.mkdir()
  writer = DatasetWriter(folder)
  writer.add("train", Record("a", "b", "c", "d", b"e"))
  said = {"format": 1, "fingerprint": writer.close()}
  (folder / "catalogue.json").write_text(json.dumps(said))
  (folder / name).write_text(change((folder / name).read_text()))
  write_manifest(folder)
  return folder


def claim(text: str) -> str:
  info = json.loads(text)
  info["splits"][0]["shardLengths"] = [str(10**12)]
  return json.dumps(info)


def made_up(tmp_path: Path) -> list[tuple[str, Path]]:
  """(how it is opened, what) of every file that claims too much."""

  def file(name: str, content: bytes | str) -> Path:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    if isinstance(content, str):
      content = content.encode()
    path.write_bytes(content)
    return path

  tokens = {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "[MASK]": 4}
  far = {
    "model": {
      "type": "WordPiece",
      "unk_token": "[UNK]",
      "continuing_subword_prefix": "##",
      "max_input_chars_per_word": 100,
      "vocab": tokens | {"word": 4_000_000_000},
    }
  }
  found = [
    ("npy", file("rows.npy", npy("(1000000000000, 768)"))),
    ("npy", file("over.npy", npy("(4611686018427387904, 1024)"))),
    ("npy", file("less.npy", npy("(-3, 4)"))),
    ("npy", file("header.npy", npy("(3, 4)", length=4_000_000_000))),
    ("npy", file("deep.npy", npy("(" * 60 + "3" + ")" * 60))),
    ("items", sparse(tmp_path / "zeros.csv")),
    ("items", sparse(tmp_path / "field.csv", b'id,product\n"')),
    ("weights", file("huge.safetensors", struct.pack("<Q", 1 << 62) + b"{}")),
    (
      "weights",
      sparse(
        tmp_path / "zeros.safetensors", struct.pack("<Q", 1 << 29), 1 << 30
      ),
    ),
    ("words", sparse(tmp_path / "tokenizer.json", b"{")),
    ("words", file("far/tokenizer.json", json.dumps(far))),
    ("words", file("deep/tokenizer.json", DEEP)),
    ("data", make_data(tmp_path / "d1", "dataset_info.json", claim)),
    ("data", make_data(tmp_path / "d2", "dataset_info.json", lambda _: DEEP)),
    ("data", make_data(tmp_path / "d3", "catalogue.json", lambda _: DEEP)),
    ("stored", file("stored.jpg", photo_claiming("JPEG"))),
  ]
  found += [
    ("photo", file(f"photo.{kind}", photo_claiming(kind)))
    for kind in ("JPEG", "PNG", "WEBP")
  ]
  shard = '{"__metadata__":{},"x":{"dtype":"F32","shape":[1000000000000],'
  shard += '"data_offsets":[0,4000000000000]}}'
  lying = struct.pack("<Q", len(shard)) + shard.encode()
  found.append(("weights", file("lying.safetensors", lying)))
  file("w/config.json", DEEP)
  tensor = b'{"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
  whole = struct.pack("<Q", len(tensor)) + tensor + bytes(4)
  file("w/model.safetensors", whole)
  found.append(("weights", tmp_path / "w"))
  for what, name in (("run", "run.json"), ("export", "meta.json")):
    path = file(f"{what}/{name}", DEEP).parent
    found += [(what, path), ("verify", path)]
  (tmp_path / "large").mkdir()
  sparse(tmp_path / "large" / "meta.json", b"{")
  return [*found, ("export", tmp_path / "large")]


def test_claims_end_in_an_error_and_take_no_memory(tmp_path):
  files = made_up(tmp_path)
  asked = [(OPENERS[how], os.fspath(path)) for how, path in files]
  done = subprocess.run(
    [sys.executable, "-c", SCRIPT],
    input=json.dumps(asked),
    capture_output=True,
    text=True,
    timeout=280,
    env=os.environ | {"OPENBLAS_NUM_THREADS": "1", "JAX_PLATFORMS": "cpu"},
  )
  said = [json.loads(line) for line in done.stdout.splitlines()]
  assert len(said) == len(files), (done.stderr, files[len(said)])
  wrong = {
    f"{how} {path.relative_to(tmp_path)}": answer
    for (how, path), answer in zip(files, said, strict=True)
    if answer[0] != "refused"
  }
  assert not wrong
  assert {how for how, _ in files} == OPENERS.keys()


def test_the_same_files_open_when_they_claim_what_is_there(tmp_path):
  path = tmp_path / "e.npy"
  path.write_bytes(npy("(2, 8)"))
  assert not open_embeddings(path, ["a", "b"]).any()
  data = make_data(tmp_path / "d", "dataset_info.json", lambda text: text)
  assert open_dataset(data).sizes == {"train": 1}
