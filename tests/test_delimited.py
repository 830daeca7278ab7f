"""Laws of CSV and TSV: every line becomes part of a row, or is rejected."""

import csv
import io
import random
import re

import pytest
from catalogue_rows import read_rows
from hypothesis import given
from hypothesis import strategies as st

from item_jax.errors import UserError
from item_jax.ingest.catalogue import Catalogue
from item_jax.ingest.row import Reading, Rejected, Row

HEADER = ("listing_id", "product_id", "title", "image")


def write(tmp_path, lines, name="c.tsv", header=HEADER):
  delimiter = "\t" if name.endswith("tsv") else ","
  path = tmp_path / name
  rows = [header, *lines]
  text = "".join(f"{delimiter.join(row)}\n" for row in rows)
  path.write_bytes(text.encode())
  return path


def lines(count=9, **titles):
  """Rows l0, l1, ... ; titles by number, as l3='...'."""
  return [
    (f"l{n}", f"p{n // 2}", titles.get(f"l{n}", f"mug {n}"), f"{n}.jpg")
    for n in range(count)
  ]


def titles_of(path, **reading):
  return [row.title for row in read_rows(path, **reading)]


@pytest.mark.parametrize("name", ["c.tsv", "c.csv"])
@pytest.mark.parametrize(
  "titles",
  [
    {"l2": '"Sunny lamp 12in', "l6": 'Steel tray 10"'},
    {"l2": '"Sunny', "l3": 'lamp"'},
    {"l2": '"', "l6": '"'},
    {"l2": '"open alone'},
    {"l2": '"Best" mug'},
    {"l2": '5" nail', "l4": 'a "b" c', "l5": '"a "b'},
    {"l0": '"first', "l8": 'last"'},
    {"l1": '"a', "l2": 'b"', "l4": '"c', "l5": 'd"'},
  ],
)
def test_signs_in_a_file_that_quotes_nothing_are_signs(tmp_path, name, titles):
  path = write(tmp_path, lines(**titles), name)
  assert titles_of(path) == [titles.get(f"l{n}", f"mug {n}") for n in range(9)]
  assert Catalogue(path).describe()["quoting"] == ["line"]


def test_where_the_title_stands_does_not_matter(tmp_path):
  for header in (HEADER, HEADER[::-1], (*HEADER[:2], "image", "title")):
    order = [HEADER.index(name) for name in header]
    rows = lines(l2='"Sunny lamp', l6='tray 10"')
    moved = [tuple(row[place] for place in order) for row in rows]
    path = write(tmp_path, moved, header=header)
    assert titles_of(path)[2] == '"Sunny lamp'
    assert len(titles_of(path)) == 9


def test_a_cell_that_is_quoted_on_one_line_loses_its_quotes(tmp_path):
  rows = lines(l2='"Sunny lamp"', l3='"a ""b"" c"', l4='"open')
  # The id is the same product, quoted or not.
  rows[5] = ('"l5"', '"p2"', '"Best" mug', "5.jpg")
  path = write(tmp_path, rows)
  found = list(read_rows(path))
  assert [r.title for r in found[2:6]] == [
    "Sunny lamp",
    'a "b" c',
    '"open',
    '"Best" mug',
  ]
  assert found[5].product_id == found[4].product_id == "p2"


def as_csv(rows, **options):
  text = io.StringIO()
  csv.writer(text, **options).writerows(rows)
  return text.getvalue()


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
def test_titles_over_several_lines_of_a_csv_that_quotes(tmp_path, quoting, end):
  titles = {
    "l1": "red\nmug",
    "l2": 'a, "b",\n\n c',
    "l4": "one\ntwo\nthree, four",
    "l8": '"x\ny"',
  }
  text = as_csv([HEADER, *lines(**titles)], quoting=quoting, lineterminator=end)
  path = tmp_path / "c.csv"
  path.write_bytes(text.encode())
  expected = [titles.get(f"l{n}", f"mug {n}") for n in range(9)]
  assert titles_of(path) == [" ".join(title.split()) for title in expected]
  assert Catalogue(path).describe()["quoting"] == ["csv"]


def test_a_description_full_of_delimiters_is_a_text(tmp_path):
  body = "<p>one, two, three, four</p>\n<p>a, b</p>\n<p>, , , , ,</p>"
  rows = [(*row, body) for row in lines()]
  path = tmp_path / "c.csv"
  path.write_text(as_csv([(*HEADER, "body"), *rows]))
  assert titles_of(path) == [f"mug {n}" for n in range(9)]


