# ruff: noqa: RUF001 - letters of all scripts
"""Laws of what catalogue.json says of titles and their tokens."""

import sys

import pytest
import warm

from item_jax.data.records import Record
from item_jax.data.summary import token_lines
from item_jax.data.tokenizer import load_tokenizer
from item_jax.ingest.statistics import open_statistics

LISTED = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "red", "blue", "ハンタ"]


@pytest.fixture
def bert(tmp_path):
  """A tokenizer of another project, which strips marks as accents."""
  path = tmp_path / "vocab.txt"
  path.write_text("\n".join(LISTED) + "\n", encoding="utf-8")
  return load_tokenizer(path)


def count_tokens(folder, words, titles):
  with open_statistics(folder / "statistics.sqlite") as statistics:
    for number, title in enumerate(titles):
      statistics.add("train", Record(f"l{number}", "p", title, "", b""))
    return statistics.compute(words)["title_tokens"]


def test_by_hand(tmp_path, bert):
  titles = [
    "red blue",
    "RED  blue",  # the same title
    "Ｒｅｄ blue",  # and this, for its reader: but an unknown word to BERT's
    "パンダ red",  # marks lost: the tokens of the next
    "ハンダ red",
    "ハンダ red",  # a second listing of that title
    "green red",  # [UNK] red, as the next
    "white RED",
    "red",
    "",
  ]
  found = count_tokens(tmp_path, bert, titles)
  assert (found["unknown"], found["titles_with_unknown"]) == (3, 3)
  # 17 tokens: two of each of the first eight titles, and one.
  assert found["unknown_share"] == round(3 / 17, 6)
  assert found["titles_with_unknown_share"] == round(3 / 9, 6)
  assert found["titles_as_another"] == 5
  assert found["titles_as_another_share"] == round(5 / 9, 6)


def test_without_a_title(tmp_path, bert):
  found = count_tokens(tmp_path, bert, ["", ""])
  assert found["titles_with_unknown_share"] == 0
  assert found["titles_as_another"] == 0
  assert found["unknown_share"] == 0


@pytest.mark.parametrize(
  ("unknown", "alike", "warnings"),
  [
    (0.05, 0.01, []),
    (0.0501, 0.01, ["hold what the tokenizer does not know"]),
    (0.05, 0.0101, ["have the same tokens"]),
    (1.0, 1.0, ["hold what the tokenizer", "have the same tokens"]),
  ],
)
def test_a_warning_above_a_limit(unknown, alike, warnings):
  lines = token_lines(
    {
      "unknown_share": 0.5,
      "titles_with_unknown_share": unknown,
      "titles_as_another_share": alike,
    }
  )
  assert "50.00% of the tokens are unknown" in lines[0]
  found = [line for line in lines if line.startswith("warning ")]
  assert len(found) == len(warnings)
  for line, words in zip(found, warnings, strict=True):
    assert words in line


def test_prepare_warns(tmp_path, bert):
  """Thai titles without blanks, and a tokenizer that knows none of them."""
  rows = [f"{i},p{i // 2},{'ขาว' * 40}{'ก' * i},,train" for i in range(4)]
  table = tmp_path / "c.csv"
  table.write_text(
    "\n".join(["listing_id,product_id,title,image,split", *rows]) + "\n",
    encoding="utf-8",
  )
  command = [sys.executable, "-m", "item_jax", "prepare", str(table)]
  with_bert = ["--out", str(tmp_path / "a"), "--tokenizer", bert._origin]
  done = warm.run(
    [*command, *with_bert], capture_output=True, text=True, check=True
  )
  assert "warning     100.00% of the titles hold" in done.stdout
  assert "warning     100.00% of the titles have the same" in done.stdout
  ours = ["--out", str(tmp_path / "b")]
  done = warm.run([*command, *ours], capture_output=True, text=True, check=True)
  assert "of the titles h" not in done.stdout
  assert "0.00% of the tokens are unknown" in done.stdout
