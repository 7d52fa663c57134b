"""The page, in a browser: what people do with it, also with the keyboard alone, on a phone, and when things go wrong."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import tarfile
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from live_server import Running, png

pytestmark = pytest.mark.slow
sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (pip install playwright)")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
EXAMPLES = Path(__file__).parents[2] / "src" / "superscale" / "examples"
CAT, COFFEE = str(EXAMPLES / "cat.jpg"), str(EXAMPLES / "coffee.jpg")
LARGE = {"name": "large.png", "mimeType": "image/png", "buffer": png(230, 230)}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("there is no chromium here (apt install chromium)")
    with sync_api.sync_playwright() as playwright:
        one = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield one
        one.close()


@pytest.fixture
def page(browser: Any, server: Running) -> Iterator[Any]:
    with opened(browser, server.url) as one:
        yield one


class opened:
    """A page in a window of its own, which fails the test on any error of its scripts or of the content policy."""

    def __init__(self, browser: Any, url: str, **window: Any) -> None:
        self.context = browser.new_context(**window)
        self.page, self.url = self.context.new_page(), url
        self.errors: list[str] = []
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", lambda said: self.errors.append(said.text) if "Content Security" in said.text else None)
        own = (url.removesuffix("docs"), "blob:", "data:")
        self.page.on("request", lambda asked: None if asked.url.startswith(own) else self.errors.append(asked.url))

    def __enter__(self) -> Any:
        self.page.goto(self.url)
        return self.page

    def __exit__(self, *error: object) -> None:
        self.context.close()
        assert error[0] or not self.errors, self.errors


def ready(page: Any) -> None:
    page.locator("#model option").first.wait_for(state="attached", timeout=20_000)


def choose(page: Any, *files: Any) -> None:
    ready(page)
    page.locator("#choose").set_input_files(list(files))
    page.locator(".card").nth(len(files) - 1).wait_for()


def done(page: Any, number: int = 0) -> Any:
    page.locator(".card.done .after").nth(number).wait_for(timeout=60_000)
    return page.locator(".card.done").nth(number)


def text_of(page: Any, words: str) -> None:
    page.get_by_text(words).first.wait_for(timeout=30_000)


def test_choose_try_enlarge_compare_download(page: Any) -> None:
    choose(page, CAT)
    page.locator(".try-after:not(.busy) img[src]").wait_for(timeout=20_000)
    page.get_by_role("button", name="Enlarge cat.jpg").click()
    done(page)
    text_of(page, "271 × 180 → 1,084 × 720 pixels")
    with page.expect_download() as downloading:
        page.get_by_role("link", name="Download cat.jpg").click()
    assert downloading.value.suggested_filename == "cat_enlarged.jpg"
    assert Image.open(io.BytesIO(downloading.value.path().read_bytes())).size == (1084, 720)
    page.get_by_role("button", name="Remove cat.jpg").click()
    page.locator(".card").wait_for(state="detached")


def test_a_picture_chosen_while_the_server_loads_is_there_once(page: Any) -> None:
    loading = {"ready": False, "models": [], "limits": {"bytes": 200_000, "pixels": 100_000}, "keep_seconds": 60}
    page.route("**/v1/models", lambda route: route.fulfill(json=loading))
    page.reload()
    text_of(page, "The server is loading its model")
    page.locator("#choose").set_input_files([CAT])
    page.locator(".card").wait_for()
    page.unroute("**/v1/models")
    ready(page)
    page.wait_for_timeout(500)
    assert page.locator(".card").count() == 1
    page.reload()
    ready(page)
    assert page.locator(".card").count() == 1


def test_dropped_and_pasted_pictures_are_taken(page: Any) -> None:
    ready(page)
    bytes_of = list(Path(CAT).read_bytes())
    for event in ("drop", "paste"):
        page.evaluate(
            """([name, bytes]) => {
                const held = new DataTransfer();
                held.items.add(new File([new Uint8Array(bytes)], `${name}.jpg`, { type: "image/jpeg" }));
                const how = { bubbles: true, cancelable: true };
                document.body.dispatchEvent(name === "drop" ? new DragEvent(name, { ...how, dataTransfer: held })
                                                            : new ClipboardEvent(name, { ...how, clipboardData: held }));
            }""",
            [event, bytes_of],
        )
        page.get_by_role("heading", name=f"{event}.jpg").wait_for()
    assert page.locator(".card").count() == 2


def test_several_at_once_wait_their_turn_and_come_as_a_zip(page: Any) -> None:
    choose(page, CAT, COFFEE, CAT)
    page.get_by_role("button", name="Enlarge all").click()
    done(page, 2)
    with page.expect_download() as downloading:
        page.get_by_role("button", name="Download all (zip)").click()
    with zipfile.ZipFile(downloading.value.path()) as packed:
        assert packed.testzip() is None
        assert sorted(packed.namelist()) == ["cat_enlarged-2.jpg", "cat_enlarged.jpg", "coffee_enlarged.jpg"]
        assert Image.open(io.BytesIO(packed.read("coffee_enlarged.jpg"))).size == (880, 704)


def test_a_reload_in_the_middle_finds_the_job_again(page: Any, server: Running) -> None:
    choose(page, LARGE)
    page.locator("#model").select_option("slow")
    page.get_by_role("button", name="Enlarge large.png").click()
    page.locator(".card.running").wait_for()
    before = jobs(server)
    page.reload()
    page.locator(".card.running").wait_for()
    assert page.locator("#model").input_value() == "slow"
    assert jobs(server) == before
    page.get_by_role("button", name="Cancel large.png").click()
    page.get_by_role("button", name="Enlarge large.png").wait_for()
    end = time.monotonic() + 20
    while not any(server.job(one)["state"] == "cancelled" for one in before):
        assert time.monotonic() < end
        time.sleep(0.05)
    page.locator("#model").select_option("quick")
    page.get_by_role("button", name="Enlarge large.png").click()
    done(page)
    page.reload()
    done(page)
    assert not page.locator(".before").is_hidden()


def jobs(server: Running) -> set[str]:
    return {folder.name for folder in (Path(server.settings["spool"]) / "jobs").iterdir()}


def test_the_line_moves_and_the_view_zooms_by_mouse_keyboard_and_touch(page: Any) -> None:
    choose(page, CAT)
    page.get_by_role("button", name="Enlarge cat.jpg").click()
    card = done(page)
    stage, line, zoom = card.locator(".stage"), card.get_by_role("slider"), card.locator(".zoom-now")
    stage.scroll_into_view_if_needed()
    box = stage.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 4, box["y"] + box["height"] / 2, steps=5)
    page.mouse.up()
    assert line.input_value() == "25"
    line.focus()
    page.keyboard.press("ArrowRight")
    assert line.input_value() == "26"
    stage.focus()
    fitted = zoom.inner_text()
    page.keyboard.press("1")
    assert zoom.inner_text() == "100 %"
    page.keyboard.press("+")
    assert zoom.inner_text() == "150 %"
    moved = card.locator(".after").get_attribute("style")
    page.keyboard.press("ArrowRight")
    assert card.locator(".after").get_attribute("style") != moved
    page.keyboard.press("0")
    assert zoom.inner_text() == fitted
    page.mouse.wheel(0, -300)  # the stage has the focus, and the pointer is over it
    text = zoom.inner_text()
    assert int(text.split()[0]) > int(fitted.split()[0])
    card.get_by_role("button", name="1:1").click()
    assert zoom.inner_text() == "100 %"


def test_it_can_be_used_with_the_keyboard_alone(page: Any) -> None:
    ready(page)
    page.keyboard.press("Tab")
    names = []
    for _ in range(12):
        page.keyboard.press("Tab")
        names.append(page.evaluate("document.activeElement.id || document.activeElement.name"))
    assert {"choose", "model", "scale", "format", "strip"} <= set(names)
    page.locator("#choose").set_input_files([CAT])
    page.locator(".spot").focus()
    at = page.locator(".spot").get_attribute("style")
    page.keyboard.press("ArrowRight")
    assert page.locator(".spot").get_attribute("style") != at
    page.get_by_role("button", name="Enlarge cat.jpg").focus()
    page.keyboard.press("Enter")
    done(page)


def test_what_goes_wrong_is_said_in_a_sentence(page: Any, server: Running) -> None:
    text = {"name": "notes.png", "mimeType": "image/png", "buffer": b"not a picture"}
    choose(page, text)
    page.get_by_role("button", name="Enlarge notes.png").click()
    text_of(page, "This file is not a picture")
    page.get_by_role("button", name="Try again").wait_for()
    page.locator("#choose").set_input_files([{"name": "huge.png", "mimeType": "image/png", "buffer": bytes(300_000)}])
    text_of(page, "huge.png has 0.3 MB; this server takes pictures of up to 0.2 MB.")
    stream = io.BytesIO()
    Image.new("L", (400, 300)).save(stream, "PNG")
    page.locator("#choose").set_input_files([{"name": "wide.png", "mimeType": "image/png", "buffer": stream.getvalue()}])
    page.get_by_role("button", name="Enlarge wide.png").click()
    text_of(page, "more than 100,000")


def test_a_full_queue_is_waited_for(page: Any, server: Running) -> None:
    held = [server.submit_slow(200) for _ in range(4)]
    choose(page, CAT)
    page.get_by_role("button", name="Enlarge cat.jpg").click()
    text_of(page, "The server is busy. Trying again in")
    for one in held:
        server.client.delete(f"/v1/jobs/{one}")
    done(page)


def test_a_lost_connection_is_told_and_the_job_found_again(browser: Any, serving: Callable[..., Any], tmp_path: Path) -> None:
    with serving(tmp_path / "spool") as server, opened(browser, server.url) as page:
        choose(page, LARGE)
        page.locator("#model").select_option("slow")
        page.get_by_role("button", name="Enlarge large.png").click()
        page.locator(".card.running").wait_for()
        server.process.kill()
        text_of(page, "The connection to the server is lost.")
        server.process.wait()
        with serving(tmp_path / "spool", port=server.port):
            done(page)


def test_the_page_asks_for_the_token(browser: Any, serving: Callable[..., Any], tmp_path: Path) -> None:
    with serving(tmp_path, token="s3cret") as server, opened(browser, server.url) as page:
        page.get_by_label("Token", exact=True).fill("wrong")
        page.get_by_role("button", name="Continue").click()
        page.get_by_label("Token", exact=True).fill("s3cret")
        page.get_by_role("button", name="Continue").click()
        choose(page, CAT)
        page.get_by_role("button", name="Enlarge cat.jpg").click()
        done(page)


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The source of axe-core; it is fetched, not kept, for its licence (MPL-2.0)."""
    folder = tmp_path_factory.mktemp("axe")
    try:
        subprocess.run(["npm", "pack", "--silent", "axe-core@4"], cwd=folder, check=True, capture_output=True, timeout=60)
    except (OSError, subprocess.SubprocessError) as error:
        pytest.skip(f"axe-core cannot be fetched: {error}")
    with tarfile.open(next(folder.glob("*.tgz"))) as packed:
        file = packed.extractfile("package/axe.min.js")
        assert file is not None
        return file.read().decode()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_it_fits_and_has_no_violation_of_wcag(browser: Any, server: Running, axe: str, scheme: str, width: int) -> None:
    window = {"viewport": {"width": width, "height": 800}, "color_scheme": scheme, "has_touch": width < 500}
    with opened(browser, server.url, **window) as page:
        ready(page)
        check(page, axe)
        choose(page, CAT, COFFEE)
        page.locator(".try-after:not(.busy) img[src]").first.wait_for(timeout=20_000)
        check(page, axe)
        page.get_by_role("button", name="Enlarge cat.jpg").click()
        done(page)
        check(page, axe)


def check(page: Any, axe: str) -> None:
    page.evaluate(axe)
    tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
    found = page.evaluate("tags => axe.run(document, {runOnly: tags})", tags)["violations"]
    assert not found, json.dumps([(one["id"], [node["html"] for node in one["nodes"]]) for one in found], indent=1)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_the_documentation_of_the_routes_shows(browser: Any, server: Running) -> None:
    with opened(browser, f"{server.url}/docs") as page:
        text_of(page, "/v1/jobs/{job_id}/events")
