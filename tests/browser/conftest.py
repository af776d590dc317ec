"""Starts `michi dev` with an empty data directory, and a browser on the way to it."""

import datetime
import json
import pathlib
import shutil
import socket
import subprocess
import time
import urllib.request

import pytest
from playwright.sync_api import sync_playwright

ROOT = pathlib.Path(__file__).resolve().parents[2]
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for_ten(url, now):
    """Moves the clock to the next ten o'clock: the mail of a day comes at seven, so what a day brings
    would depend on the hour at which the tests run."""
    ten = now.replace(hour=10, minute=0, second=0, microsecond=0)
    seconds = int((ten - now).total_seconds()) % 86_400 + 1
    body = json.dumps({"advance": f"PT{seconds}S"}).encode()
    request = urllib.request.Request(f"{url}/local/clock", data=body, headers={"content-type": "application/json"})
    urllib.request.urlopen(request)


@pytest.fixture(scope="session")
def michi(tmp_path_factory):
    """The address of a running `michi dev`."""
    subprocess.run(["cargo", "build", "--locked", "--quiet", "-p", "michi"], cwd=ROOT, check=True)
    port = free_port()
    log = tmp_path_factory.mktemp("log") / "michi.log"
    with open(log, "w") as out:
        command = [ROOT / "target/debug/michi", "dev", "--port", str(port), "--data", tmp_path_factory.mktemp("data")]
        process = subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=out)
    url = f"http://localhost:{port}"
    try:
        for _ in range(150):
            assert process.poll() is None, log.read_text()
            try:
                clock = json.load(urllib.request.urlopen(f"{url}/local/clock"))
                break
            except OSError:
                time.sleep(0.2)
        wait_for_ten(url, datetime.datetime.fromisoformat(clock["local"]))
        yield url
    finally:
        process.terminate()
        process.wait(timeout=20)


@pytest.fixture(scope="session")
def chromium():
    names = ["chromium", "chromium-browser", "google-chrome"]
    path = next((shutil.which(name) for name in names if shutil.which(name)), None)
    assert path, "Chromium is missing: run scripts/test, or install it"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=QUIET)
        yield browser
        browser.close()


@pytest.fixture(params=[(1280, 900), (390, 844)], ids=["desktop", "phone"])
def page(request, chromium):
    """A fresh visitor in Tokyo, on a desktop and on a phone."""
    width, height = request.param
    context = chromium.new_context(viewport={"width": width, "height": height}, locale="ja-JP", timezone_id="Asia/Tokyo")
    context.set_default_timeout(20_000)
    page = context.new_page()
    problems = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("requestfailed", lambda failed: problems.append(failed.url) if "localhost" not in failed.url else None)
    yield page
    assert not problems, f"scripts failed, or something was fetched from elsewhere: {problems}"
    context.close()
