"""label_issues.html in a real browser: keys, filter, what a reload keeps, the download, hostile texts, many issues."""

import json
import re
import shutil
import time
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from common.label_issues.page import write_review_page
from common.label_issues.review import COLUMNS, Review
from common.reading.corrections import apply_corrections, read_corrections
from tests.label_issues.hand_made_issues import CLASSES, HOSTILE, words

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --window-size=1280,900"
)
HINT = "apt-get install chromium chromium-driver; pip install -r requirements-dev.txt"
SAVED = "Saved corrections.csv: {} rows. The browser calls a second one corrections (1).csv: use the newest."
IDS = ["a1", "=1+1", "'c3", "-d4", "e,5", 'f"6', "g7", "h8"]


def make_review(ids, texts=None, issues=None):
    """Issues in rank order; the given class is that of the row's number, the suggested one the next."""
    count = len(ids)
    given = np.arange(count) % 3
    probabilities = np.full((count, 3), 0.1)
    probabilities[np.arange(count), (given + 1) % 3] = 0.8
    table = pd.DataFrame(
        {
            "rank": np.arange(1, count + 1),
            "id": ids,
            "given_label": [CLASSES[k] for k in given],
            "suggested_label": [CLASSES[(k + 1) % 3] for k in given],
            "label_quality": 0.1,
            "given_probability": 0.1,
            "suggested_probability": 0.8,
            "issue": issues or ["label"] * count,
            "text": texts or [f"Text {number}: {words(number)}" for number in range(count)],
        }
    )
    assert tuple(table.columns) == COLUMNS
    return Review(table, probabilities, [[] for _ in ids], CLASSES)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    webdriver = pytest.importorskip("selenium.webdriver", reason=f"selenium is not installed: {HINT}")
    if not CHROMIUM or not DRIVER:
        pytest.skip(f"{'chromium' if not CHROMIUM else 'chromedriver'} is not installed: {HINT}")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    profile, downloads = tmp_path_factory.mktemp("profile"), tmp_path_factory.mktemp("downloads")
    for flag in [*FLAGS.split(), f"--user-data-dir={profile}"]:
        options.add_argument(flag)
    options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    driver.downloads = downloads
    yield driver
    driver.quit()


class Page:
    """The page as a person sees it."""

    def __init__(self, browser, path):
        self.browser = browser
        browser.get(path.as_uri())

    def press(self, *keys):
        from selenium.webdriver import ActionChains

        for key in keys:  # to whatever has the focus, as a keyboard does
            ActionChains(self.browser).send_keys(key).perform()

    def text(self, element):
        return self.browser.execute_script("return document.getElementById(arguments[0]).innerText", element).strip()

    def run(self, script, *arguments):
        return self.browser.execute_script(script, *arguments)

    def choose(self, element, value):
        self.run(
            "const input = document.getElementById(arguments[0]); input.value = arguments[1];"
            "input.dispatchEvent(new Event('input'))",
            element,
            value,
        )

    @property
    def current(self):
        return self.text("heading").rsplit(", id ", 1)[1]

    @property
    def shown(self):
        return self.run("return [...document.querySelectorAll('#list .rank')].map((rank) => Number(rank.textContent))")

    def download(self):
        path = self.browser.downloads / "corrections.csv"
        path.unlink(missing_ok=True)
        self.press("d")
        deadline = time.monotonic() + 10
        while not path.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        return path


@pytest.fixture
def page(browser, tmp_path):
    issues = ["label", "label", "label duplicate_other_label", "label", "label", "outlier", "label", "label"]
    path = tmp_path / "label_issues.html"
    write_review_page(path, make_review(IDS, issues=issues), f"{tmp_path.name} <b>")
    opened = Page(browser, path)
    yield opened
    opened.run("localStorage.clear()")  # equal data have an equal key
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []


