"""Laws of the vocabulary learned from titles, and of titles cut into it."""

import hashlib
import json
import os
import re
import resource
import subprocess
import sys
from copy import deepcopy

import numpy as np
import pytest
import spellings
import tokenizers
from tokenizers import models, pre_tokenizers, trainers

from item_jax.data.tokenizer import (
  SPECIAL,
  Tokenizer,
  load_tokenizer,
  train_wordpiece,
)
from item_jax.errors import UserError

TITLES = [
  "Red cotton T-shirt, size M",
  "blue cotton shirt with buttons",
  "Men's running shoes red/black",
  "running shorts black",
  "Café crème mug 0.3 l",
] * 3


@pytest.fixture(scope="module")
def tokenizer():
  return Tokenizer(train_wordpiece(TITLES).to_str())


def test_special_words_come_first(tokenizer):
  assert (
    tokenizer.pad,
    tokenizer.unk,
    tokenizer.cls,
    tokenizer.sep,
    tokenizer.mask,
  ) == (
    0,
    1,
    2,
    3,
    4,
  )
  assert tokenizer.special == (0, 1, 2, 3, 4)


def test_encode_is_tokens_then_sep_then_padding(tokenizer):
  ids = tokenizer.encode("red SHIRT", 8)
  assert (ids.dtype, ids.shape) == (np.int32, (8,))
  n = tokenizer.count("red SHIRT")
  assert n == 2
  assert (ids[:n] > 4).all()
  assert ids[n:].tolist() == [3, 0, 0, 0, 0, 0]
  np.testing.assert_array_equal(ids, tokenizer.encode("Red  shirt", 8))


def test_sep_always_fits(tokenizer):
  title = "red blue black running shirt shoes cotton"
  assert tokenizer.count(title) == 7
  whole = tokenizer.encode(title, 20).tolist()[:7]
  for places in range(2, 12):
    kept = whole[: places - 1]
    padding = [0] * (places - len(kept) - 1)
    assert tokenizer.encode(title, places).tolist() == [*kept, 3, *padding]


@pytest.mark.parametrize("title", ["", "   ", "\t\n"])
def test_a_title_without_words_is_all_padding(tokenizer, title):
  assert tokenizer.encode(title, 5).tolist() == [0] * 5


@pytest.mark.parametrize("special", SPECIAL)
def test_a_title_cannot_spell_a_special_token(tokenizer, special):
  ids = tokenizer.encode(f"red {special} shirt", 30)
  tokens = ids[: tokenizer.count(f"red {special} shirt")]
  assert not set(tokens.tolist()) & {0, 2, 3, 4}


def test_counts_are_counts(tokenizer):
  titles = [*TITLES, "", "unseen ☃ words"]
  assert tokenizer.counts(titles) == [
    tokenizer.count(title) for title in titles
  ]


def test_accents_and_case_fold(tokenizer):
  np.testing.assert_array_equal(
    tokenizer.encode("CAFE creme", 9), tokenizer.encode("café Crème", 9)
  )


SCRIPT = """
import hashlib, random, sys
from item_jax.data.tokenizer import train_wordpiece
draw = random.Random(5)
letters = [chr(0xac00 + i) for i in range(2000)] + list("abcdefgh") * 300
letters += [chr(0x4e00 + i) for i in range(1000)] + list("กขคงเอาีวี่") * 300
titles = [
  " ".join("".join(draw.choices(letters, k=4)) for _ in range(5))
  for _ in range(2000)
]
random.Random(int(sys.argv[1])).shuffle(titles)
trained = train_wordpiece(titles, vocab_size=6000)
print(hashlib.sha256(trained.to_str().encode()).hexdigest())
"""


def test_training_is_the_same_in_every_process_order_and_thread_count():
  outcomes = set()
  for seed, threads in (("1", "1"), ("2", "2"), ("3", "4")):
    done = subprocess.run(
      [sys.executable, "-c", SCRIPT, seed],
      env=os.environ | {"RAYON_NUM_THREADS": threads, "PYTHONHASHSEED": seed},
      capture_output=True,
      text=True,
      check=True,
    )
    outcomes.add(done.stdout)
  assert len(outcomes) == 1


@pytest.mark.parametrize("size", [10, 20, 40, 80, 1000])
def test_vocabulary_is_bounded(size):
  trained = Tokenizer(train_wordpiece(TITLES, vocab_size=size).to_str())
  assert trained.size <= size
  # Ids without a gap: an embedding row for each, and no more.
  vocabulary = json.loads(trained._text)["model"]["vocab"]
  assert sorted(vocabulary.values()) == list(range(trained.size))


