"""Reads the tokenizers of BERT, RoBERTa and CLIP as a tokenizer.json's text.

Three forms are read: a tokenizer.json; a BERT's list of tokens (vocab.txt);
vocab.json with merges.txt beside it, as RoBERTa's and CLIP's byte-level BPE.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tokenizers import (
  Regex,
  Tokenizer,
  decoders,
  models,
  normalizers,
  pre_tokenizers,
)

from item_jax.errors import NotFoundError, UserError

BERT = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
ROBERTA = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
CLIP = ("<|startoftext|>", "<|endoftext|>")
# CLIP pads with its end token, and has no token for the unknown or for a mask:
# those that it lacks are put after its last token.
CLIP_ADDED = ("<|pad|>", "<|unk|>", "<|mask|>")
# CLIP's words: contractions, runs of letters, single digits, runs of other
# signs.
_CLIP_WORDS = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
_BLANKS = "\u0120\u2581"  # of byte-level BPE, of SentencePiece
# A folder's tokenizer is the first of these that it has.
_FILES = ("tokenizer.json", "vocab.txt", "vocab.json")
_CONFIG = "tokenizer_config.json"
_MAX_BYTES = 1 << 28  # of one of the files; the largest known has 1/8 of it


def find_tokenizer(folder: Path) -> Path | None:
  """Finds the file to open a folder's tokenizer by; None without one."""
  return next((folder / n for n in _FILES if (folder / n).is_file()), None)


def read_tokenizer(path: Path) -> str:
  """Reads a tokenizer as the text of a tokenizer.json.

  Args:
    path: one of the three files, or a folder that holds one.

  Raises:
    NotFoundError: there is no such file, or none in the folder.
    UserError: it is none of the three.
  """
  if path.is_dir():
    found = find_tokenizer(path)
    if found is None:
      raise NotFoundError(f"none of {', '.join(_FILES)} in {path}")
    path = found
  if not path.is_file():
    raise NotFoundError(f"no tokenizer file {path}")
  text = _read(path)
  if path.suffix == ".txt":
    return _wordpiece(text, path).to_str(pretty=True)
  content = _parse(text, path)
  if content and all(isinstance(i, int) for i in content.values()):
    return _byte_level(content, path).to_str(pretty=True)
  model = content.get("model")
  if not isinstance(model, dict) or "vocab" not in model:
    raise UserError(f"{path} is JSON but no tokenizer: it has no model.vocab")
  return _completed(text, content, path)


def joining(text: str) -> Callable[[str], tuple[bool, bool]]:
  """How a tokenizer.json's tokens say that a word goes on.

  Returns:
    Of a token, whether it may go on from the one before it, and whether the
    next one may go on from it: neither of tokens that do not tell.
  """
  model = json.loads(text)["model"]
  inside = model.get("continuing_subword_prefix")
  if model.get("type") == "WordPiece" or inside:
    return lambda token: (token.startswith(inside or "##"), True)
  end = model.get("end_of_word_suffix") or ""
  if not end and not _marks_blanks(model):
    return lambda token: (False, False)

  def join(token):
    goes_on = not (end and token.endswith(end)) and _is_plain(token[-1:])
    return _is_plain(token[:1]), goes_on

  return join


def _marks_blanks(model: dict[str, Any]) -> bool:
  """Whether a word's first token begins with a sign for the blank before it.

  As in byte-level BPE and SentencePiece, unless titles were cut at blanks.
  """
  vocabulary = model.get("vocab", ())
  tokens = list(vocabulary)
  if model.get("type") == "Unigram":
    tokens = [token for token, _ in vocabulary]
  elif model.get("type") != "BPE":
    return False
  return any(len(token) > 1 and token[0] in _BLANKS for token in tokens)


def _is_plain(character: str) -> bool:
  """Whether it may be within a word.

  The sign for a blank is none. Signs stand alone, and what is not ASCII may be
  of a script without blanks.
  """
  return character.isascii() and character.isalnum()


def parse(text: str, origin: str) -> Tokenizer:
  """Opens a tokenizer.json's text.

  Raises:
    UserError: it is no tokenizer, cuts at random, two of its tokens share an
      id, or the ids it states are not those that the tokenizers library gives.
  """
  try:
    tokenizer = Tokenizer.from_str(text)
  except Exception as error:  # the library raises nothing narrower
    raise UserError(f"{origin} is no tokenizer: {error}") from error
  content = json.loads(text)
  if dropout := content["model"].get("dropout"):
    raise UserError(
      f"{origin} states the dropout {dropout:.3g}, by which a title is cut"
      " otherwise each time; expected null"
    )
  tokens: dict[int, str] = {}
  for token, number in tokenizer.get_vocab(with_added_tokens=True).items():
    if (other := tokens.setdefault(number, token)) != token:
      raise UserError(
        f"{origin} gives the id {number} to the tokens {min(token, other)!r}"
        f" and {max(token, other)!r}; expected an id of its own for each"
      )
  for token in content.get("added_tokens") or ():
    given = tokenizer.token_to_id(token["content"])
    if given != token["id"]:
      raise UserError(
        f"{origin} states the id {token['id']} for the token"
        f" {token['content']!r}, to which the library gives {given}; expected"
        " the next free ids, in order"
      )
  return tokenizer


