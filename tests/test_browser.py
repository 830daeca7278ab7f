"""What the pages do in a browser: images load, filters and keys work.

Debian's packages chromium and chromium-driver, which `launch/test.sh` installs
where it may.
"""

import shutil
import threading
from functools import partial

import numpy as np
import pytest
import untrained
from exports import write_export
from pages import COUNT, HOSTILE, listings, named, store
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

import item_jax
from item_jax.data.records import open_dataset
from item_jax.inference import query as query_lib
from item_jax.inference.export import export
from item_jax.inference.query_server import open_server

CHROMIUM, DRIVER = map(shutil.which, ("chromium", "chromedriver"))
pytestmark = pytest.mark.skipif(
  not (CHROMIUM and DRIVER),
  reason="needs Debian's packages chromium and chromium-driver",
)
SECONDS = 60  # an answer takes, at most


@pytest.fixture(scope="module")
def browser():
  options = webdriver.ChromeOptions()
  options.binary_location = str(CHROMIUM)
  for flag in ("headless=new", "no-sandbox", "disable-dev-shm-usage"):
    options.add_argument(f"--{flag}")
  options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
  service = webdriver.ChromeService(DRIVER)
  with webdriver.Chrome(options, service) as browser:
    yield browser


def find(browser, selector):
  return browser.find_elements(By.CSS_SELECTOR, selector)


def one(browser, selector):
  (found,) = find(browser, selector)
  return found


def wait(browser, truth):
  return WebDriverWait(browser, SECONDS).until(lambda _: truth())


def complaints(browser) -> list[str]:
  """What the console says of errors since the last time it was asked."""
  log = browser.get_log("browser")
  said = [line["message"] for line in log if line["level"] == "SEVERE"]
  return [each for each in said if "favicon.ico" not in each]


