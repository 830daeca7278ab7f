# ruff: noqa: RUF001 - letters of all scripts
"""Laws of folding and cutting titles of any script."""

import json
import random
import string
import unicodedata

import pytest
from tokenizers import normalizers, pre_tokenizers

from item_jax.data import scripts
from item_jax.data.tokenizer import Tokenizer, load_tokenizer, train_wordpiece

# Different words, in each line of one language.
DIFFERENT = """
パンダ ハンダ
かぎ かき
バッグ パック ハック バック
びょういん びよういん
ビル ビール ヒール
เสื้อ เสือ เสีย
ข้าว ขาว ขา ค่า
ใกล้ ไกล
ມາ ມ້າ ໝາ
កាត់ កាត ការ
ကား ကာ ကား၊ကာ
काला काली काले कल
मेज मज
दिन दीन
ज़रा जरा
বই বউ বাই
কাল কালি কলা
பல் பால் பல
கொடு கோடு
కల కాల
가방 기방 가반
달 딸 탈
大 太 犬
买 卖
свитей свитеи
мой мои
їжа іжа
ґрати грати
двор дворў двору
куќа кука
меѓа мега
سأل سال
رئيس ريس
ספר ספד
""".strip().splitlines()
# One word in several spellings.
SAME = [
  ("Café CRÈME", "cafe creme"),
  ("Über Señor Ångström", "uber senor angstrom"),
  ("ΛΌΓΟΣ", "λόγος", "λογος"),
  ("Straße", "STRASSE", "straẞe"),
  ("ışık İSTANBUL", "IŞIK istanbul"),
  ("тёплый", "ТЕПЛЫЙ"),
  ("за́мок Украї́на ё́", "замок Україна е"),
  ("كُرَة", "كرة"),
  ("قميـــص", "قميص"),
  ("שָׁלוֹם", "שלום"),
  ("ﾊﾟﾝﾀﾞ", "パンダ"),
  ("ＡＢＣ　１２３", "abc 123"),
  ("𝗡𝗘𝗪 𝓢𝓪𝓵𝓮", "new sale"),
  ("ﬁne soft\u00adhyphen zero\u200bwidth", "fine softhyphen zerowidth"),
  ("کتاب\u200cها", "کتابها"),
  ("❤\ufe0f 1\ufe0f\u20e3", "❤ 1"),
  ("葛\U000e0100", "葛"),
  ("Men´s", "Men s"),
]
VIETNAMESE = ["bàn gỗ đẹp", "bán gỗ đẹp", "bạn gỗ đẹp", "ban gỗ đẹp"]


def cut(title: str) -> list[str]:
  text = scripts.folding().normalize_str(title)
  return [word for word, _ in scripts.cutting().pre_tokenize_str(text)]


def learned(titles) -> Tokenizer:
  return Tokenizer(train_wordpiece([*titles] * 2).to_str())


@pytest.fixture(scope="module")
def words():
  return learned([*DIFFERENT, *(" ".join(row) for row in SAME), *VIETNAMESE])


@pytest.mark.parametrize("line", DIFFERENT)
def test_different_words_have_different_tokens(words, line):
  tokens = [tuple(ids) for ids in words.tokens(line.split())]
  assert len(set(tokens)) == len(tokens)
  assert words.unk not in sum(tokens, ())


@pytest.mark.parametrize("spellings", SAME)
def test_spellings_of_a_word_have_the_same_tokens(words, spellings):
  first, *others = words.tokens(list(spellings))
  assert first
  assert words.unk not in first
  assert all(other == first for other in others)


def test_vietnamese_tones_stay(words):
  assert len({tuple(ids) for ids in words.tokens(VIETNAMESE)}) == 4
  # A title that has none of its own signs is taken for one of another language.
  assert words.tokens(["bàn"]) == words.tokens(["ban"])


ALL = " ".join([*DIFFERENT, *(word for row in SAME for word in row)])


@pytest.mark.parametrize("title", [*DIFFERENT, *VIETNAMESE, ALL])
def test_composed_and_decomposed_text_is_the_same(words, title):
  forms = [unicodedata.normalize(form, title) for form in ("NFC", "NFD")]
  composed, decomposed = words.tokens(forms)
  assert composed == decomposed == words.tokens([title])[0]


@pytest.mark.parametrize("title", [*DIFFERENT, *VIETNAMESE])
def test_capitals_are_the_same(words, title):
  upper, lower = words.tokens([title.upper(), title.lower()])
  assert upper == lower