def test_frequent_words_are_one_token_and_rare_ones_pieces(tokenizer):
  assert tokenizer.count("cotton") == 1
  vocabulary = train_wordpiece(["alone", "twice", "twice"]).get_vocab()
  assert "twice" in vocabulary
  assert "alone" not in vocabulary


@pytest.mark.parametrize("titles", [[], ["", ""], [" "]])
def test_no_title_is_an_error(titles):
  with pytest.raises(UserError, match="no training title"):
    train_wordpiece(titles)


def test_a_full_disk_is_named_and_leaves_what_was_there(tokenizer, tmp_path):
  path = tmp_path / "tokenizer.json"
  path.write_text("before")
  soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
  try:
    with pytest.raises(OSError, match=re.escape(str(path))):
      tokenizer.save(path)
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
  assert path.read_text() == "before"
  assert list(tmp_path.iterdir()) == [path]


def test_too_small_a_vocabulary_is_an_error():
  with pytest.raises(UserError, match="9 tokens"):
    train_wordpiece(TITLES, vocab_size=9)


def test_save_and_load(tokenizer, tmp_path):
  path = tmp_path / "tokenizer.json"
  tokenizer.save(path)
  loaded = load_tokenizer(path)
  assert loaded.fingerprint == tokenizer.fingerprint
  assert loaded.fingerprint == hashlib.sha256(path.read_bytes()).hexdigest()
  for copy in (loaded, deepcopy(tokenizer)):
    np.testing.assert_array_equal(
      copy.encode("red shirt [MASK]", 9),
      tokenizer.encode("red shirt [MASK]", 9),
    )
    assert (copy.size, copy.special) == (tokenizer.size, tokenizer.special)