UNCLEAR = {
  # One line of the field is a row by itself, and it holds a row's delimiters.
  "row inside": 'l1,p,"red\na,b,c,d\nmug",1.jpg\n',
  "a bad row between": 'l1,p,"red,1.jpg\nbad,row\nl2,p,mug",2.jpg\n',
}


@pytest.mark.parametrize("text", UNCLEAR.values(), ids=UNCLEAR)
def test_what_may_be_rows_or_a_text_is_refused_by_its_lines(tmp_path, text):
  path = tmp_path / "c.csv"
  content = ",".join(HEADER) + "\n" + 'l0,p,"a\nb",0.jpg\n' + text
  path.write_text(content)
  last = content.count("\n")
  first = 4
  with pytest.raises(UserError, match=rf"lines {first}-{last}: .*--quoting"):
    Catalogue(path)
  assert len(titles_of(path, quoting="csv")) == 2
  by_line = list(read_rows(path, quoting="line"))
  assert len(by_line) == last - 1  # each line but the header


def test_both_readings_in_one_file_are_refused(tmp_path):
  path = tmp_path / "c.csv"
  text = as_csv([HEADER, *lines(l1="red\nmug")])
  text += 'l20,p,"open,20.jpg\nl21,p,close",21.jpg\n'
  path.write_text(text)
  with pytest.raises(UserError, match="lines 12-13: "):
    Catalogue(path)


def test_one_column_over_several_lines_is_refused(tmp_path):
  path = tmp_path / "c.csv"
  path.write_text('title\nred\n"blue\nmug"\n')
  with pytest.raises(UserError, match="lines 3-4"):
    Catalogue(path)
  assert titles_of(path, quoting="csv") == ["red", "blue mug"]


def test_quoting_none_takes_every_sign(tmp_path):
  path = write(tmp_path, lines(l2='"Sunny lamp"'))
  assert titles_of(path, quoting="none")[2] == '"Sunny lamp"'
  assert titles_of(path, quoting="line")[2] == "Sunny lamp"
  with pytest.raises(UserError, match="known are auto, csv, line, none"):
    Catalogue(path, Reading(quoting="tsv"))


def test_a_field_too_few_in_quotes_is_not_cut_inside_them(tmp_path):
  path = tmp_path / "c.csv"
  path.write_text('listing_id,title,image\n"a, b",c\n')
  (bad,) = read_rows(path)
  assert bad == Rejected(1, "", "wrong number of fields: 2, the header has 3")


QUOTED = {
  "delimiters in quotes": ("title,product_id", '"Mug, red",p2', 2),
  "doubled quotes": ("title,product_id", '"Mug ""blue""",p2', 2),
  "all in quotes": ("title,product_id", '"Mug","p2"', 2),
  "one column": ("title", '"Mug ""blue"""', 1),
}


@pytest.mark.parametrize("name", QUOTED)
def test_a_file_that_quotes_by_rule_is_read_by_it(tmp_path, name):
  """Lines of the field may look like rows."""
  head, row, width = QUOTED[name]
  path = tmp_path / "c.csv"
  span = '"Red lamp, big\nwith cord",p1' if width > 1 else '"Red\nlamp"'
  path.write_text(f"{head}\n{span}\n{row}\n")
  found = list(read_rows(path))
  assert len(found) == 2
  assert found[0].title.startswith("Red lamp")
  assert Catalogue(path).describe()["quoting"] == ["csv"]


def test_a_file_with_signs_elsewhere_quotes_nothing(tmp_path):
  """A row that is too short cannot hide in the next one."""
  short = ("l20", "p", '"Sunny lamp')
  rows = [*lines(20), short, ("l21", "p", 'lamp 12"', "")]
  rows[3] = ("l3", "p1", '12" lamp', "3.jpg")
  found = list(read_rows(write(tmp_path, rows)))
  assert [type(row) for row in found[20:]] == [Rejected, Row]
  assert found[21].title == 'lamp 12"'


