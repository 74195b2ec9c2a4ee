"""The page's server: what it answers, and everything that it refuses."""

import http.client
import io
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager

import jsonschema
import numpy as np
import pytest
import uvicorn
from click.testing import CliRunner
from PIL import Image
from sklearn.pipeline import make_pipeline

from skage import FaceCropper, __version__, save
from skage._app import serve
from skage._app.cli import main
from skage._serve.app import make_app, page
from skage._serve.estimator import Estimator, decide
from skage._serve.limits import Limits, host_name
from skage._serve.schema import ANSWER, openapi


@contextmanager
def serving(estimate, **options):
    """The port of a server in a thread."""
    app = make_app(estimate, **options)
    config = uvicorn.Config(app, http="h11", ws="none", log_level="error", access_log=False)
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0), backlog=512) as listening:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join(20)


def ask(port, method, path, body=None, kind="image/png", host=None, headers=None):
    """Status, headers and the JSON or text of a response."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    given = {"Content-Type": kind} if body is not None and kind else {}
    given |= {"Host": host} if host else {}
    try:
        connection.request(method, path, body, {**given, **(headers or {})})
        response = connection.getresponse()
        text = response.read().decode()
        is_json = response.headers.get_content_type() == "application/json"
        return response.status, response.headers, json.loads(text) if is_json else text
    finally:
        connection.close()


def post(port, body, kind="image/png", **options):
    return ask(port, "POST", "/predict", body, kind, **options)


def png(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "png")
    return file.getvalue()


def two_faces(pixels):
    """A detector that always finds these."""
    return np.array([[0, 0, 16, 16, 2.0], [16, 10, 16, 20, 1.0]])


def no_faces(pixels):
    return np.empty((0, 5))


@pytest.fixture(scope="module")
def estimate(fitted):
    return Estimator(fitted, 32, limit=18.0)


@pytest.fixture(scope="module")
def port(estimate):
    with serving(estimate, limit=18.0, hosts=["age.example"]) as port:
        yield port


@pytest.fixture(scope="module")
def face(faces):
    return png(faces.data[0])


def test_an_image_is_answered_as_the_model_predicts_it(port, face, faces, fitted):
    status, _, answer = post(port, face)
    assert status == 200
    jsonschema.validate(answer, ANSWER)
    (found,) = answer["faces"]
    age, std = fitted.predict(faces.data[:1], return_std=True)
    low, high = fitted.predict_interval(faces.data[:1])[0]
    assert [found[name] for name in ("age", "std", "low", "high")] == pytest.approx(
        [age[0], std[0], low, high], abs=0.01
    )
    assert found["box"] == {"left": 0, "top": 0, "width": 32, "height": 32}
    assert found["score"] is None
    assert sum(found["probabilities"]) == pytest.approx(1, abs=1e-3)
    years = found["first_year"] + 0.5 + np.arange(len(found["probabilities"]))
    assert years @ found["probabilities"] == pytest.approx(age[0], abs=0.6)
    assert found["decision"] == decide(low, high, 18)


def test_every_face_is_cut_out_as_the_cropper_does(fitted, face, faces):
    cropper = FaceCropper(two_faces, size=32, margin=0.2)
    with pytest.warns(UserWarning, match="not cropped as the training images"):
        answer = Estimator(fitted, 32, cropper)(face)
        expected = fitted.predict(cropper.transform(faces.data[:1]))[0]
    jsonschema.validate(answer, ANSWER)
    first, second = answer["faces"]
    assert first["age"] == pytest.approx(expected, abs=0.01)
    assert second["box"] == {"left": 16, "top": 10, "width": 16, "height": 20}
    assert first["decision"] is None


def test_an_image_without_a_face_has_no_ages(fitted, face):
    assert Estimator(fitted, 32, FaceCropper(no_faces))(face)["faces"] == []


def test_a_coverage_without_intervals_fails_before_the_first_image(fitted):
    with pytest.raises(ValueError, match="coverage"):
        Estimator(fitted, 32, coverage=1.5)


@pytest.mark.parametrize(
    ("low", "high", "limit", "decision"),
    [
        (18, 30, 18, "over"),
        (17.9, 30, 18, "unsure"),
        (10, 18, 18, "unsure"),
        (10, 17.9, 18, "under"),
        (10, 30, None, None),
    ],
)
def test_an_interval_that_contains_the_limit_is_unsure(low, high, limit, decision):
    assert decide(low, high, limit) == decision


def test_the_page_allows_only_its_own_parts(port):
    status, headers, text = ask(port, "GET", "/")
    assert status == 200
    assert text == page()[0]
    policy = headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "http://" not in text.replace("http://www.w3.org/2000/svg", "")
    assert "https://" not in text
    for event in ("onclick", "style="):
        assert event not in text


def test_the_api_describes_itself(port):
    status, _, document = ask(port, "GET", "/openapi.json")
    assert status == 200
    assert document == openapi()
    assert document["info"]["version"] == __version__
    for schema in document["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)
    status, _, health = ask(port, "GET", "/health")
    assert status == 200
    jsonschema.validate(health, document["components"]["schemas"]["Health"])


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("LOCALHOST:80", 200),
        ("[::1]:8000", 200),
        ("age.example:8000", 200),
        ("evil.example", 400),
        ("localhost.evil.example", 400),
        ("127.0.0.1.evil.example:8000", 400),
        ("evil.example:127.0.0.1", 400),
    ],
)
def test_only_known_hosts_are_served(port, host, status):
    found, headers, answer = ask(port, "GET", "/health", host=host)
    assert found == status
    assert headers["X-Content-Type-Options"] == "nosniff"
    if status == 400:
        assert "--allow-host" in answer["error"]


def test_a_host_has_a_name():
    assert host_name("") == ""
    assert host_name("[::1]") == "::1"


@pytest.mark.parametrize("kind", ["text/plain", "multipart/form-data; boundary=x", "", None])
def test_only_images_are_taken(port, face, kind):
    status, _, answer = post(port, face, kind)
    assert status == 415
    assert "image/jpeg" in answer["error"]


def test_other_pages_are_not_allowed_to_ask(port, face):
    status, headers, _ = ask(
        port,
        "OPTIONS",
        "/predict",
        headers={"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"},
    )
    assert status == 405
    _, more, _ = post(port, face, headers={"Origin": "http://evil.example"})
    for found in (headers, more):
        assert not [name for name in found if name.lower().startswith("access-control")]


def test_addresses_that_do_not_exist_are_json(port):
    assert ask(port, "GET", "/other")[::2] == (404, {"error": "There is nothing at this address."})
    assert ask(port, "GET", "/predict")[0] == 405


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "empty"),
        (b"not an image", "unknown format"),
        (b"%!PS-Adobe-3.0 EPSF-3.0", "unknown format"),
        (b"\xff\xd8\xff\xe0broken", "not a readable image"),
    ],
)
def test_an_unreadable_image_is_refused_with_the_reason(port, body, message):
    status, _, answer = post(port, body)
    assert status == 422
    assert answer["error"].startswith("The image ")
    assert message in answer["error"]
    assert "item" not in answer["error"]
    assert "on_error" not in answer["error"]


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [12_000, 30_000])
def test_an_image_of_too_many_pixels_is_refused_unseen(port, side):
    body = io.BytesIO()
    Image.new("1", (side, side)).save(body, "png")
    begun = time.monotonic()
    status, _, answer = post(port, body.getvalue())
    assert status == 422
    assert "pixels" in answer["error"]
    assert time.monotonic() - begun < 5


def chunks(n_bytes, sent):
    for _ in range(0, n_bytes, 2**16):
        sent.append(2**16)
        yield b"\0" * 2**16


def test_a_large_image_is_refused_while_it_is_read(face):
    seen = []
    with serving(seen.append, limits=Limits(max_bytes=10**6)) as port:
        for body in (b"\0" * (10**6 + 1), chunks(2**22, [])):
            status, _, answer = post(port, body)
            assert status == 413
            assert "1 MB" in answer["error"]
    assert seen == []


def test_a_slow_upload_is_given_up(face):
    with (
        serving(lambda body: {}, limits=Limits(upload_seconds=0.3, max_images=1)) as port,
        socket.create_connection(("127.0.0.1", port), timeout=20) as slow,
    ):
        slow.sendall(
            b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n"
            b"Content-Length: 1000\r\n\r\nfirst"
        )
        assert slow.recv(4096).startswith(b"HTTP/1.1 408 ")
        assert post(port, face)[0] == 200


def test_an_upload_that_is_broken_off_leaves_its_place(face):
    with serving(lambda body: {}, limits=Limits(max_images=1)) as port:
        with socket.create_connection(("127.0.0.1", port), timeout=20) as broken:
            broken.sendall(
                b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n"
                b"Content-Length: 1000\r\n\r\nfirst"
            )
        statuses = []
        while statuses[-1:] != [200] and len(statuses) < 100:
            statuses.append(post(port, face)[0])
        assert statuses[-1] == 200


def test_more_work_than_the_queue_holds_is_refused(face):
    release = threading.Event()

    def work(body):
        assert release.wait(20)
        return {}

    with (
        serving(work, limits=Limits(max_images=2)) as port,
        ThreadPoolExecutor(3) as clients,
    ):
        asking = [clients.submit(post, port, face) for _ in range(3)]
        refused = next(as_completed(asking))
        release.set()
        status, headers, answer = refused.result()
        assert status == 503
        assert headers["Retry-After"] == "2"
        assert "waiting" in answer["error"]
        assert [client.result()[0] for client in asking if client is not refused] == [200, 200]
        assert post(port, face)[0] == 200


def test_an_image_that_takes_too_long_keeps_its_place_until_it_ends(face):
    release = threading.Event()

    def work(body):
        release.wait(20)
        return {}

    with serving(work, limits=Limits(image_seconds=0.2, max_images=1)) as port:
        assert post(port, face)[0] == 504
        assert post(port, face)[0] == 503
        release.set()
        time.sleep(0.2)
        assert post(port, face)[0] == 200


def test_a_failure_is_answered_and_the_server_goes_on(face):
    def work(body):
        raise RuntimeError("secret")

    with serving(work) as port:
        for _ in range(2):
            status, _, answer = post(port, face)
            assert status == 500
            assert "secret" not in answer["error"]
        assert ask(port, "GET", "/health")[0] == 200


def test_200_uploads_at_once_are_answered_or_refused(estimate, face):
    with serving(estimate) as port, ThreadPoolExecutor(200) as clients:
        begun = time.monotonic()
        answers = list(clients.map(lambda _: post(port, face), range(200)))
        seconds = time.monotonic() - begun
        statuses = [status for status, _, _ in answers]
        assert set(statuses) <= {200, 503}
        assert statuses.count(200) >= Limits().max_images
        assert seconds < 60
        assert post(port, face)[0] == 200


@pytest.fixture(scope="module")
def model_file(fitted, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "age.skage"
    fitted.save(path)
    return path


def test_the_command_serves_until_it_is_interrupted(model_file, face):
    command = [sys.executable, "-m", "skage", "serve", str(model_file), "--port=0", "--crop=no"]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=model_file.parent,
    ) as server:
        try:
            line = server.stdout.readline()
            assert line.startswith("Open http://127.0.0.1:")
            assert post(int(line.split()[1].rpartition(":")[2]), face)[0] == 200
        finally:
            server.send_signal(signal.SIGINT)
            _, errors = server.communicate(timeout=30)
    assert errors == ""
    assert server.returncode == 0
    assert [file.name for file in model_file.parent.iterdir()] == ["age.skage"]


def test_a_port_in_use_is_named(model_file):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        result = CliRunner().invoke(main, ["serve", str(model_file), "--crop=no", "--port", port])
    assert result.exit_code == 1
    assert f"Cannot listen at 127.0.0.1, port {port}: Address already in use." in result.output


@pytest.mark.parametrize("module", ["starlette", "uvicorn"])
def test_without_the_extra_the_command_says_how_to_install_it(module, monkeypatch, tmp_path):
    for name in [n for n in sys.modules if n.split(".")[0] == module or "skage._serve." in n]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    result = CliRunner().invoke(main, ["serve", str(tmp_path / "age.skage")])
    assert result.exit_code == 1
    assert "pip install 'skage[app]'" in result.output


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--crop", "no", "--margin", "0.2"], "--margin has no effect"),
        (["--model-file", __file__], "--model-file has no effect"),
    ],
)
def test_options_without_effect_are_refused(options, message, fitted, tmp_path):
    fitted.save(tmp_path / "age.skage")
    result = CliRunner().invoke(main, ["serve", str(tmp_path / "age.skage"), *options])
    assert result.exit_code == 1
    assert message in result.output


def test_a_model_file_that_cuts_out_faces_does_so_itself(fitted, tmp_path, monkeypatch):
    save(make_pipeline(FaceCropper("haar", margin=0.7), fitted), tmp_path / "age.skage")
    given = ["serve", str(tmp_path / "age.skage")]
    refused = CliRunner().invoke(main, [*given, "--crop", "haar"])
    assert "--crop has no effect with a model file that cuts out faces itself" in refused.output
    used = []
    monkeypatch.setattr(serve, "_listening", lambda *a: 1 / 0)
    monkeypatch.setattr(
        Estimator, "__init__", lambda self, m, size, cropper, **o: used.append(cropper)
    )
    CliRunner().invoke(main, given)
    assert used[0].margin == 0.7
