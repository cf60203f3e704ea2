"""Pages in a real browser, headless Chromium, which `bash tools/browser` installs: opened from files, and used."""

import base64
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.view.page_programs import PROGRAMS, write_pages

BROWSER, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(not (BROWSER and DRIVER), reason="no Chromium is installed: bash tools/browser")
SECTIONS = {
    "gru": {"decisions", "convergence", "equations", "solves", "certificates", "compilation", "code", "text"},
    "made": {"decisions", "convergence", "equations", "solves", "certificates", "compilation", "code", "text"},
    "densenet121": {"equations", "structure", "compilation", "notes", "text"},
    "pixelcnn": {"decisions", "convergence", "equations", "solves", "certificates", "compilation", "code", "text"},
    "left_alone": {"equations", "compilation", "text"},
}


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return write_pages(tmp_path_factory.mktemp("pages"))


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    webdriver = pytest.importorskip("selenium.webdriver", reason="the extra `test` installs selenium, which drives it")
    options = webdriver.ChromeOptions()
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--force-device-scale-factor=1"):
        options.add_argument(argument)
    options.binary_location = BROWSER
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


def opened(browser: Any, path: Path, wide: int = 1400, scheme: str = "light") -> None:
    """Show a page, `wide` pixels across, and forget what was logged before."""
    media = [{"name": "prefers-color-scheme", "value": scheme}]
    size = {"width": wide, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": media})
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.get_log("performance")
    browser.get_log("browser")
    browser.get("about:blank")
    browser.get_log("performance")
    browser.get(path.as_uri())


def requests(browser: Any) -> list[str]:
    """What was loaded since the page was opened."""
    messages = (json.loads(entry["message"])["message"] for entry in browser.get_log("performance"))
    return [one["params"]["request"]["url"] for one in messages if one["method"] == "Network.requestWillBeSent"]


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_page_opens_without_an_error_or_a_request_and_every_section_says_something(
    browser: Any, pages: dict[str, Path], name: str
) -> None:
    opened(browser, pages[name])
    assert requests(browser) == [pages[name].as_uri()]
    assert browser.get_log("browser") == []
    texts = browser.execute_script(
        "return Object.fromEntries([...document.querySelectorAll('section')].map(s => [s.id, s.innerText.trim()]))"
    )
    assert set(texts) == SECTIONS[name]
    assert all(len(text.split()) > 3 for text in texts.values())
    assert pages[name].stat().st_size < 2_000_000


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("wide", [1400, 400])
def test_a_page_is_as_wide_as_the_window_and_its_picture_is_small(
    browser: Any, pages: dict[str, Path], name: str, wide: int, tmp_path: Path
) -> None:
    opened(browser, pages[name], wide)
    page = "const page = document.documentElement; return [page.scrollWidth, page.clientWidth, window.innerWidth]"
    scrolled, shown, window = browser.execute_script(page)
    assert scrolled == shown <= window == wide
    clip = {"x": 0, "y": 0, "width": wide, "height": 2000, "scale": 0.5}
    shot = browser.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True, "clip": clip})
    picture = base64.b64decode(shot["data"])
    (tmp_path / f"{name}_{wide}.png").write_bytes(picture)
    assert 2_000 < len(picture) < 400_000


@pytest.mark.parametrize("key", ["", "\ue007"], ids=["click", "enter"])
def test_a_block_in_the_picture_leads_to_what_it_does(browser: Any, pages: dict[str, Path], key: str) -> None:
    opened(browser, pages["made"])
    link = browser.find_element("css selector", "section#equations svg a[href='#equation-loop0']")
    block = browser.find_element("id", "equation-loop0")
    assert not block.is_displayed()
    if key:
        browser.execute_script("arguments[0].focus()", link)
        browser.switch_to.active_element.send_keys(key)
    else:
        link.click()
    assert browser.current_url.endswith("#equation-loop0")
    assert block.is_displayed()
    for part in ("logits = nn.functional.linear", "prefix of zeros_like", "addmm", "Steps that read steps"):
        assert part in block.text


def test_the_keyboard_reaches_sections_and_opens_details(browser: Any, pages: dict[str, Path]) -> None:
    opened(browser, pages["gru"])
    browser.find_element("tag name", "body").send_keys("\t")
    first = browser.switch_to.active_element
    assert first.get_attribute("href").endswith("#decisions")
    assert browser.execute_script("return getComputedStyle(arguments[0]).outlineStyle", first) == "solid"
    first.send_keys("\ue007")
    assert browser.current_url.endswith("#decisions")
    summary = browser.find_element("css selector", "section#text summary")
    text = browser.find_element("css selector", "section#text pre")
    assert not text.is_displayed()
    summary.send_keys(" ")
    assert text.is_displayed()
    assert text.text.startswith("fxsolve report: Recurrence")


@pytest.mark.parametrize("name", PROGRAMS)
def test_dark_pages_are_dark_and_can_be_read(browser: Any, pages: dict[str, Path], name: str) -> None:
    lightness = (
        "const [r, g, b] = getComputedStyle(document.body).{}.match(/\\d+/g).map(Number);"
        "return (0.299 * r + 0.587 * g + 0.114 * b) / 255"
    )
    found = {}
    for scheme in ("light", "dark"):
        opened(browser, pages[name], scheme=scheme)
        found[scheme] = [browser.execute_script(lightness.replace("{}", of)) for of in ("backgroundColor", "color")]
    paper, ink = found["light"]
    assert paper - ink > 0.6
    paper, ink = found["dark"]
    assert ink - paper > 0.6


def test_the_front_of_exact_steps_reaches_the_end_of_a_loop_that_was_solved_exactly(
    browser: Any, pages: dict[str, Path]
) -> None:
    opened(browser, pages["made"])
    line = browser.find_element("css selector", "section#convergence svg.map polyline:not(.order)")
    points = [tuple(map(float, pair.split(","))) for pair in line.get_attribute("points").split()]
    assert points == sorted(points)
    assert points[-1][0] == 480.0
    final = browser.find_element("css selector", "section#convergence path.final")
    assert final.rect["width"] > 0