@pytest.mark.parametrize("cased", [False, True])
def test_vocab_txt(tmp_path, cased):
  path = tmp_path / "vocab.txt"
  listed = ["[PAD]", "[unused0]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
  listed += ["red", "shirt", "##s", "Red" if cased else "blue"]
  path.write_text("\n".join(listed) + "\n")
  loaded = load_tokenizer(path)
  assert (loaded.pad, loaded.unk, loaded.cls, loaded.sep, loaded.mask) == (
    0,
    2,
    3,
    4,
    5,
  )
  assert loaded.size == 10
  red = 9 if cased else 6
  assert loaded.encode("Red shirts", 5).tolist() == [red, 7, 8, 4, 0]


def test_vocab_txt_and_json_agree(tokenizer, tmp_path):
  vocabulary = json.loads(tokenizer._text)["model"]["vocab"]
  path = tmp_path / "vocab.txt"
  path.write_text("\n".join(sorted(vocabulary, key=vocabulary.get)))
  for title in TITLES:
    np.testing.assert_array_equal(
      load_tokenizer(path).encode(title, 20), tokenizer.encode(title, 20)
    )


def byte_level(special):
  """A tokenizer of another family, with truncation and padding set."""
  tokenizer = tokenizers.Tokenizer(models.BPE())
  tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel()
  tokenizer.train_from_iterator(
    TITLES,
    trainers.BpeTrainer(special_tokens=special, show_progress=False),
  )
  tokenizer.enable_truncation(2)
  tokenizer.enable_padding(length=50)
  return tokenizer


def test_the_names_of_other_families(tmp_path):
  path = tmp_path / "tokenizer.json"
  byte_level(["<s>", "<pad>", "</s>", "<unk>", "<mask>", "<x>"]).save(str(path))
  loaded = load_tokenizer(path)
  assert (loaded.cls, loaded.pad, loaded.sep, loaded.unk, loaded.mask) == (
    0,
    1,
    2,
    3,
    4,
  )
  assert loaded.special == (0, 1, 2, 3, 4, 5)
  n = loaded.count(TITLES[0])
  assert n > 2  # its own truncation and padding are off
  assert loaded.encode(TITLES[0], n + 3).tolist()[n:] == [2, 1, 1]


def test_missing_special_words_are_named(tmp_path):
  path = tmp_path / "tokenizer.json"
  byte_level(["<s>", "<pad>", "</s>"]).save(str(path))
  with pytest.raises(UserError, match=r"\[UNK\] or <unk>, \[MASK\] or <mask>"):
    load_tokenizer(path)


@pytest.mark.parametrize(
  ("content", "message"),
  [
    (b"red\nblue\n", "neither a tokenizer.json"),
    (b"{}", "no model.vocab"),
    (b"[1]", "no model.vocab"),
    (b"\xff\xfe", "no UTF-8"),
  ],
)
def test_what_is_no_tokenizer(tmp_path, content, message):
  path = tmp_path / "tokenizer.json"
  path.write_bytes(content)
  with pytest.raises(UserError, match=message):
    load_tokenizer(path)


def changed(tokenizer, change):
  """The text of a tokenizer.json after `change(content, vocabulary)`."""
  content = json.loads(tokenizer._text)
  change(content, content["model"]["vocab"])
  return json.dumps(content)


def two_of_an_id(content, vocabulary):
  vocabulary["red"] = vocabulary["cotton"]


def a_gap(content, vocabulary):
  """The library gives an added word the number of words, which is in use."""
  del vocabulary["[MASK]"]
  content["added_tokens"][4]["id"] = len(vocabulary)


def another_id_stated(content, vocabulary):
  content["added_tokens"][4]["id"] = vocabulary["red"]


def a_far_id_stated(content, vocabulary):
  content["added_tokens"].append(
    content["added_tokens"][4] | {"id": 500, "content": "<more>"}
  )


@pytest.mark.parametrize(
  ("change", "message"),
  [
    (two_of_an_id, "the id [0-9]+ to the tokens 'cotton' and 'red'"),
    (a_gap, "the id [0-9]+ to the tokens '.MASK.' and '"),
    (another_id_stated, "states the id [0-9]+ for the token '.MASK.'"),
    (a_far_id_stated, "states the id 500 for the token '<more>'"),
  ],
)
def test_ids_that_are_not_those_in_use(tokenizer, tmp_path, change, message):
  path = tmp_path / "tokenizer.json"
  path.write_text(changed(tokenizer, change))
  with pytest.raises(UserError, match=message):
    load_tokenizer(path)


def test_ids_with_a_gap_and_more_words_added(tokenizer, tmp_path):
  def change(content, vocabulary):
    vocabulary["red"] = 500
    mask = content["added_tokens"][4]
    # A word that the vocabulary has keeps its id.
    content["added_tokens"].append(mask | {"id": 500, "content": "red"})

  path = tmp_path / "tokenizer.json"
  path.write_text(changed(tokenizer, change))
  loaded = load_tokenizer(path)
  assert (loaded.size, loaded.special) == (501, (0, 1, 2, 3, 4, 500))


def test_no_such_tokenizer(tmp_path):
  with pytest.raises(FileNotFoundError, match="nowhere"):
    load_tokenizer(tmp_path / "nowhere.json")


FAMILIES = {
  "bert": spellings.write_bert,
  "roberta": spellings.write_roberta,
  "clip": spellings.write_clip,
}


@pytest.fixture(scope="module")
def synthetic():
  return spellings.invented_titles(1_000)


@pytest.fixture(scope="module")
def folders(tmp_path_factory, synthetic):
  """A folder of each family's own files."""
  made = {}
  for family, write in FAMILIES.items():
    made[family] = write(tmp_path_factory.mktemp(family), synthetic[:300])
  return made


def theirs(family, folder):
  """Another project's tokenizer of the same files."""
  transformers = pytest.importorskip(
    "transformers", reason="the extra torchcheck is not installed"
  )
  maker = {
    "bert": transformers.BertTokenizer,
    "roberta": transformers.RobertaTokenizer,
    "clip": transformers.CLIPTokenizer,
  }[family]
  return maker.from_pretrained(folder)


def check_same_ids(loaded, other, titles):
  for title in titles:
    expected = other(title, add_special_tokens=False)["input_ids"]
    n = len(expected)
    row = loaded.encode(title, n + 3)
    assert row[:n].tolist() == expected, title
    assert (
      row[n:].tolist()
      == ([loaded.sep] if n else [loaded.pad]) + [loaded.pad] * 2
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_ids_are_those_of_transformers(family, folders, synthetic, tmp_path):
  other = theirs(family, folders[family])
  loaded = load_tokenizer(folders[family])
  check_same_ids(loaded, other, [*synthetic, *spellings.ODD])
  # The same from one tokenizer.json, theirs and the one we write.
  other.save_pretrained(tmp_path / "theirs")
  saved = load_tokenizer(tmp_path / "theirs" / "tokenizer.json")
  loaded.save(tmp_path / "ours.json")
  ours = load_tokenizer(tmp_path / "ours.json")
  for again in (saved, ours):
    check_same_ids(again, other, [*synthetic[:100], *spellings.ODD])
    assert again.ids() == loaded.ids()


@pytest.mark.parametrize("family", FAMILIES)
def test_ids_are_those_of_transformers_on_real_titles(
  family, folders, shared_data
):
  check_same_ids(
    load_tokenizer(folders[family]),
    theirs(family, folders[family]),
    spellings.real_titles(shared_data, 1_000),
  )


def test_roberta_files(folders):
  folder = folders["roberta"]
  loaded = load_tokenizer(folder)
  vocabulary = json.loads((folder / "vocab.json").read_text())
  assert (loaded.cls, loaded.pad, loaded.sep, loaded.unk) == (0, 1, 2, 3)
  assert loaded.mask == loaded.size - 1 == vocabulary["<mask>"]
  assert loaded.added == ()
  # A word with a space before it is another word.
  word = max((w for w in vocabulary if w[0] == "Ġ"), key=len)[1:]
  row = loaded.encode(f"x {word}", 4).tolist()
  assert row == [vocabulary["x"], vocabulary[f"Ġ{word}"], 2, 1]
  assert loaded.encode(word, 4)[0] != row[1]
  assert load_tokenizer(folder / "vocab.json").fingerprint == loaded.fingerprint


def test_clip_files(folders, tmp_path):
  folder = folders["clip"]
  loaded = load_tokenizer(folder)
  vocabulary = json.loads((folder / "vocab.json").read_text())
  n = len(vocabulary)
  assert (loaded.cls, loaded.sep) == (n - 2, n - 1)
  # What it has no word for comes after its last.
  assert (loaded.pad, loaded.unk, loaded.mask) == (n, n + 1, n + 2)
  assert (loaded.size, loaded.added) == (n + 3, (n, n + 1, n + 2))
  assert set(loaded.special) == set(range(n - 2, n + 3))
  assert loaded.encode("A  5", 5).tolist() == [
    vocabulary["a</w>"],
    vocabulary["5</w>"],
    n - 1,
    n,
    n,
  ]
  loaded.save(tmp_path / "tokenizer.json")
  for again in (load_tokenizer(tmp_path / "tokenizer.json"), deepcopy(loaded)):
    assert again.fingerprint == loaded.fingerprint
    assert (again.pad, again.size, again.added) == (n, n + 3, loaded.added)


def test_a_title_cannot_spell_an_end(folders):
  for family, word in (("clip", "<|endoftext|>"), ("roberta", "</s>")):
    loaded = load_tokenizer(folders[family])
    title = f"red {word} mug"
    ids = loaded.encode(title, 40)[: loaded.count(title)]
    assert not set(ids.tolist()) & set(loaded.special)


def test_options_beside_a_vocabulary(tmp_path, folders):
  words = (folders["bert"] / "vocab.txt").read_text() + "Red\n"
  (tmp_path / "vocab.txt").write_text(words)
  cased = load_tokenizer(tmp_path)
  (tmp_path / "tokenizer_config.json").write_text('{"do_lower_case": true}')
  lower = load_tokenizer(tmp_path)
  assert cased.encode("Red", 3)[0] == len(words.split("\n")) - 2
  assert lower.encode("Red", 3)[0] == lower.encode("red", 3)[0]
  assert lower.encode("Red", 3)[0] != cased.encode("Red", 3)[0]


def test_a_vocabulary_without_its_merges(tmp_path, folders):
  text = (folders["roberta"] / "vocab.json").read_text()
  (tmp_path / "vocab.json").write_text(text)
  with pytest.raises(FileNotFoundError, match=r"merges\.txt"):
    load_tokenizer(tmp_path)
  (tmp_path / "merges.txt").write_text("#version: 0.2\na b c\n")
  with pytest.raises(UserError, match="line 2: 'a b c' is no pair"):
    load_tokenizer(tmp_path)
  (tmp_path / "merges.txt").write_text("a 北\n")
  with pytest.raises(UserError, match="line 1: the vocabulary lacks 北, a北"):
    load_tokenizer(tmp_path)


def test_a_folder_without_a_tokenizer(tmp_path):
  with pytest.raises(FileNotFoundError, match=r"none of tokenizer\.json"):
    load_tokenizer(tmp_path)