def test_keys_decide_and_the_download_feeds_apply_corrections(page, tmp_path):
    assert page.current == "a1"
    page.press("k")
    assert page.current == "=1+1" and page.text("progress-text") == "1 of 8 decided"
    page.press("a", "x", "c", "3", "a", "u", "x", "n")  # "c", "3": the third likeliest class; the undone one excluded
    assert page.current == "g7"
    page.press("p", "p")
    assert page.current == "e,5" and page.text("decision") == "✕ excluded"
    page.press("k")  # changed one's mind
    assert page.text("decision") == "not decided yet" and page.current == 'f"6'

    path = page.download()
    table = read_corrections(path)
    third = page.run("return byProbability(issues[3])[2]")
    assert table.values.tolist() == [
        ["a1", CLASSES[0], "", "keep"],
        ["=1+1", CLASSES[1], CLASSES[2], "relabel"],
        ["'c3", CLASSES[2], "", "exclude"],
        ["-d4", CLASSES[0], CLASSES[third], "relabel"] if third else ["-d4", CLASSES[0], "", "keep"],
        ["e,5", CLASSES[1], "", "keep"],
    ]
    raw = path.read_text(encoding="utf-8")
    assert raw.startswith("id,given_label,new_label,action\n") and "\n'=1+1,Kultur,Sport,relabel\n" in raw

    frame = pd.DataFrame({"id": IDS, "text": "x", "label": [CLASSES[number % 3] for number in range(8)]})
    corrected, counts = apply_corrections(frame, path, CLASSES)
    assert counts == {"rows": 5, "kept": 2 + (third == 0), "relabelled": 1 + (third != 0), "excluded": 1}
    assert corrected["id"].tolist() == [row_id for row_id in IDS if row_id != "'c3"]
    assert corrected["label"][1] == CLASSES[2]


def test_a_reload_keeps_decisions_and_undo(page, browser):
    page.press("k", "x", "a")
    browser.refresh()
    assert page.text("progress-text") == "3 of 8 decided" and page.current == "-d4"
    page.press("u")
    assert page.text("progress-text") == "2 of 8 decided" and page.current == "'c3"
    page.press("u", "u", "u")
    assert page.text("progress-text") == "0 of 8 decided" and page.current == "a1"


def test_two_tabs_share_the_decisions(page, browser):
    page.press("n", "n")
    first = browser.current_window_handle
    url = browser.current_url
    browser.switch_to.new_window("tab")
    browser.get(url)
    page.press("x", "p")
    browser.close()
    browser.switch_to.window(first)
    assert page.current == "'c3" and page.text("decision") == "✕ excluded", "this tab stays where it is"
    page.press("u")
    assert page.text("progress-text") == "0 of 8 decided"


def test_decisions_belong_to_the_data(page, browser, tmp_path):
    page.press("k", "k")
    other = tmp_path / "other.html"
    write_review_page(other, make_review([*IDS[:-1], "h9"]), "other")
    assert Page(browser, other).text("progress-text") == "0 of 8 decided"
    same = tmp_path / "same.html"
    issues = ["label", "label", "label duplicate_other_label", "label", "label", "outlier", "label", "label"]
    write_review_page(same, make_review(IDS, issues=issues), "renamed")
    assert Page(browser, same).text("progress-text") == "2 of 8 decided"


def test_a_second_round_carries_the_earlier_decisions_on(browser, tmp_path):
    earlier = [
        ["a1", CLASSES[0], "", "keep"],
        ["gone", CLASSES[1], CLASSES[0], "relabel"],  # no longer an issue
        ["'c3", CLASSES[2], CLASSES[1], "relabel"],
        ["=gone", CLASSES[1], "", "exclude"],
    ]
    path = tmp_path / "label_issues.html"
    frame = pd.DataFrame(earlier, columns=["id", "given_label", "new_label", "action"])
    write_review_page(path, make_review(IDS), tmp_path.name, earlier=frame)
    opened = Page(browser, path)
    assert opened.text("progress-text") == "2 of 8 decided" and opened.current == "=1+1", "the first that is open"
    opened.press("x", "p", "k")  # and a mind changed about 'c3
    assert sorted(read_corrections(opened.download()).values.tolist()) == sorted(
        [earlier[0], earlier[1], ["'c3", CLASSES[2], "", "keep"], earlier[3], ["=1+1", CLASSES[1], "", "exclude"]]
    )
    assert opened.text("status") == SAVED.format(5)
    browser.refresh()
    assert opened.text("progress-text") == "3 of 8 decided"
    opened.run("localStorage.clear()")


