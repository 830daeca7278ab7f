# ruff: noqa: RUF001, RUF003 - letters of all scripts
"""Normalizes titles of any script and cuts them into words.

Everything is built from the parts of the tokenizers library, so that a
tokenizer.json holds all of it and means the same in any program that reads such
files. Only the tokenizers that we train use these rules: those of other
projects keep the rules that their weights were trained with.
"""

from collections.abc import Collection

from tokenizers import Regex, normalizers, pre_tokenizers

# Titles are normalized in decomposed form: a letter, then its marks. A mark is
# looked for first, then what precedes it: that is quicker.
_ACCENT = r"[\u0300-\u036F\u1AB0-\u1AFF\u1DC0-\u1DFF\u20D0-\u20FF]"
# Signs of Vietnamese and similar languages (Yoruba, Igbo) only: hook, horn, a
# dot under a vowel, a tone on a vowel that has a mark already.
_TONAL = "|".join(
  [
    r"[\u0309\u031B]",
    r"\u0323(?<=[AEIOUYaeiouy]\u0323)",
    r"[\u0300\u0301\u0303](?<=[AEOaeo][\u0302\u0306][\u0300\u0301\u0303])",
  ]
)
# An accent is removed unless it follows a letter that is neither Latin nor
# Greek, or such a letter's marks. A title with a tonal sign keeps all accents:
# \K drops the title from its match, which is then empty, and nothing is left to
# search.
_LATIN_MARKS = (
  rf"\A(?m:.*)(?:{_TONAL})(?m:.*)\K"
  rf"|{_ACCENT}(?<![[\p{{L}}\p{{M}}]&&[^\p{{Latin}}\p{{Greek}}]]{_ACCENT})"
  rf"{_ACCENT}*"
)
_OTHER_MARKS = "|".join(
  [
    # Stress, on ї and ё too, but not what makes the letters ѓ and ќ.
    r"\u0301(?<=[\p{Cyrillic}\u0308]\u0301)(?<![ГгКк]\u0301)",
    r"\u0308(?<=[Ее]\u0308)",  # ё, which most shops write е
    r"[\u0591-\u05BD\u05BF\u05C1\u05C2\u05C4\u05C5\u05C7]",  # Hebrew points
    # Arabic short vowels and the stroke that stretches a word; hamza stays.
    r"[\u064B-\u0652\u0670\u0640]",
    r"[\uFE00-\uFE0F\x{E0100}-\x{E01EF}]",  # a sign's look: ❤ and ❤️
  ]
)

_LONGEST = 100  # letters of a word that WordPiece reads
_SYLLABIC = (
  r"\p{Han}\p{Katakana}\p{Hiragana}ー\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
)
_SYLLABLES = "|".join(
  [
    r"\p{Han}\p{M}*",
    # With the small kana, the long vowel, the n and the stop that end it.
    r"[\p{Katakana}\p{Hiragana}ー][ぁぃぅぇぉっゃゅょゎんァィゥェォッャュョヮンー\p{M}]*",
    # A vowel written first, a consonant, those under it, marks, a vowel after.
    r"[เ-ไເ-ໄ]?[\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}&&\p{L}]"
    r"(?:[\u17D2\u1039]\p{L}|[\p{M}ะาๅະາຽ])*",
  ]
)


# Lower-case letters that share their capital with others: a title in capitals
# is to have the tokens of the same title in lower case.
_ONE_CAPITAL = {"ς": "σ", "ß": "ss", "ı": "i"}


def folding() -> normalizers.Normalizer:
  """Builds the rule that makes spellings of one word equal, and no others.

  Case, width, font and Unicode form are folded, and marks that are accents:
  those of Latin and Greek letters, stress and ё in Cyrillic, Hebrew points and
  Arabic short vowels. Marks that are letters or vowels to their readers stay,
  as in Hindi, Thai, Japanese, Russian's й and Vietnamese.
  """
  return normalizers.Sequence(
    [
      normalizers.NFKD(),
      normalizers.Replace(Regex(_OTHER_MARKS), ""),
      normalizers.Replace(Regex(_LATIN_MARKS), ""),
      normalizers.NFC(),
      normalizers.BertNormalizer(
        clean_text=True,
        handle_chinese_chars=False,
        strip_accents=False,
        lowercase=True,
      ),
      *(normalizers.Replace(*pair) for pair in _ONE_CAPITAL.items()),
    ]
  )


def cutting(
  vocabulary: Collection[str] = (),
) -> pre_tokenizers.PreTokenizer:
  """Builds the rule that cuts titles into words.

  It cuts at blanks and signs; scripts without blanks are cut into syllables: a
  Chinese character or a Japanese or Thai syllable is a word. No word is longer
  than WordPiece reads.

  Args:
    vocabulary: of WordPiece. A character that it has no token for is cut out of
      its word, because the whole word would be unknown otherwise.
  """
  first = inside = unknown = r"\S"
  if known := {token for token in vocabulary if len(token) == 1}:
    pieces = {t[2] for t in vocabulary if len(t) == 3 and t[:2] == "##"}
    first, inside = _class(known), _class(pieces)
    unknown = rf"[^\s{first}]+|\S"
  letters = rf"[^\s\p{{P}}\p{{S}}\p{{Hangul}}{_SYLLABIC}]"
  start, more = (rf"[{chars}&&{letters}]" for chars in (first, inside))
  start_hangul, more_hangul = (
    rf"[{chars}&&\p{{Hangul}}]" for chars in (first, inside)
  )
  parts = [
    # Cut twenty letters off a word that is too long: it is rubbish, and the
    # time to find a word's tokens grows with the square of its length.
    rf"{start}{more}{{19}}(?={more}{{{_LONGEST - 19}}})",
    rf"{start}{more}{{0,{_LONGEST - 1}}}",
    r"[\p{P}\p{S}]",
    _SYLLABLES,
    rf"{start_hangul}{more_hangul}{{0,{_LONGEST - 1}}}",
    unknown,
  ]
  return pre_tokenizers.Split(
    Regex("|".join(parts)), behavior="removed", invert=True
  )


def _class(characters):
  """Writes characters as ranges of a regular expression's class.

  A space is among them, which is no letter: a class must not be empty.
  """
  codes = {ord(character) for character in characters} | {ord(" ")}
  starts = sorted(code for code in codes if code - 1 not in codes)
  ends = sorted(code for code in codes if code + 1 not in codes)
  return "".join(
    rf"\x{{{start:X}}}-\x{{{end:X}}}"
    for start, end in zip(starts, ends, strict=True)
  )
