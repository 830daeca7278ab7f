"""Small vocabularies in the files of other projects, learned from titles.

Filled up to any size with words that no title has, so that a network with the
published number of words can be asked for all of them.
"""

import csv
import json
from pathlib import Path

from tokenizers import (
  Regex,
  Tokenizer,
  models,
  normalizers,
  pre_tokenizers,
  trainers,
)

from item_jax.data.tokenizer import train_wordpiece
from item_jax.synthetic import products, synthesize

LEARNED = 700  # words, those for single bytes included
ODD = [
  "Café CRÈME — mug 0.3l ☃",
  "Men's  T-shirt (2023),\tsize XL/42 don't",
  "   ",
  "",
  "日本 shirt ümlaut 12345 !!!???",
  "THE'S they'LL 'S\u00a0x\u2028y\x85z",
]


def invented_titles(number: int) -> list[str]:
  return [
    synthesize.write_title(products.sample_product(7, i), 7, i, 0)
    for i in range(number)
  ]


def real_titles(folder: Path, number: int) -> list[str]:
  """Of a catalogue of the folder of real ones."""
  with open(folder / "hm" / "products.csv", encoding="utf-8") as file:
    rows = list(csv.DictReader(file))
  return [row["title"] for row in rows[:: max(1, len(rows) // number)]][:number]


def write_bert(folder: Path, titles, size: int | None = None) -> Path:
  """vocab.txt, with the special words where BERT has them."""
  found = train_wordpiece(titles, vocab_size=LEARNED).get_vocab()
  words = sorted(found, key=found.get)[5:]
  unused = [f"[unused{i}]" for i in range(200)]
  special = ["[UNK]", "[CLS]", "[SEP]", "[MASK]"]
  words = ["[PAD]", *unused[:99], *special, *unused[99:], *words]
  words = _filled(words, size, at=len(unused) + 5)
  (folder / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
  return folder


def write_roberta(folder: Path, titles, size: int | None = None) -> Path:
  """vocab.json and merges.txt, <mask> last."""
  tokenizer = Tokenizer(models.BPE())
  tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
  words, merges = _learn(tokenizer, titles)
  words = ["<s>", "<pad>", "</s>", "<unk>", *words]
  words = _filled(words, size and size - 1, at=4)
  return _write(folder, [*words, "<mask>"], merges)


def write_clip(folder: Path, titles, size: int | None = None) -> Path:
  """vocab.json and merges.txt, the two special words last."""
  tokenizer = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
  tokenizer.normalizer = normalizers.Sequence(
    [normalizers.NFC(), normalizers.Lowercase()]
  )
  tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
    [
      pre_tokenizers.Split(
        Regex(r"[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"), "removed", invert=True
      ),
      pre_tokenizers.ByteLevel(add_prefix_space=False),
    ]
  )
  words, merges = _learn(tokenizer, titles, end_of_word_suffix="</w>")
  ends = [f"{byte}</w>" for byte in pre_tokenizers.ByteLevel.alphabet()]
  words += sorted(set(ends) - set(words))
  words = _filled(words, size and size - 2, at=0)
  return _write(folder, [*words, "<|startoftext|>", "<|endoftext|>"], merges)


def _learn(tokenizer, titles, **options):
  trainer = trainers.BpeTrainer(
    vocab_size=LEARNED,
    show_progress=False,
    initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    **options,
  )
  tokenizer.train_from_iterator(titles, trainer=trainer)
  vocabulary = tokenizer.get_vocab()
  merges = json.loads(tokenizer.to_str())["model"]["merges"]
  return sorted(vocabulary, key=vocabulary.get), merges


def _filled(words, size, *, at):
  """Before the learned words, so that their ids are high ones."""
  lacking = 0 if size is None else size - len(words)
  return words[:at] + [f"<filler {i}>" for i in range(lacking)] + words[at:]


def _write(folder, words, merges):
  vocabulary = {word: place for place, word in enumerate(words)}
  (folder / "vocab.json").write_text(
    json.dumps(vocabulary, ensure_ascii=False), encoding="utf-8"
  )
  lines = ["#version: 0.2", *(" ".join(pair) for pair in merges)]
  (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
  return folder