def test_filter_and_search(page):
    assert page.shown == [1, 2, 3, 4, 5, 6, 7, 8] and page.text("shown") == "8 of 8 shown"
    page.choose("pair", "1,2")
    assert page.shown == [2, 5, 8] and page.current == "=1+1" and page.text("shown") == "3 of 8 shown"
    page.press("x")
    assert page.current == "e,5"
    page.choose("state", "undecided")
    assert page.shown == [5, 8]
    page.choose("pair", "")
    page.choose("state", "exclude")
    assert page.shown == [2]
    page.choose("state", "")
    page.choose("kind", "outlier")
    assert page.shown == [6]
    page.choose("kind", "")
    page.run("document.getElementById('kind').focus()")
    changed = "document.getElementById('kind').dispatchEvent(new Event(arguments[0]))"
    page.run(changed, "change")
    assert page.run("return document.activeElement.id") == "kind", "chosen with the keyboard: it stays there"
    page.run(changed, "pointerdown")
    page.run(changed, "change")
    assert page.run("return document.activeElement.id") == "list", "chosen with the mouse: keys decide again"
    page.press("/")
    page.press(*"TEXT 6:")  # letters that decide elsewhere are typed here
    assert page.shown == [7] and page.text("progress-text") == "1 of 8 decided"
    page.press("\ue00c")  # Esc
    assert len(page.shown) == 8
    page.press("/", *"nirgends")
    assert page.shown == [] and page.text("empty") and page.run("return document.getElementById('keep').disabled")
    page.press("\ue007", "k")  # Enter leaves the search; nothing to decide on
    assert page.text("progress-text") == "1 of 8 decided"


def test_the_keyboard_alone(page, browser):
    page.press("?")
    assert page.run("return document.getElementById('help').open") and "exclude the row" in page.text("help")
    page.press("k", "\ue00c")
    assert not page.run("return document.getElementById('help').open")
    assert page.text("progress-text") == "0 of 8 decided", "keys do nothing under a dialog"
    page.press("c")
    assert page.run("return document.activeElement.closest('dialog').id") == "choose-dialog"
    page.press("\ue00c")
    page.run("document.getElementById('list').focus()")
    page.press("\ue015", "\ue015")  # arrow down
    assert page.current == "'c3"
    active = page.run("return document.getElementById('list').getAttribute('aria-activedescendant')")
    assert page.run("return document.getElementById(arguments[0]).getAttribute('aria-selected')", active) == "true"
    page.press("\ue010")  # End
    assert page.current == "h8"
    focused = []
    browser.refresh()  # from the top again
    for _ in range(20):
        page.press("\ue004")  # Tab
        focused.append(page.run("return document.activeElement.id"))
    order = ["help-button", "pair", "kind", "state", "search", "list", "detail", "keep", "accept", "choose", "exclude"]
    assert [name for name in focused if name in order][: len(order)] == order
    page.run("document.getElementById('list').focus()")
    for repeat in (False, True, True):
        held = {"type": "keyDown", "key": "k", "text": "k", "autoRepeat": repeat}
        browser.execute_cdp_cmd("Input.dispatchKeyEvent", held)
    assert page.text("progress-text") == "1 of 8 decided", "a key that is held down decides once"
    page.press("u")
    page.run("document.getElementById('keys-on').click()")  # single keys can be turned off, as WCAG 2.1.4 asks
    page.run("document.getElementById('list').focus()")
    page.press("k")
    assert page.text("progress-text") == "0 of 8 decided"


