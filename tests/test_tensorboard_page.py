"""TensorBoard's page over a finished sweep, in a real browser.

Screenshots are left in `outputs/tensorboard-page/`, where they can be looked at.
"""

import contextlib
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support import REPOSITORY, TINY

webdriver = pytest.importorskip("selenium.webdriver")
CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="needs Chromium and ChromeDriver (apt: chromium-driver)"
)

# TensorBoard is built of web components: what is on the page lies in shadow roots.
EVERYTHING = """
const found = [];
const walk = node => {
  if (node.nodeType === Node.TEXT_NODE && !['STYLE', 'SCRIPT'].includes(node.parentNode.nodeName))
    found.push(node.textContent);
  if (['svg', 'IMG'].includes(node.nodeName)) found.push(`<${node.nodeName}>`);
  if (node.shadowRoot) walk(node.shadowRoot);
  node.childNodes.forEach(walk);
};
walk(document.body);
return found.join(' ').replace(/\\s+/g, ' ');
"""
RUNS = {f"init-{i}_optimizer-{o}" for i in ("content", "random") for o in ("adam", "lbfgs")}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a TensorBoard over the runs of a four-way sweep."""
    folder = tmp_path_factory.mktemp("sweep")
    sweep = ("optimizer=adam,lbfgs", "init=random,content", "name=four", "--multirun")
    subprocess.run(
        [sys.executable, "-m", "nst", *TINY, *sweep],
        cwd=folder,
        check=True,
        capture_output=True,
        timeout=200,
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    board = subprocess.Popen(
        [sys.executable, "-m", "tensorboard.main", "--logdir", "outputs", "--port", str(port)],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    for _ in range(200):
        with contextlib.suppress(OSError), socket.create_connection(("localhost", port)):
            break
        time.sleep(0.3)
    yield f"http://localhost:{port}/"
    board.terminate()
    board.wait(timeout=30)


@pytest.fixture(scope="module")
def browser() -> Iterator["webdriver.Chrome"]:
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in (
        *("--headless", "--no-sandbox", "--disable-gpu", "--window-size=1400,1100"),
        *("--no-first-run", "--disable-background-networking", "--disable-component-update"),
    ):
        options.add_argument(argument)
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


def shows(browser: "webdriver.Chrome", wanted: Callable[[str], bool], name: str) -> None:
    """Wait until the page's text fulfils `wanted`; keep a screenshot."""
    deadline = time.monotonic() + 60
    text = ""
    while time.monotonic() < deadline and not wanted(text):
        time.sleep(0.5)
        text = browser.execute_script(EVERYTHING)
    folder = REPOSITORY / "outputs" / "tensorboard-page"
    folder.mkdir(exist_ok=True)
    browser.save_screenshot(str(folder / f"{name}.png"))
    assert wanted(text), text


def visit(browser: "webdriver.Chrome", address: str) -> None:
    """Open a page anew: another fragment alone would not load anything."""
    browser.get("about:blank")
    browser.get(address)


@pytest.mark.slow
def test_four_runs_with_curves_and_images(server: str, browser: "webdriver.Chrome") -> None:
    visit(browser, server + "?tagFilter=loss#timeseries")
    shows(
        browser,
        lambda text: all(f"four/{run}" in text for run in RUNS) and "loss" in text,
        "runs",
    )
    visit(browser, server + "#scalars")
    shows(browser, lambda text: "tag: loss/total" in text and "<svg>" in text, "scalars")
    visit(browser, server + "#images")
    shows(browser, lambda text: "content_style_result" in text and "<IMG>" in text, "images")


@pytest.mark.slow
def test_hparams_table_has_the_four_runs(server: str, browser: "webdriver.Chrome") -> None:
    visit(browser, server + "#hparams")
    shows(
        browser,
        lambda text: (
            "Trial ID" in text
            and len(re.findall(r"four/init-(?:content|random)_optimizer-(?:adam|lbfgs)", text)) >= 4
            and "summary/picture_total" in text
        ),
        "hparams",
    )


def test_screenshots_are_not_committed() -> None:
    ignored = subprocess.run(
        ["git", "check-ignore", "-q", "outputs/tensorboard-page/runs.png"],
        cwd=REPOSITORY,
        timeout=30,
    )
    assert ignored.returncode == 0 or not Path(REPOSITORY / ".git").exists()