@pytest.fixture(scope="module")
def page(browser, tmp_path_factory):
  """The page of a report by "both", which knows products, and by "wrong"."""
  folder = tmp_path_factory.mktemp("page")
  data, rows = store(folder / "data", listings()), named(listings())
  vectors = {
    "both": np.eye(10)[np.arange(COUNT) // 3],
    "wrong": np.eye(10)[np.arange(COUNT) % 3],
  }
  exports = {
    name: write_export(folder / name, some, rows)
    for name, some in vectors.items()
  }
  report = item_jax.report(data, "test", exports, bootstrap=20)
  (folder / "page.html").write_text(report.to_page(examples=12), "utf-8")
  return (folder / "page.html").as_uri()


@pytest.fixture
def report(browser, page):
  browser.get(page)
  return browser


def shown(report):
  return [each for each in find(report, ".example") if each.is_displayed()]


def test_a_report_fetches_nothing_and_shows_images_and_titles_as_text(report):
  wait(report, lambda: shown(report))
  assert complaints(report) == []
  fetched = report.execute_script(
    "return performance.getEntriesByType('resource').map((x) => x.name)"
  )
  assert [name for name in fetched if not name.startswith("data:")] == []
  image = find(report, ".example .query .thumb[role=img]")[0]
  address = image.value_of_css_property("background-image")
  size = report.execute_async_script(
    "const done = arguments[1], image = new Image();"
    "image.onload = () => done([image.naturalWidth, image.naturalHeight]);"
    "image.onerror = () => done(null);"
    "image.src = arguments[0].slice(5, -2);",
    address,
  )
  assert size
  assert min(size) > 10
  field = one(report, "[name=id]")
  field.send_keys("l00")
  headings = [each.text for each in find(report, "h3") if each.is_displayed()]
  assert HOSTILE in headings


def test_words_without_an_end_make_no_page_wider(browser, tmp_path):
  rows = [
    row._replace(
      listing_id=row.listing_id + "i" * 500,
      title="t" * 3000,
      category="c" * 500,
    )
    for row in listings()
  ]
  data = store(tmp_path / "data", rows)
  mine = write_export(
    tmp_path / "mine", np.eye(10)[np.arange(COUNT) // 3], named(rows)
  )
  found = item_jax.report(data, "test", {"mine": mine}, bootstrap=20)
  (tmp_path / "page.html").write_text(found.to_page(examples=12), "utf-8")
  browser.get((tmp_path / "page.html").as_uri())
  wait(browser, lambda: shown(browser))
  wide, window = browser.execute_script(
    "return [document.documentElement.scrollWidth, innerWidth]"
  )
  assert wide <= window


def test_filters_leave_what_they_name(report):
  everything = shown(report)

  def choose(name, value) -> None:
    for option in find(report, f"[name={name}] option"):
      if option.get_attribute("value") == value:
        return option.click()
    raise AssertionError(f"{name} has no {value!r}")

  def leaves(expected) -> None:
    wait(report, lambda: shown(report) == expected)
    count = f"{len(expected)} of {len(everything)} queries shown"
    assert one(report, "#count").text == count

  def of(category):
    return [
      each
      for each in everything
      if each.get_attribute("data-category") == category
    ]

  leaves(everything)
  for category in ("hats", "home > <b>mugs</b>"):
    assert 0 < len(of(category)) < len(everything)
    choose("category", category)
    leaves(of(category))
  one(report, "[type=reset]").click()
  leaves(everything)
  failed = [
    each for each in everything if "wrong" in each.get_attribute("data-failed")
  ]
  assert 0 < len(failed) < len(everything)
  choose("failed", "wrong")
  leaves(failed)
  choose("failed", " none")
  leaves([each for each in everything if each not in failed])


def test_keys_go_through_what_is_shown_and_search_by_id(report):
  body = one(report, "body")
  active = partial(report.execute_script, "return document.activeElement")
  body.send_keys("j")
  assert active() == shown(report)[0]
  active().send_keys("j")
  assert active() == shown(report)[1]
  active().send_keys("k")
  assert active() == shown(report)[0]
  active().send_keys("/")
  assert active() == one(report, "[name=id]")
  asked = {each.get_attribute("data-row") for each in find(report, ".example")}
  rest = next(row for row in range(2, COUNT) if str(row) not in asked)
  active().send_keys(f"l{rest:02d}")
  titles = [each.text for each in find(report, "#others article > h3")]
  assert titles == [f"title {rest}"]
  active().send_keys(Keys.ESCAPE)
  assert active() == body


@pytest.fixture(scope="module")
def asked(browser, tiny_data, tmp_path_factory):
  """The page to ask, of an untrained model; the server's own arrays."""
  folder = tmp_path_factory.mktemp("asked")
  workdir = untrained.write(folder / "run", tiny_data)
  made = export(workdir, data=tiny_data, split="test", out=folder / "E")
  query = query_lib.open_query(workdir, made, data=tiny_data)
  with open_server(query, port=0) as server:
    threading.Thread(target=server.serve_forever).start()
    browser.get(f"http://127.0.0.1:{server.server_port}/")
    yield browser, made
    server.shutdown()


def test_a_page_is_asked_by_title_by_image_and_by_a_slider(
  asked, tiny_data, tmp_path
):
  browser, made = asked
  source = open_dataset(tiny_data).source("test")
  row = next(row for row in range(len(source)) if source[row].image)
  picture = tmp_path / "picture.jpg"
  picture.write_bytes(source[row].image)

  def found(*sides):
    """The ids of an answer to these sides."""

    def answered():
      # All at once: the next answer may take the place of this one.
      items = browser.execute_script(
        "return [...document.querySelectorAll('ol li')].map("
        "(x) => [x.querySelector('.soft').innerText, x.innerText])"
      )
      return items and all(x in items[0][0] for x in sides) and items

    items = wait(browser, answered)
    return [text.splitlines()[-1].split(" ")[0] for _, text in items]

  slider = one(browser, "[name=weight]")
  one(browser, "[name=title]").send_keys(source[row].title)
  by_title = found("title")
  assert not slider.is_enabled()
  one(browser, "[name=image]").send_keys(str(picture))
  found("title", "image")
  assert slider.is_enabled()
  slider.send_keys(Keys.HOME)  # the title alone again
  wait(browser, lambda: found("title", "image") == by_title)
  slider.send_keys(Keys.END)
  model = item_jax.load(made.path.parent / "run", like=made.path)
  cosine_N = made.vectors @ model.embed(images=[source[row].image])[0]
  best = made.items.ids[int(np.argmax(cosine_N))]
  wait(browser, lambda: found("title", "image")[0] == best)
  assert one(browser, "output").text == "1.00"
  wait(
    browser,
    lambda: browser.execute_script(
      "const images = [...document.querySelectorAll('li img')].slice(0, 3);"
      "return images.length && images.every((x) => x.naturalWidth > 0)"
    ),
  )
  assert complaints(browser) == []
