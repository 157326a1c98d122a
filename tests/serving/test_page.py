"""The page in a real browser: by keyboard alone, on a desktop and on a phone."""

from __future__ import annotations

import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from sklearn_lntune import DeltaBank
from sklearn_lntune.serving import Limits, create_app

NET = 120  # seconds after which a test has failed; no test waits for it
DESKTOP, PHONE = (1280, 900), (390, 844)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    program, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if program is None or driver is None:
        pytest.skip("needs a browser: chromium and chromedriver on the path")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for argument in (
        "headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run",
        "disable-background-networking", "disable-component-update", "disable-sync",
        f"user-data-dir={tmp_path_factory.mktemp('browser')}",
    ):  # fmt: skip
        options.add_argument(f"--{argument}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService(driver)
    with webdriver.Chrome(options, service) as browser:
        yield browser


@contextmanager
def running(app: Any) -> Iterator[str]:
    """The address of a server for ``app``; connections wait until it has started."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(app, ws="none", log_config=None))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
        finally:
            server.should_exit = True
            thread.join(NET)


@pytest.fixture
def open_page(
    browser: webdriver.Chrome, bank: DeltaBank
) -> Iterator[Callable[[tuple[int, int]], None]]:
    """Open the page in a window of a size; afterwards, nothing may have gone wrong in it."""
    with running(create_app(bank, limits=Limits(max_characters=100))) as address:

        def open_in(size: tuple[int, int]) -> None:
            # A window cannot be as narrow as a phone.
            metrics = {"width": size[0], "height": size[1], "deviceScaleFactor": 1}
            metrics["mobile"] = size == PHONE
            browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
            browser.get(address)
            until(browser, lambda: browser.find_elements(By.CSS_SELECTOR, "#tasks input"))

        yield open_in
        log: list[Any] = browser.get_log("browser")  # violations of the policy, too
        browser.get("about:blank")
    refused = [entry for entry in log if "status of 4" not in entry["message"]]
    assert refused == []


def until(browser: webdriver.Chrome, condition: Callable[[], Any]) -> Any:
    return WebDriverWait(browser, NET).until(lambda _: condition())


def one(browser: webdriver.Chrome, selector: str) -> WebElement:
    return browser.find_element(By.CSS_SELECTOR, selector)


def press(browser: webdriver.Chrome, *keys: str) -> None:
    webdriver.ActionChains(browser).send_keys(*keys).perform()


def focus_on(browser: webdriver.Chrome, wanted: Callable[[WebElement], bool]) -> WebElement:
    """Press Tab until an element has the focus."""
    for _ in range(40):
        focused = browser.switch_to.active_element
        if wanted(focused):
            return focused
        press(browser, Keys.TAB)
    raise AssertionError("the keyboard does not lead there")


def by_id(name: str) -> Callable[[WebElement], bool]:
    return lambda element: element.get_attribute("id") == name


def answers(browser: webdriver.Chrome) -> list[WebElement]:
    return browser.find_elements(By.CSS_SELECTOR, "#answers article")


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_a_text_is_answered_by_keyboard_alone(
    size: tuple[int, int],
    browser: webdriver.Chrome,
    open_page: Callable[[tuple[int, int]], None],
    fitted: dict[str, Any],
    tmp_path: Path,
) -> None:
    open_page(size)
    assert one(browser, "#count").text == "3 of 3 selected"
    focus_on(browser, by_id("text"))
    press(browser, "good old red dog")
    focus_on(browser, lambda each: each.get_attribute("value") == "same")
    press(browser, Keys.SPACE)
    assert one(browser, "#count").text == "2 of 3 selected"
    focus_on(browser, by_id("predict"))
    press(browser, Keys.ENTER)
    until(browser, lambda: one(browser, "#status").text == "2 answers.")
    topic, _ = answers(browser)
    assert topic.find_element(By.TAG_NAME, "h3").text == "topic"
    expected = fitted["topic"].predict(["good old red dog"])[0]
    assert f"Answer: {expected}" in topic.text
    rows = topic.find_elements(By.TAG_NAME, "tr")
    assert len(rows) == 3
    assert rows[0].find_element(By.TAG_NAME, "th").text == expected
    largest = fitted["topic"].predict_proba(["good old red dog"]).max()
    assert rows[0].find_element(By.CLASS_NAME, "number").text == f"{100 * largest:.1f} %"

    # The words, by keyboard, too: from the button of the first answer.
    focus_on(browser, lambda each: each.text == "Which words spoke for it?")
    press(browser, Keys.ENTER)
    marks = until(browser, lambda: topic.find_elements(By.TAG_NAME, "mark"))
    assert [mark.text for mark in marks] == ["good", "old", "red", "dog"]
    for mark in marks:
        sign = {"for": "+", "against": "\N{MINUS SIGN}"}[mark.get_attribute("class")]
        assert mark.get_attribute("title").startswith(sign)
    assert browser.switch_to.active_element.text.startswith("good old red dog")
    assert f"For “{expected}”: " in topic.text
    assert "Against it: " in topic.text
    # Nothing is wider than the window.
    assert browser.execute_script("return document.documentElement.scrollWidth") <= size[0]


def test_everything_has_a_name(
    browser: webdriver.Chrome, open_page: Callable[[tuple[int, int]], None]
) -> None:
    open_page(DESKTOP)
    controls = browser.find_elements(By.CSS_SELECTOR, "input, textarea, button")
    assert len(controls) >= 9
    for control in controls:
        if control.is_displayed():
            assert control.accessible_name
    assert one(browser, "#status").get_attribute("aria-live") == "polite"
    assert one(browser, "#error").aria_role == "alert"
    assert one(browser, "html").get_attribute("lang") == "en"


def test_pairs_errors_and_the_choice_of_tasks(
    browser: webdriver.Chrome, open_page: Callable[[tuple[int, int]], None]
) -> None:
    open_page(DESKTOP)
    one(browser, "#text").send_keys("good")
    one(browser, "#predict").click()
    message = "The task 'same' takes pairs of texts, and got single texts."
    until(browser, lambda: one(browser, "#error").text == message)
    assert answers(browser) == []

    one(browser, "#none").click()
    one(browser, "#predict").click()
    until(browser, lambda: one(browser, "#error").text == "Select at least one task.")

    one(browser, "#filter").send_keys("SAM")
    assert one(browser, "#count").text == "0 of 3 selected, 1 shown"
    one(browser, "#all").click()
    one(browser, "#pair summary").click()
    one(browser, "#second").send_keys("bad")
    one(browser, "#second").send_keys(Keys.CONTROL, Keys.ENTER)
    until(browser, lambda: one(browser, "#status").text == "1 answer.")
    assert one(browser, "#error").text == ""
    assert one(browser, "#answers h3").text == "same"
    one(browser, "#answers button").click()
    until(browser, lambda: browser.find_elements(By.CSS_SELECTOR, "#answers mark"))
    sentences = browser.find_elements(By.CSS_SELECTOR, "#answers .sentence")
    assert [each.text for each in sentences] == ["good", "bad"]

    one(browser, "#text").send_keys("a" * 100)
    one(browser, "#predict").click()
    until(browser, lambda: "at most 100 are allowed" in one(browser, "#error").text)


def test_markup_in_a_name_is_text(browser: webdriver.Chrome, fitted: dict[str, Any]) -> None:
    name = "<img src=x onerror=alert(1)>"
    with running(create_app(DeltaBank({name: fitted["topic"]}))) as address:
        browser.get(address)
        until(browser, lambda: browser.find_elements(By.CSS_SELECTOR, "#tasks input"))
        assert one(browser, "#tasks label").text == name
        one(browser, "#text").send_keys("good")
        one(browser, "#predict").click()
        until(browser, lambda: answers(browser))
        assert one(browser, "#answers h3").text == name
        assert browser.find_elements(By.TAG_NAME, "img") == []
        browser.get("about:blank")


def test_the_page_needs_nothing_from_elsewhere(
    browser: webdriver.Chrome, open_page: Callable[[tuple[int, int]], None]
) -> None:
    open_page(DESKTOP)
    loaded = browser.execute_script(
        "return performance.getEntriesByType('resource').map((entry) => entry.name)"
    )
    assert len(loaded) >= 3
    assert all(name.startswith(browser.current_url) for name in loaded)
