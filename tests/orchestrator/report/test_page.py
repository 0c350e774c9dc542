"""The page of a report: what it may load, its marks, and what a reader does in a browser."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from orchestrator.report.marks import mark, marked, row_key, titled
from orchestrator.report.publishing import render, report
from tests.orchestrator.report.sweeps import LADDER, SEARCH, run

pytestmark = pytest.mark.usefixtures("real_figures")

HOSTILE = "</script><img src=x onerror=a()> \"'&"
NAME = json.dumps(HOSTILE)


class Parsed(HTMLParser):
    """Tags of a page, and the texts of its scripts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1][0] == "script" and data.strip():
            self.scripts.append(data)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A ladder whose last row has a name that a page could take for its own."""
    home = tmp_path_factory.mktemp("ladder")
    text = LADDER.replace("same & <b>", NAME)
    run(home, text, "ablation.seeds=2")
    return render(report(home, "small"), "html")


def test_only_the_page_s_own_script_may_run(page: str) -> None:
    parsed = Parsed(page)
    data, script = parsed.scripts
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    (policy,) = [
        attributes["content"] for _, attributes in parsed.tags if "http-equiv" in attributes
    ]
    assert policy is not None
    assert policy.startswith(f"default-src 'none'; script-src 'sha256-{digest}'; style-src")
    assert not {"img", "image", "link", "iframe"} & {tag for tag, _ in parsed.tags}
    assert not [
        name for _, attributes in parsed.tags for name in attributes if name.startswith("on")
    ]
    assert json.loads(data)[row_key(HOSTILE)].startswith(f"{HOSTILE}: val/SumR ")


def test_every_mark_is_of_a_row_or_a_trial_that_the_page_knows(page: str) -> None:
    parsed = Parsed(page)
    details = json.loads(parsed.scripts[0])
    keys = [attributes["data-key"] for _, attributes in parsed.tags if "data-key" in attributes]
    assert {key for key in keys if key not in details} == set()
    runs = [
        attributes["data-detail"] for _, attributes in parsed.tags if "data-detail" in attributes
    ]
    # Six runs: in the figure of rows, that of cost, and both of collapse.
    assert {key: runs.count(key) for key in runs} == {f"t{number}": 4 for number in range(6)}
    assert "<title>trial 0, baseline, seed 1: val/SumR " in page
    assert not re.findall(r"<title>[rt][0-9a-f]*</title>", page)
    assert "<g id=" not in page


def test_points_of_which_some_are_not_drawn_have_no_keys() -> None:
    class Line:
        def set_gid(self, gid: str) -> None:
            self.gid = gid

    line: Any = Line()
    mark([line], "t1", "t2")
    point = '    <use xlink:href="#a" x="1"/>\n'
    svg = f'<svg>\n  <g id="{line.gid}">\n{point}{point}  </g>\n</svg>'
    assert titled(marked(svg), {"t1": "one"}).count("data-key") == 2
    assert "<title>one</title>" in titled(marked(svg), {"t1": "one"})
    assert "data-key" not in marked(svg.replace(point, "", 1))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, page: str) -> Path:
    home = tmp_path_factory.mktemp("search")
    run(home, SEARCH)
    (home / "search.html").write_text(render(report(home, "small"), "html"), encoding="utf-8")
    (home / "ladder.html").write_text(page, encoding="utf-8")
    return home


ROWS = (
    "[...document.querySelectorAll('table.sorts')].find(t => t.tHead.textContent.includes('tau'))"
)
VALUES = f"return [...{ROWS}.tBodies[0].rows].map(row => row.cells[1].textContent)"
LIT = "return [...document.querySelectorAll('.lit')].map(one => [one.tagName, one.dataset.key])"
NAMED = "const name = document.getElementById('name'); return name.hidden ? '' : name.textContent"


def view(browser: Any, width: int, **media: str) -> None:  # noqa: ANN401
    features = [{"name": "prefers-color-scheme", "value": media.pop("scheme", "light")}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features, **media})
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def check_sorting_and_selecting(browser: Any, files: Path) -> None:  # noqa: ANN401
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    script = browser.execute_script
    view(browser, 1100)
    browser.get((files / "search.html").as_uri())
    written = script(VALUES)
    assert len(written) == 24
    assert written == sorted(written, key=float, reverse=True)
    head = script(f"return {ROWS}.tHead.rows[0].cells[1]")
    for order, wanted in (("descending", -1), ("ascending", 1), ("none", -1)):
        script("arguments[0].querySelector('button').focus()", head)
        browser.switch_to.active_element.send_keys(Keys.ENTER)
        assert head.get_attribute("aria-sort") == order
        assert script(VALUES) == sorted(written, key=lambda text: wanted * float(text))
    shown = f"return [...{ROWS}.tBodies[0].rows].filter(row => row.offsetHeight).length"
    assert script(shown) == 10
    script("document.querySelector('.unfold').click()")
    assert script(shown) == 24
    # A row by the keyboard: best so far, three slices, all parameters, cost, collapse twice.
    script(f"{ROWS}.tBodies[0].rows[2].cells[0].querySelector('button').focus()")
    browser.switch_to.active_element.send_keys(Keys.ENTER)
    key = script(f"return {ROWS}.tBodies[0].rows[2].dataset.key")
    lit = script(LIT)
    assert {each[1] for each in lit} == {key}
    assert sorted(each[0] for each in lit) == ["TR", "g", *["use"] * 7]
    assert f"trial {key[1:]}, seed " in script(
        "return document.getElementById('selected').innerText"
    )
    ActionChains(browser).send_keys(Keys.ESCAPE).perform()
    assert script(LIT) == []
    point = script("return document.querySelectorAll('svg use[data-key]')[5]")
    script("arguments[0].scrollIntoView({block: 'center'})", point)
    ActionChains(browser).move_to_element(point).perform()
    name = script(NAMED).splitlines()
    assert name[0].startswith("trial 5, seed ")
    assert [line.split()[0] for line in name[1:]][:2] == ["losses.tau", "losses.margin"]
    ActionChains(browser).click(point).perform()
    assert ["TR", "t5"] in script(LIT)
    assert browser.get_log("browser") == []


def check_curves_and_names(browser: Any, files: Path) -> None:  # noqa: ANN401
    script = browser.execute_script
    view(browser, 1100)
    browser.get((files / "ladder.html").as_uri())
    key = row_key(HOSTILE)
    script(
        f"document.querySelector('svg g[data-key={key}] .reach')"
        ".dispatchEvent(new MouseEvent('click', {bubbles: true}))"
    )
    rows = [each for each in script(LIT) if each[0] == "TR"]
    # Recalls, two branches, two differences, cost and collapse.
    assert rows == [["TR", key]] * 7
    assert HOSTILE in script("return document.getElementById('selected').innerText")
    assert script("return document.querySelectorAll('img').length") == 0
    assert browser.get_log("browser") == []


def check_no_script_paper_and_phone(browser: Any, files: Path) -> None:  # noqa: ANN401
    script = browser.execute_script
    background = "return getComputedStyle(document.body).backgroundColor"
    for width, scheme, colour in (
        (390, "light", "rgb(255, 255, 255)"),
        (1100, "dark", "rgb(13, 17, 23)"),
    ):
        view(browser, width, scheme=scheme)
        browser.get((files / "search.html").as_uri())
        assert script(background) == colour
        assert script("return document.documentElement.scrollWidth <= innerWidth")
    view(browser, 1100, scheme="dark", media="print")
    assert script(background) == "rgb(255, 255, 255)"
    rows = f"return [...{ROWS}.tBodies[0].rows].filter(row => row.offsetHeight).length"
    assert script(rows) == 24
    printed = browser.execute_cdp_cmd("Page.printToPDF", {"preferCSSPageSize": True})
    assert base64.b64decode(printed["data"]).startswith(b"%PDF-")
    view(browser, 1100)
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        browser.get((files / "search.html").as_uri())
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    assert script("return document.querySelectorAll('button').length") == 0
    assert script(rows) == 24
    titles = script("return [...document.querySelectorAll('svg title')].map(t => t.textContent)")
    assert len(titles) > 24 * 6
    assert all(title.startswith("trial ") for title in titles)


@pytest.mark.soak
def test_in_a_browser(browser: Any, files: Path) -> None:  # noqa: ANN401
    check_sorting_and_selecting(browser, files)
    check_curves_and_names(browser, files)
    check_no_script_paper_and_phone(browser, files)