@pytest.mark.parametrize(
  ("title", "expected"),
  [
    ("เสื้อยืดnike🔥", "เสื้ อ ยื ด nike 🔥"),
    ("スニーカー黒い", "ス ニー カー 黒 い"),
    ("送料無料きゃ", "送 料 無 料 きゃ"),
    ("나이키nike용", "나이키 nike 용"),
    ("ក្រមាខ្មែរ", "ក្រ មា ខ្មែ រ"),
    ("nike®T-shirt", "nike ® t - shirt"),
    ("a" * 100, "a" * 100),
    ("a" * 101, "a" * 20 + " " + "a" * 81),
    ("a" * 150, " ".join(["a" * 20] * 3 + ["a" * 90])),
  ],
)
def test_where_titles_are_cut(title, expected):
  assert cut(title) == expected.split()


def test_no_character_is_lost():
  """Digits of Thai, marks without a letter, and whatever else there is."""
  draw = random.Random(5)
  seen = "".join([*DIFFERENT, "๑๒០၁", "\u0e49", *VIETNAMESE])
  known = learned([" ".join(seen), seen])
  for cutting in (scripts.cutting(), scripts.cutting(known.ids())):
    for number in range(400):
      characters = seen if number % 2 else list(map(chr, range(0x20, 0x3100)))
      title = "".join(draw.choices(characters, k=30))
      text = scripts.folding().normalize_str(title)
      pieces = [piece for piece, _ in cutting.pre_tokenize_str(text)]
      assert "".join(pieces) == "".join(text.split()), repr(title)


def test_ascii_is_cut_as_berts_rules_do():
  """So that a vocabulary of ASCII titles is the one that they give."""
  folding = normalizers.BertNormalizer()
  cutting = pre_tokenizers.BertPreTokenizer()
  draw = random.Random(3)
  for _ in range(300):
    title = "".join(draw.choices(string.printable + "\x00\x7f\x1b", k=60))
    pieces = cutting.pre_tokenize_str(folding.normalize_str(title))
    assert cut(title) == [word for word, _ in pieces], repr(title)


def test_a_long_title_without_blanks_is_many_known_tokens():
  draw = random.Random(1)
  for letters in ("กขคงจฉชซ", "カキクケコ", "가나다라마", "abcdef", "ཀཁགང"):
    train = ["".join(draw.choices(letters, k=50)) for _ in range(60)]
    words = learned(train)
    ids = words.tokens(["".join(draw.choices(letters, k=150))])[0]
    assert words.unk not in ids
    assert len(ids) > 5


def test_an_unseen_character_is_all_that_is_unknown():
  words = learned(["abba"])  # b is known at the beginning of a word
  abba = words.tokens(["abba"])[0][0]
  assert words.tokens(["abbaxyabba"]) == [[abba, words.unk, abba]]
  words = learned(["ab ca"])  # c never inside one: it begins another
  (a, *rest), cab = words.tokens(["acab", "cab"])
  assert words.tokens(["a"]) == [[a]]
  assert rest == cab
  assert words.unk not in cab


@pytest.mark.parametrize("part", ["a", "\u0301", "ẹ", "ก้", "가"])
def test_a_title_of_any_length_is_cut(part):
  words = learned(["a ẹ ก้ 가"] * 3)
  tokens = words.tokens([part * 50_000])[0]
  assert (len(tokens) > 500) == (part != "\u0301")


def test_all_of_it_is_in_the_file(words, tmp_path):
  words.save(tmp_path / "tokenizer.json")
  again = load_tokenizer(tmp_path / "tokenizer.json")
  titles = [*DIFFERENT, *VIETNAMESE, ALL]
  assert again.tokens(titles) == words.tokens(titles)


def test_a_store_of_before_keeps_its_rules():
  """Written down from a tokenizer.json with BERT's folding."""
  special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
  listed = [*special, "cafe", "свитеи", "ハンタ", "का", "##ला", "मज", "大"]
  flags = {
    "single_word": False,
    "lstrip": False,
    "rstrip": False,
    "normalized": False,
    "special": True,
  }
  content = {
    "version": "1.0",
    "truncation": None,
    "padding": None,
    "added_tokens": [
      {"id": number, "content": word, **flags}
      for number, word in enumerate(special)
    ],
    "normalizer": {
      "type": "BertNormalizer",
      "clean_text": True,
      "handle_chinese_chars": True,
      "strip_accents": None,
      "lowercase": True,
    },
    "pre_tokenizer": {"type": "BertPreTokenizer"},
    "post_processor": None,
    "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
    "model": {
      "type": "WordPiece",
      "unk_token": "[UNK]",
      "continuing_subword_prefix": "##",
      "max_input_chars_per_word": 100,
      "vocab": {word: number for number, word in enumerate(listed)},
    },
  }
  tokenizer = Tokenizer(json.dumps(content))
  assert tokenizer.tokens(
    ["Café свитей パンダ 大大", "काला मेज", "ก" * 101]
  ) == [
    [5, 6, 7, 11, 11],
    [8, 9, 10],
    [1],
  ]
