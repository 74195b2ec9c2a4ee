"""The page in a headless Chromium, driven by the DevTools protocol over its pipe."""

import base64
import json
import os
import select
import shutil
import subprocess
import time

import numpy as np
import pytest
from PIL import Image

from skage import FaceCropper
from skage._serve.estimator import Estimator
from skage.datasets import make_faces

from .test_serve import serving

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.skipif(not CHROMIUM, reason="Chromium is not installed"),
    pytest.mark.filterwarnings("ignore:These images are not cropped"),
]


class Browser:
    """A page of Chromium; messages are JSON that ends with a zero byte."""

    def __init__(self, folder):
        theirs, self.write_end = os.pipe()
        self.read_end, answers = os.pipe()
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        options += ["--remote-debugging-pipe", f"--user-data-dir={folder}", "about:blank"]
        # Chromium reads from 3 and writes to 4.
        command = ["bash", "-c", f'exec "$@" 3<&{theirs} 4>&{answers}', "bash", CHROMIUM, *options]
        self.process = subprocess.Popen(
            command,
            pass_fds=(theirs, answers),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs)
        os.close(answers)
        self.rest, self.number, self.session, self.events = b"", 0, None, []
        pages = self("Target.getTargets")["targetInfos"]
        target = next(page["targetId"] for page in pages if page["type"] == "page")
        self.session = self("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "DOM"):
            self(f"{domain}.enable")

    def __call__(self, method, **parameters):
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.write_end, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self.number:
                assert "error" not in answer, answer
                return answer["result"]
            self.events.append(answer)

    def _receive(self):
        while b"\0" not in self.rest:
            assert select.select([self.read_end], [], [], 60)[0], "Chromium does not answer"
            part = os.read(self.read_end, 2**20)
            assert part, "Chromium has ended"
            self.rest += part
        text, self.rest = self.rest.split(b"\0", 1)
        return json.loads(text)

    def value(self, script):
        answer = self("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def wait(self, script, seconds=30):
        end = time.monotonic() + seconds
        while not self.value(script):
            assert time.monotonic() < end, f"never true: {script}"
            time.sleep(0.05)

    def show(self, port, width=1200, height=900):
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self("Emulation.setDeviceMetricsOverride", **size)
        self("Page.navigate", url=f"http://127.0.0.1:{port}/")
        self.wait("document.querySelector('#facts')?.textContent")

    def choose(self, *files):
        self.value("results.splice(0).length")
        root = self("DOM.getDocument")["root"]["nodeId"]
        node = self("DOM.querySelector", nodeId=root, selector="#files")["nodeId"]
        self("DOM.setFileInputFiles", nodeId=node, files=list(map(str, files)))
        self._finish()

    def drop(self, *files):
        self.value("results.splice(0).length")
        spot = "JSON.stringify(document.querySelector('#drop').getBoundingClientRect())"
        place = json.loads(self.value(spot))
        given = {
            "x": place["x"] + place["width"] / 2,
            "y": place["y"] + place["height"] / 2,
            "data": {"items": [], "files": list(map(str, files)), "dragOperationsMask": 1},
        }
        for kind in ("dragEnter", "dragOver", "drop"):
            self("Input.dispatchDragEvent", type=kind, **given)
        self._finish()

    def _finish(self):
        self.wait("document.querySelector('#work').hidden && !!results.length")

    def text(self, selector):
        return self.value(f"document.querySelector({selector!r}).innerText")

    def complaints(self):
        """What the console says, beside answers that are errors, and what scripts raised."""
        self.value("0")
        kinds = {"Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded"}
        found = [event for event in self.events if event.get("method") in kinds]
        return [event for event in found if "status of 4" not in json.dumps(event)]

    def close(self):
        self("Browser.close")
        self.process.wait(20)
        os.close(self.write_end)
        os.close(self.read_end)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    browser = Browser(tmp_path_factory.mktemp("chromium"))
    yield browser
    browser.close()


@pytest.fixture(autouse=True)
def _nothing_to_complain_about(browser):
    browser.events.clear()
    yield
    assert browser.complaints() == []


@pytest.fixture(scope="module")
def scenes():
    return make_faces(12, image_size=200, random_state=3, scenes=True)


@pytest.fixture(scope="module")
def files(scenes, tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for i, pixels in enumerate(scenes.data):
        Image.fromarray(pixels).save(folder / f"{i}.png")
    (folder / "broken.png").write_bytes(b"broken")
    Image.new("RGB", (200, 150)).save(folder / "none.png")
    return folder


@pytest.fixture(scope="module")
def port(fitted, scenes):
    def detect(pixels):
        """The faces that were drawn."""
        for image, faces in zip(scenes.data, scenes.faces, strict=True):
            if image.shape == pixels.shape and (image == pixels).all():
                return np.column_stack([faces.boxes, np.arange(len(faces.boxes), 0, -1)])
        return np.empty((0, 5))

    estimate = Estimator(fitted, 32, FaceCropper(detect), limit=40.0)
    with serving(estimate, limit=40.0) as port:
        yield port


@pytest.fixture
def show(browser, port):
    return lambda **size: browser.show(port, **size)


def test_a_dropped_photo_has_a_box_and_an_age_for_every_face(browser, show, files, scenes):
    show()
    browser.drop(files / "10.png")
    n_faces = len(scenes.faces[10].boxes)
    assert n_faces == 3
    assert browser.text("#status") == "3 faces in 1 photo."
    assert browser.value("document.querySelectorAll('.faces li').length") == n_faces
    assert browser.value("document.querySelectorAll('.photo [data-face]').length") == n_faces
    assert browser.value("document.querySelector('.photo img').naturalWidth") == 200
    labels = (
        "[...document.querySelectorAll('.plot')].map((plot) => plot.getAttribute('aria-label'))"
    )
    assert all(label.startswith("Distribution of age: ") for label in browser.value(labels))
    assert "Unsure" in browser.text(".faces")
    assert browser.value("document.activeElement.id") == "result-title"


def test_a_photo_without_a_face_and_one_that_cannot_be_read(browser, show, files):
    show()
    browser.choose(files / "none.png")
    assert browser.text("#shown").startswith("No face was found.")
    browser.choose(files / "broken.png")
    assert browser.text("#status") == "1 photo failed."
    assert browser.text("#shown [role=alert]") == (
        "The image is not a readable image: unknown format."
    )


def test_many_photos_are_a_table_and_a_csv(browser, show, files, scenes):
    show()
    browser.choose(*(files / f"{name}.png" for name in (0, 1, "none", "broken")))
    counts = [len(scenes.faces[i].boxes) for i in (0, 1)]
    assert browser.value("document.querySelector('#rows').rows.length") == sum(counts) + 2
    assert browser.text("#status") == f"{sum(counts)} faces in 3 photos. 1 photo failed."
    header, *rows = browser.value("csv()").split("\r\n")[:-1]
    assert header.split(",")[:2] == ["path", "face"]
    faces = [f"{i}.png,{j + 1}" for i in (0, 1) for j in range(counts[i])]
    assert [row[:7] for row in rows[:-2]] == faces
    assert rows[-2] == f"none.png{',' * 11}no face"
    assert {row.count(",") for row in rows} == {11}
    browser.value("[...document.querySelectorAll('#rows button')].at(-1).click()")
    assert browser.text("#result-title") == "broken.png"


@pytest.mark.parametrize("width", [1200, 390])
def test_the_page_fits_the_screen(browser, show, files, width):
    show(width=width)
    browser.choose(files / "0.png", files / "broken.png")
    assert browser.value("document.documentElement.scrollWidth") <= width
    picture = base64.b64decode(browser("Page.captureScreenshot")["data"])
    assert picture.startswith(b"\x89PNG")


def test_the_keyboard_reaches_everything(browser, show):
    show()
    for key in ("keyDown", "keyUp"):
        browser("Input.dispatchKeyEvent", type=key, key="Tab", code="Tab", windowsVirtualKeyCode=9)
    assert browser.value("document.activeElement.id") == "choose"
    unnamed = (
        "[...document.querySelectorAll('button, input')].filter((element) => "
        "!element.innerText && !element.getAttribute('aria-label') && !element.closest('[hidden]'))"
        ".map((element) => element.id)"
    )
    assert set(browser.value(unnamed)) <= {"camera"}
