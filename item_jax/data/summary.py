"""Describes a data set to people, by what its catalogue.json holds."""

from typing import Any

AS_WRITTEN = "as written"  # how an image was found whose name needed no change
# Real catalogues of Latin script have less than a tenth of these. Above them is
# a script, or a form of words, that the tokenizer does not know.
UNKNOWN_LIMIT = 0.05  # of the titles have an unknown token
ALIKE_LIMIT = 0.01  # of the titles cannot be told from a different one


def summarize(found: dict[str, Any]) -> str:
  """Describes what catalogue.json holds, in lines for people."""
  rows, products = found["rows"], found["products"]
  listings, tokens = found["listings_per_product"], found["title_tokens"]
  categories = found["categories"]
  several, leaks = found["under_several_products"], found["in_several_splits"]
  rejected = dict(found["rejected"])
  lines = [
    f"rows        {found['read']:,} read, {rows['all']:,} stored,"
    f" {rejected.pop('all'):,} rejected",
    *([list_reasons(rejected)] if rejected else []),
    *_describe_reading(found["reading"]),
    *(
      f"  {split:9} {rows[split]:,} rows of {products[split]:,} products;"
      f" missing: {found['missing_image'][split]:,} images,"
      f" {found['missing_title'][split]:,} titles"
      for split in rows
      if split != "all"
    ),
    *(
      f"warning     no row is in split {split}, {use}"
      for split, use in _USES.items()
      if not rows.get(split)
    ),
    f"products    {products['all']:,},"
    f" {listings['products_with_several']:,} with several listings"
    f" (mean {listings['mean']:.2f}, median {listings['p50']},"
    f" at most {listings['max']})",
    f"categories  {categories['leaves']:,} leaves under"
    f" {categories['top_level']:,} at the top;"
    f" {categories['rows_without']:,} rows without",
    f"vocabulary  {found['vocabulary']['size']:,} tokens",
  ]
  if "mean" in tokens:
    lines.append(
      f"titles      {tokens['mean']:.1f} tokens (median {tokens['p50']},"
      f" 99 % up to {tokens['p99']}, at most {tokens['max']});"
      f" {tokens['cut_share']:.2%} cut at {tokens['places']} positions"
    )
    lines += token_lines(tokens)
  lines += [
    *_image_lines(found),
    f"shared      {several['photos']['distinct']:,} images and"
    f" {several['titles']['distinct']:,} titles under several products",
    f"leakage     {leaks['products']['distinct']:,} products,"
    f" {leaks['photos']['distinct']:,} images,"
    f" {leaks['titles']['distinct']:,} titles in several splits",
  ]
  return "\n".join(lines)


_USES = {
  "train": "which training reads",
  "val": "by which training chooses (--config.data.val_split names another)",
  "test": "which export takes unless --split names another",
}
_QUOTING = {
  "csv": "fields in quotes may span lines (--quoting=csv)",
  "line": "quotes count where a field begins and ends with one on a line"
  " (--quoting=line)",
  "none": "quotes are signs like any other (--quoting=none)",
}
_WORDS = 5  # named of a column


def _describe_reading(how):
  """Describes how the table was read, where that was not certain."""
  lines = [f"source      {how['told_by']}"] if how["told_by"] else []
  lines += [
    f"merged      {count:,} rows: {why}" for why, count in how["merged"].items()
  ]
  lines += [f"quotes      {_QUOTING[way]}" for way in how["quoting"]]
  lines += [f"warning     {absent}" for absent in how["absent"]]
  lines += describe_missing(how["missing"])
  if named := how.get("file_splits"):  # absent from data of version 0.1
    lines.append(
      f"splits      by the names of files or folders: {', '.join(named)}"
    )
  if how["followed_split"]:
    lines.append(
      f"splits      {how['followed_split']:,} rows without one got that of"
      " their product's other rows"
    )
  if how.get("kept_split"):  # absent from data of version 0.1
    lines.append(
      f"splits      {how['kept_split']:,} rows got the split that their product"
      " has in the data set of --split_of"
    )
  label = "noted" if how["told_by"] else "warning"
  lines += [
    f"{label:11} {count:,} {what}" for what, count in how["notes"].items()
  ]
  if how["notes"] and not how["told_by"]:
    lines.append(
      "            (is it a shop's export? --source=NAME names the shop system)"
    )
  return lines


def describe_missing(found: dict[str, dict[str, int]]) -> list[str]:
  """Lists the words that were read as missing, a line a column."""
  lines = []
  for column, words in found.items():
    named = [f"{word!r} in {n:,} rows" for word, n in words.items()]
    more = len(named) - _WORDS
    lines.append(
      f"missing     {column}: {', '.join(named[:_WORDS])}"
      + (f" and {more:,} more words" if more > 0 else "")
      + " read as missing (--missing names the words)"
    )
  return lines


def token_lines(tokens: dict[str, Any]) -> list[str]:
  """Describes how the tokenizer reads titles; warns of what it cannot read."""
  unknown = tokens["titles_with_unknown_share"]
  alike = tokens["titles_as_another_share"]
  lines = [
    f"            {tokens['unknown_share']:.2%} of the tokens are unknown, in"
    f" {unknown:.2%} of the titles; {alike:.2%} have the tokens of a different"
    " title"
  ]
  if unknown > UNKNOWN_LIMIT:
    lines.append(
      f"warning     {unknown:.2%} of the titles hold what the tokenizer does"
      f" not know (more than {UNKNOWN_LIMIT:.0%}): it was made for, or trained"
      " on, other titles"
    )
  if alike > ALIKE_LIMIT:
    lines.append(
      f"warning     {alike:.2%} of the titles have the same tokens as a"
      f" different title (more than {ALIKE_LIMIT:.0%}): no model can tell them"
      " apart by title"
    )
  return lines


def list_reasons(reasons: dict[str, int]) -> str:
  """Lists the reasons for rejected rows, a line each."""
  return "\n".join(f"  {count:9,}  {kind}" for kind, count in reasons.items())


def _image_lines(found):
  """Lists placeholders, and images that were not found by their names."""
  names = found["image_names"]
  others = [f"{n:,} {how}" for how, n in names.items() if how != AS_WRITTEN]
  if others:
    yield f"image names {', '.join(others)}"
  for same in found["placeholders"]:
    named = f", {same['image']}" if same["image"] else ""
    some = ", ".join(same["listing_ids"][:3])
    yield (
      f"placeholder {same['products']:,} products have one image{named}:"
      f" {same['listings']:,} listings, among them {some}"
    )