def test_ordinary_csv_is_read_or_refused_never_cut(tmp_path):
  """Descriptions over lines, in tables of few columns: csv is the oracle."""
  rng = random.Random(0)
  words = ["red", "lamp,", "12 cm,", '"new"', "cord\n", "plug,\n", "x"]
  refused = 0
  for case in range(120):
    width = 2 + case % 5
    rows = [[f"c{n}" for n in range(width - 1)] + ["title"]]
    for n in range(60):
      text = "".join(rng.choices(words, k=rng.randint(1, 9)))
      many = rng.random() < (0.02, 0.1, 0.5)[case % 3]
      rows.append(
        [f"a{n}"] * (width - 1) + [text if many else text.replace("\n", " ")]
      )
    path = tmp_path / "c.csv"
    path.write_text(as_csv(rows))
    try:
      (table,) = Catalogue(path).tables
    except UserError:
      refused += 1
    else:
      assert list(table.open(table.names)) == rows[1:]
  assert refused < 5


PIECE = st.sampled_from(['"', '"', ",", ",", "a", "b", " ", '""', '",', ',"'])
LINE = st.lists(PIECE, min_size=1, max_size=9).map("".join)


@given(st.lists(LINE.filter(str.strip), max_size=12))
def test_every_line_is_counted(tmp_path_factory, texts):
  """Of any file: the lines of all rows and all reasons are all its lines."""
  path = tmp_path_factory.mktemp("c") / "c.csv"
  path.write_text("title,image,body\n" + "".join(f"{t}\n" for t in texts))
  for quoting in ("auto", "csv", "line", "none"):
    try:
      (table,) = Catalogue(path, Reading(quoting=quoting)).tables
    except UserError as error:
      refused = re.search(r"lines \d+-\d+.*--quoting", str(error))
      if quoting != "auto" or not refused:
        raise
      continue
    found = list(table.open(["title", "image", "body"]))
    counted = sum(
      1 if isinstance(row, str) else 1 + sum(c.count("\n") for c in row)
      for row in found
    )
    assert counted == len(texts), quoting


@given(
  st.lists(
    st.tuples(*[st.text('a";\n é', max_size=6)] * 3), min_size=1, max_size=6
  ),
  st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
)
def test_what_a_csv_writer_wrote_is_read(tmp_path_factory, rows, quoting):
  """Python's writer is the oracle. A text without the delimiter is no row."""
  rows = [r for r in rows if any(cell.strip() for cell in r)]
  path = tmp_path_factory.mktemp("c") / "c.csv"
  text = as_csv([("title", "image", "body"), *rows], quoting=quoting)
  path.write_bytes(text.encode())
  for way in ("csv", "auto"):
    (table,) = Catalogue(path, Reading(quoting=way)).tables
    assert [tuple(r) for r in table.open(table.names)] == rows, way


# ---- How a file begins. ----

GOOD = "listing_id;title\nl1;red, green\n"


@pytest.mark.parametrize(
  "start",
  ["", "\n", "\r\n\r\n", "sep=;\n", "SEP=;\r\n", '"sep=;"\n', "\ufeff\n"],
)
def test_what_may_stand_before_a_header(tmp_path, start):
  path = tmp_path / "c.csv"
  path.write_bytes((start + GOOD).encode())
  assert titles_of(path) == ["red, green"]


@pytest.mark.parametrize(
  ("head", "delimiter"),
  [
    ("listing_id,title", ","),
    ("listing_id;title;category, main", ";"),
    ('listing_id;title;"a, b, c"', ";"),
    ("listing_id|title", "|"),
    ("listing_id\ttitle", "\t"),
    (" listing_id , title ", ","),
  ],
)
def test_the_delimiter_is_found_by_the_header(tmp_path, head, delimiter):
  path = tmp_path / "c.csv"
  width = head.count(delimiter)
  row = delimiter.join(["l1", "red", *["x"] * (width - 1)])
  path.write_text(f"{head}\n{row}\n")
  (found,) = read_rows(path)
  assert isinstance(found, Row)
  assert (found.listing_id, found.title) == ("l1", "red")


def test_a_header_may_span_lines_too(tmp_path):
  path = tmp_path / "c.csv"
  path.write_text('"title","image\na,b"\nred,x.jpg\nblue,y.jpg\n')
  assert Catalogue(path).tables[0].names == ["title", "image a,b"]
  assert titles_of(path) == ["red", "blue"]
  path.write_text('title,"open\nred,x.jpg\nblue,y.jpg\n')
  assert titles_of(path) == ["red", "blue"]