def uncased(model: models.Model, **options: Any) -> Tokenizer:
  """Builds a tokenizer that cuts texts as BERT does; lower case by default."""
  tokenizer = Tokenizer(model)
  tokenizer.normalizer = normalizers.BertNormalizer(**options)
  tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
  tokenizer.decoder = decoders.WordPiece()
  return tokenizer


def _read(path):
  size = path.stat().st_size
  if size > _MAX_BYTES:
    raise UserError(
      f"{path} has {size / 2**20:,.0f} MiB, no tokenizer has more than"
      f" {_MAX_BYTES >> 20}"
    )
  try:
    return path.read_text(encoding="utf-8")
  except UnicodeDecodeError as error:
    raise UserError(f"{path} is no UTF-8 text: {error}") from error


def _parse(text, path) -> dict[str, Any]:
  """Parses JSON and says what is wrong; the library raises bare exceptions."""
  try:
    content = json.loads(text)
  except RecursionError as error:
    raise UserError(f"{path} is no tokenizer: nested too deeply") from error
  except json.JSONDecodeError as error:
    raise UserError(
      f"{path} is neither a tokenizer.json ({error}) nor named .txt as a list"
      " of tokens is"
    ) from error
  if not isinstance(content, dict):
    raise UserError(f"{path} is JSON but no tokenizer: it has no model.vocab")
  return content


def _options(path) -> dict[str, Any]:
  """Reads tokenizer_config.json beside a file; {} without one."""
  beside = path.with_name(_CONFIG)
  return _parse(_read(beside), beside) if beside.is_file() else {}


def _wordpiece(text, path):
  """Builds the tokenizer of a BERT's list of tokens."""
  # Not splitlines: signs that it takes for the end of a line can be tokens.
  tokens = text.removesuffix("\n").split("\n")
  vocabulary = {token: number for number, token in enumerate(tokens)}
  options = _options(path)
  lowercase = options.get("do_lower_case")
  if lowercase is None:
    lowercase = all(t == t.lower() for t in tokens if t not in BERT)
  tokenizer = uncased(
    models.WordPiece(vocabulary, unk_token="[UNK]"),
    lowercase=lowercase,
    strip_accents=options.get("strip_accents"),
    handle_chinese_chars=options.get("tokenize_chinese_chars", True),
  )
  tokenizer.add_special_tokens([token for token in BERT if token in vocabulary])
  return tokenizer


def _byte_level(vocabulary, path):
  """Builds CLIP's BPE if its special tokens are there, else RoBERTa's."""
  file = path.with_name("merges.txt")
  if not file.is_file():
    raise NotFoundError(f"{path} is a list of tokens without merges; no {file}")
  merges = _merges(file, vocabulary)
  if all(token in vocabulary for token in CLIP):
    return _clip(vocabulary, merges)
  tokenizer = Tokenizer(models.BPE(vocabulary, merges))
  tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(
    add_prefix_space=bool(_options(path).get("add_prefix_space", False))
  )
  tokenizer.decoder = decoders.ByteLevel()
  tokenizer.add_special_tokens(
    [token for token in ROBERTA if token in vocabulary]
  )
  return tokenizer


def _clip(vocabulary, merges):
  tokenizer = Tokenizer(
    models.BPE(vocabulary, merges, unk_token=CLIP[1], end_of_word_suffix="</w>")
  )
  tokenizer.normalizer = normalizers.Sequence(
    [
      normalizers.NFC(),
      normalizers.Replace(Regex(r"\s+"), " "),
      normalizers.Lowercase(),
    ]
  )
  tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
    [
      pre_tokenizers.Split(Regex(_CLIP_WORDS), behavior="removed", invert=True),
      pre_tokenizers.ByteLevel(add_prefix_space=False),
    ]
  )
  tokenizer.decoder = decoders.ByteLevel()
  tokenizer.add_special_tokens([*CLIP, *CLIP_ADDED])
  return tokenizer


def _merges(file, vocabulary):
  """Reads the pairs of tokens to merge, the most frequent first."""
  pairs = []
  for number, line in enumerate(_read(file).split("\n"), 1):
    if not line or line.startswith("#version"):
      continue
    pair = tuple(line.split(" "))
    if len(pair) != 2:
      raise UserError(f"{file}, line {number}: {line!r} is no pair of tokens")
    lacking = [t for t in (*pair, "".join(pair)) if t not in vocabulary]
    if lacking:
      raise UserError(
        f"{file}, line {number}: the vocabulary lacks {', '.join(lacking)}"
      )
    pairs.append(pair)
  return pairs


def _completed(text, content, path):
  """Adds the tokens that a CLIP's tokenizer.json lacks; keeps any other."""
  vocabulary = content["model"]["vocab"]
  is_clip = isinstance(vocabulary, dict) and all(t in vocabulary for t in CLIP)
  added = {token.get("content") for token in content.get("added_tokens") or []}
  if not is_clip or added.issuperset(CLIP_ADDED):
    return text
  tokenizer = parse(text, str(path))
  tokenizer.add_special_tokens(list(CLIP_ADDED))
  return tokenizer.to_str(pretty=True)