def test_on_a_phone(page, browser):
    phone = {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", phone)
    try:
        browser.refresh()
        assert not page.run("return document.getElementById('filters').open")
        browser.find_element("css selector", "summary").click()
        assert page.run("return document.getElementById('filters').open")
        assert page.run("return document.documentElement.scrollWidth") <= 360, "scrolls sideways"
        page.run("window.scrollTo(0, 1e6)")
        bottom = page.run("return document.querySelector('footer').getBoundingClientRect().bottom")
        assert 700 < bottom <= 740, "the buttons are always at hand"
        browser.find_element("id", "accept").click()
        assert page.text("progress-text") == "1 of 8 decided"
        assert page.run("return document.getElementById('heading').getBoundingClientRect().top >= 0"), "from its top"
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_hostile_texts_show_as_text(browser, tmp_path):
    path = tmp_path / "label_issues.html"
    texts = [HOSTILE, "<!-- <script>", "\u202ertl \u0627\u0644\u0639", "{{script}} {{data}} ]]> \\u003c &lt;"]
    review = make_review(["<img src=x onerror=alert(1)>", "&amp;", "'; alert(1)//", "4"], texts=texts)
    write_review_page(path, review, "</title><script>alert(2)</script>")
    opened = Page(browser, path)
    for text, row_id in zip(texts, review.table["id"], strict=True):
        assert opened.run("return document.getElementById('text').textContent") == text
        assert opened.current == row_id
        opened.press("n")
    assert browser.title == "Label issues: </title><script>alert(2)</script>"
    assert opened.run("return document.scripts.length") == 2
    assert opened.run("return document.querySelectorAll('#text *, #heading script, #list img').length") == 0


def test_no_network_and_nothing_but_the_own_script(page, browser, tmp_path):
    browser.get_log("performance")  # up to now, the browser's own start page
    browser.refresh()
    page.press("n", "k")
    requests = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    urls = [r["params"]["request"]["url"] for r in requests if r["method"] == "Network.requestWillBeSent"]
    assert [url for url in urls if not url.startswith(("file:", "data:", "blob:"))] == []
    html = (tmp_path / "label_issues.html").read_text(encoding="utf-8")
    assert re.findall(r"""(?:src|href|action)=["'](?!data:,)""", html) == []
    page.run("const s = document.createElement('script'); s.textContent = 'window.ran = 1'; document.body.append(s)")
    assert page.run("return window.ran") is None, "the policy lets an injected script run"
    browser.get_log("browser")  # the refusal that was just provoked


def test_what_ends_a_task_is_seen(page):
    seen = "return !document.getElementById('status').classList.contains('quiet')"
    page.press("k")
    assert not page.run(seen), "a single decision is only read out"
    page.press(*"kkkkkkk")
    assert page.run(seen) and page.text("status") == "All 8 issues are decided. Download corrections.csv."
    page.download()
    assert page.run(seen) and page.text("status") == SAVED.format(8)


def test_near_duplicates_stand_beside_and_the_help_has_the_command(browser, tmp_path):
    review = make_review(IDS)
    copies = [[("id x7 (Sport, test.csv)", "Fast derselbe <b>Text</b>")], *([] for _ in IDS[1:])]
    path = tmp_path / "label_issues.html"
    command = "python train.py --model m --data 'my data' --text-column Betreff,Text --corrections corrections.csv"
    write_review_page(path, replace(review, duplicates=copies), "title", command)
    opened = Page(browser, path)
    text = opened.text("duplicates")
    assert "id x7 (Sport, test.csv)" in text and "Fast derselbe <b>Text</b>" in text
    opened.press("n")
    assert opened.run("return document.getElementById('duplicates').hidden")
    opened.press("?")
    assert opened.text("command") == command


def test_german_by_the_browsers_language(browser, tmp_path):
    path = tmp_path / "label_issues.html"
    review = make_review(IDS)
    write_review_page(path, replace(review, notes=[["Broken text: fewer than 3 words."]] * len(IDS)), "title")
    agent = browser.execute_script("return navigator.userAgent")
    override = "Emulation.setUserAgentOverride"
    browser.execute_cdp_cmd(override, {"userAgent": agent, "acceptLanguage": "de-AT"})
    try:
        opened = Page(browser, path)
        assert opened.run("return document.documentElement.lang") == "de"
        assert opened.text("keep").startswith("Behalten") and opened.text("progress-text") == "0 von 8 entschieden"
        assert opened.text("notes") == "Kaputter Text: weniger als 3 Wörter."
        words = opened.run("return document.body.innerText")
        for english in ("Keep", "Accept", "Search", "Issue", "shown", "suggested", "given", "Download", "probably"):
            assert english not in words
        opened.press("k")
        assert "✓ behalten" in opened.run("return document.getElementById('list').innerText")
    finally:
        opened.run("localStorage.clear()")
        browser.execute_cdp_cmd(override, {"userAgent": agent, "acceptLanguage": "en-US"})


def test_five_thousand_issues_open_and_filter_within_a_second(browser, tmp_path):
    count = 5000
    texts = [f"Artikel {number} " + words(number % 50, 200) for number in range(count)]
    path = tmp_path / "label_issues.html"
    write_review_page(path, make_review([str(number) for number in range(count)], texts=texts), "many")
    opened = Page(browser, path)
    assert opened.run("return performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd") < 1000
    assert len(opened.shown) == 50, "only a page of the list is drawn"
    took = opened.run(
        "const start = performance.now(); document.getElementById('search').value = 'artikel 4321';"
        "document.getElementById('search').dispatchEvent(new Event('input'));"
        "document.body.offsetHeight; return performance.now() - start"
    )
    assert opened.shown == [4322] and took < 1000
    opened.choose("search", "")
    opened.run("document.getElementById('list').focus()")
    opened.press("\ue010")  # End
    assert opened.current == "4999" and opened.text("page") == "4,951–5,000 of 5,000"
    start = time.monotonic()
    opened.press("x")
    assert time.monotonic() - start < 10 and opened.text("progress-text") == "1 of 5,000 decided"
