"""The routes, asked through HTTP."""

from __future__ import annotations

import socket
import struct
import time
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from live_server import Running, png
from superscale.examples import photo
from superscale.inference.upscaler import Upscaler


def pixels(data: bytes) -> Any:
    return np.asarray(Image.open(BytesIO(data)))


def test_the_picture_that_comes_back_is_the_upscalers(server: Running, models_folder: Path) -> None:
    answer = server.post("/v1/upscale")
    upscaler = Upscaler(models_folder / "models" / "quick.safetensors", device="cpu", tile=32)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "image/png"
    assert 'filename="picture_enlarged.png"' in answer.headers["content-disposition"]
    assert np.array_equal(pixels(answer.content), upscaler(pixels(png())))


def test_where_no_model_is_named_the_picture_chooses(serving: Callable[..., Any], tmp_path: Path) -> None:
    stream = BytesIO()
    Image.open(photo("cat.jpg")).crop((90, 60, 138, 108)).save(stream, "JPEG", quality=40)
    with serving(tmp_path, model=None) as server:
        assert server.client.get("/v1/models").json()["models"][0]["name"] == "auto"
        answer = server.post("/v1/upscale", stream.getvalue(), model="", format="png")
    expected = Upscaler("photo-x4", device="cpu", tile=32)(pixels(stream.getvalue()))
    assert answer.status_code == 200
    assert np.array_equal(pixels(answer.content), expected)


def test_scale_format_and_metadata_are_as_asked(server: Running) -> None:
    stream = BytesIO()
    exif = Image.Exif()
    exif[0x013B] = "the artist"
    Image.fromarray(pixels(png())).save(stream, "PNG", exif=exif)
    kept = Image.open(BytesIO(server.post("/v1/upscale", stream.getvalue(), scale=2.5, format="webp").content))
    stripped = Image.open(BytesIO(server.post("/v1/upscale", stream.getvalue(), metadata="strip", format="jpg").content))
    assert (kept.format, kept.size, kept.getexif()[0x013B]) == ("WEBP", (80, 60), "the artist")
    assert (stripped.format, dict(stripped.getexif())) == ("JPEG", {})


def test_what_the_format_does_not_hold_is_told_with_the_picture(server: Running) -> None:
    stream = BytesIO()
    Image.fromarray(np.zeros((8, 8, 4), np.uint8)).save(stream, "PNG")
    answer = server.post("/v1/upscale", stream.getvalue(), format="jpg")
    note = "JPEG holds no transparency: the picture was laid over white"
    assert (answer.status_code, answer.headers["superscale-notes"]) == (200, note)
    job = server.submit(stream.getvalue(), format="jpg")
    server.until_over(job)
    assert server.client.get(f"/v1/jobs/{job}/result").headers["superscale-notes"] == note
    assert "superscale-notes" not in server.post("/v1/upscale").headers


@pytest.mark.parametrize("path", ["/v1/upscale", "/v1/jobs"])
def test_fields_in_the_address_are_refused(server: Running, path: str) -> None:
    answer = server.post(f"{path}?scale=2")
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "scale")


def test_a_side_that_the_format_does_not_hold_is_refused_before_the_job(server: Running) -> None:
    stream = BytesIO()
    Image.new("RGB", (4096, 4)).save(stream, "PNG")
    answer = server.post("/v1/jobs", stream.getvalue(), format="webp")
    assert (answer.status_code, answer.json()["type"]) == (413, "urn:superscale:output-too-large"), answer.text
    assert "at most 16383 pixels" in answer.json()["detail"]


def test_a_tiff_comes_back_as_a_tiff(server: Running) -> None:
    stream = BytesIO()
    Image.fromarray(pixels(png())).save(stream, "TIFF")
    answer = server.post("/v1/upscale", stream.getvalue())
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/tiff"), answer.text
    assert Image.open(BytesIO(answer.content)).format == "TIFF"


@pytest.mark.parametrize("asked", ["lines=1-2", "bytes=9-0", "bytes=a-b", "bytes=0-" + "9" * 5000])
def test_a_range_that_is_none_is_ignored(server: Running, asked: str) -> None:
    job = server.submit()
    server.until_over(job)
    answer = server.client.get(f"/v1/jobs/{job}/result", headers={"Range": asked})
    assert answer.status_code == 200
    assert pixels(answer.content).shape == (96, 128, 3)
    assert server.client.get(f"/v1/jobs/{job}/result", headers={"Range": "bytes=1-3"}).content == b"PNG"


def test_a_job_is_accepted_at_once_and_tells_its_way_from_0_to_100(server: Running) -> None:
    answer = server.post("/v1/jobs", png(200, 200))
    events = server.events(answer.json()["id"])
    document = server.job(answer.json()["id"])
    ids = [number for _, number, _ in events]
    assert (answer.status_code, answer.headers["location"]) == (202, f"/v1/jobs/{answer.json()['id']}")
    assert (ids, ids[-1]) == (sorted(ids), 101)
    assert [event for event, _, _ in events[:-1]] == ["progress"] * (len(events) - 1)
    assert (events[-1][0], document["state"], document["progress"]) == ("done", "done", 100)
    assert document["output"] | {"bytes": 0} == {"width": 800, "height": 800, "bytes": 0, "type": "image/png", "notices": []}
    result = server.client.get(f"{answer.headers['location']}/result")
    assert len(result.content) == document["output"]["bytes"]
    assert Image.open(BytesIO(result.content)).size == (800, 800)


def test_a_stream_that_is_taken_up_again_does_not_go_back(server: Running) -> None:
    job = server.submit(png(200, 200))
    events = server.events(job, last=60)
    assert min(number for _, number, _ in events) >= 60
    assert server.events(job, last=101)[-1][0] == "done"


def bomb(width: int, height: int) -> bytes:
    """A PNG that says it is large, and holds nothing."""
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + head
    return (
        b"\x89PNG\r\n\x1a\n"
        + struct.pack(">I", 13)
        + chunk
        + struct.pack(">I", zlib.crc32(chunk))
        + b"\0\0\0\0IDAT\x35\xaf\x06\x1e"
    )


def flat(height: int, width: int) -> bytes:
    stream = BytesIO()
    Image.fromarray(np.zeros((height, width), np.uint8)).save(stream, "PNG")
    return stream.getvalue()


BAD: list[tuple[int, str, bytes, dict[str, Any]]] = [
    (413, "too-many-bytes", bytes(300_000), {}),
    (413, "too-many-bytes", bytes(200_001), {}),
    (415, "not-a-picture", bytes(200_000), {}),
    (413, "too-many-pixels", flat(300, 400), {}),
    (422, "damaged", bomb(60_000, 60_000), {}),
    (413, "output-too-large", png(100, 100), {"scale": 30}),
    (415, "not-a-picture", b"hello, I am a text", {}),
    (415, "not-a-picture", b"<svg xmlns='http://www.w3.org/2000/svg'/>", {}),
    (422, "damaged", png()[:30], {}),
    (422, "bad-field", png(), {"model": "none"}),
    (422, "bad-field", png(), {"model": "../../etc/passwd"}),
    (422, "bad-field", png(), {"scale": "nan"}),
    (422, "bad-field", png(), {"scale": 65}),
    (422, "bad-field", png(), {"fidelity": 0.5}),
    (422, "bad-field", png(), {"format": "gif"}),
    (422, "bad-field", png(), {"quality": 0}),
    (422, "bad-field", png(), {"metadata": "some"}),
    (422, "bad-field", png(), {"url": "http://example.org/a.png"}),
    (422, "bad-field", b"", {}),
]


def assert_is_problem(answer: Any, status: int, kind: str) -> None:
    document = answer.json()
    assert (answer.status_code, document["type"]) == (status, f"urn:superscale:{kind}"), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert document["status"] == status
    assert len(document["detail"]) > 10
    assert not any(word in answer.text for word in ("Traceback", "/tmp", "/home", "site-packages", "upload'"))


@pytest.mark.parametrize("route", ["/v1/upscale", "/v1/jobs"])
@pytest.mark.parametrize(("status", "kind", "picture", "fields"), BAD, ids=[f"{one[1]}-{n}" for n, one in enumerate(BAD)])
def test_what_cannot_be_enlarged_is_refused_with_a_problem_document(
    server: Running, route: str, status: int, kind: str, picture: bytes, fields: dict[str, Any]
) -> None:
    answer = server.post(route, picture, **fields)
    assert_is_problem(answer, status, kind)
    if kind == "bad-field":
        assert answer.json()["errors"][0]["field"] == next(iter(fields), "image")
    if status == 413:
        assert f"{answer.json()['limit']:,}" in answer.json()["detail"]


def test_every_address_answers_its_errors_with_problem_documents(server: Running) -> None:
    client = server.client
    assert_is_problem(client.get("/nothing"), 404, "not-found")
    assert_is_problem(client.get("/static/nothing.js"), 404, "not-found")
    assert_is_problem(client.get("/static/../app.py"), 404, "not-found")
    assert_is_problem(client.get("/v1/jobs/0123456789abcdef"), 404, "not-found")
    assert_is_problem(client.delete("/v1/models"), 405, "wrong-method")
    assert_is_problem(client.post("/v1/jobs", json={"image": "x"}), 415, "not-multipart")
    job = server.submit()
    server.until_over(job)
    assert_is_problem(client.get(f"/v1/jobs/{job}/events", headers={"Last-Event-ID": "x"}), 422, "bad-field")
    with socket.create_connection(("127.0.0.1", server.port)) as raw:
        raw.sendall(b"GET / HTTP/1.1\r\nbad header\r\n\r\n")
        with raw.makefile("rb") as answer:
            assert b"HTTP/1.1 400" in (said := answer.read())
        assert b"application/problem+json" in said


def test_a_damaged_picture_ends_its_job_with_a_problem(server: Running) -> None:
    whole = png(40, 40)
    answer = server.post("/v1/upscale", whole[: len(whole) // 2])
    assert_is_problem(answer, 422, "damaged")
    document = server.until_over(server.submit(whole[: len(whole) // 2]))
    assert (document["state"], document["error"]["status"]) == ("failed", 422)
    assert_is_problem(server.client.get(f"/v1/jobs/{document['id']}/result"), 409, "not-ready")


def test_exactly_so_many_jobs_wait_and_the_next_is_told_when_to_come_again(server: Running) -> None:
    running = server.submit_slow()
    server.until(running, lambda job: job["state"] == "running")
    waiting = [server.submit(png(140, 140)) for _ in range(3)]
    answer = server.post("/v1/jobs", png(140, 140))
    assert_is_problem(answer, 429, "queue-full")
    assert int(answer.headers["retry-after"]) >= 1
    assert [server.job(one)["place"] for one in waiting] == [1, 2, 3]
    left = [server.job(one)["seconds_left"] for one in waiting]
    assert left == sorted(left)
    assert server.post("/v1/upscale", png(140, 140)).status_code == 429
    # A cancel makes a place.
    server.client.delete(f"/v1/jobs/{waiting[1]}")
    assert [server.job(one).get("place") for one in waiting] == [1, None, 2]
    waiting.append(server.submit(png(140, 140)))
    for one in waiting:
        server.client.delete(f"/v1/jobs/{one}")
    assert server.job(running)["state"] == "running"
    server.client.delete(f"/v1/jobs/{running}")
    assert server.until_over(running)["state"] == "cancelled"


def test_cancels_of_queued_jobs_never_touch_the_running_one(server: Running) -> None:
    running = server.submit_slow()
    server.until(running, lambda job: job["progress"] > 0)
    for _ in range(10):
        one = server.submit(png(140, 140))
        assert server.client.delete(f"/v1/jobs/{one}").status_code == 204
        assert server.job(one)["state"] == "cancelled"
    progress = server.job(running)["progress"]
    server.until(running, lambda job: job["progress"] > progress)
    server.client.delete(f"/v1/jobs/{running}")
    assert server.until_over(running)["state"] == "cancelled"


def test_a_cancelled_job_ends_its_stream_and_the_worker_goes_on(server: Running) -> None:
    worker = server.worker()
    job = server.submit_slow()
    server.until(job, lambda one: one["progress"] > 0)
    server.client.delete(f"/v1/jobs/{job}")
    assert server.events(job)[-1][0] == "cancelled"
    assert server.until_over(server.submit())["state"] == "done"
    assert server.worker() == worker
    assert not list((Path(server.settings["spool"]) / "jobs" / job).glob("result*"))


def test_a_client_that_leaves_ends_its_own_job_and_no_other_and_leaves_no_upload(server: Running) -> None:
    jobs = Path(server.settings["spool"]) / "jobs"
    before = set(jobs.iterdir())
    body = b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nslow\r\n--b\r\nContent-Disposition: form-data; '
    body += b'name="image"; filename="a.png"\r\n\r\n' + png(256, 256) + b"\r\n--b--\r\n"
    head = f"POST /v1/upscale HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
    started = gauge(server, "superscale_wait_seconds_count")
    leaving = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(2)]
    for one in leaving:
        one.sendall(f"{head}Content-Type: multipart/form-data; boundary=b\r\n\r\n".encode() + body)
        wait_for(lambda: gauge(server, "superscale_wait_seconds_count") == started + 1)
    staying = server.submit(png(140, 140))
    assert server.job(staying)["place"] == 2
    leaving[1].close()
    wait_for(lambda: server.job(staying)["place"] == 1)
    assert gauge(server, 'superscale_rejections_total{reason="cancelled"}') >= 1
    leaving[0].close()
    assert server.until_over(staying)["state"] == "done"
    wait_for(lambda: set(jobs.iterdir()) == before | {jobs / staying})


def gauge(server: Running, name: str) -> float:
    lines = server.client.get("/metrics").text.splitlines()
    return next((float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{name} ")), 0.0)


def wait_for(holds: Any) -> None:
    end = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_the_same_key_gives_the_same_job_and_another_picture_is_refused(server: Running) -> None:
    key = {"Idempotency-Key": "order-7"}
    first = server.post("/v1/jobs", headers=key)
    again = server.post("/v1/jobs", headers=key)
    assert (again.status_code, again.json()["id"]) == (202, first.json()["id"])
    assert_is_problem(server.post("/v1/jobs", png(seed=1), headers=key), 422, "key-reused")
    assert_is_problem(server.post("/v1/jobs", headers=key, scale=2), 422, "key-reused")
    assert_is_problem(server.post("/v1/jobs", headers={"Idempotency-Key": "x" * 300}), 422, "bad-field")


def test_a_preview_does_not_wait_for_a_long_job(server: Running) -> None:
    running = server.submit_slow()
    assert server.post("/v1/upscale", png(128, 128)).status_code == 200
    assert server.job(running)["state"] == "running"
    server.client.delete(f"/v1/jobs/{running}")
    server.until_over(running)


def test_a_result_that_is_deleted_is_gone(server: Running) -> None:
    job = server.submit()
    server.until_over(job)
    assert server.client.delete(f"/v1/jobs/{job}").status_code == 204
    assert_is_problem(server.client.get(f"/v1/jobs/{job}"), 404, "not-found")
    assert not (Path(server.settings["spool"]) / "jobs" / job).exists()


def test_an_answered_picture_is_not_kept(server: Running) -> None:
    before = set((Path(server.settings["spool"]) / "jobs").iterdir())
    assert server.post("/v1/upscale").status_code == 200
    wait_for(lambda: set((Path(server.settings["spool"]) / "jobs").iterdir()) <= before)


def test_models_and_limits_are_told(server: Running) -> None:
    document = server.client.get("/v1/models").json()
    assert document["ready"]
    assert document["models"][0] | {"use": ""} == {"name": "quick", "scale": 4, "use": "", "default": True, "fidelity": False}
    assert {"slow", "srgan-x4"} <= {one["name"] for one in document["models"]}
    assert document["limits"] == {"bytes": 200_000, "pixels": 100_000, "output_pixels": 1_700_000}


def test_the_server_process_has_loaded_neither_torch_nor_a_decoder(server: Running) -> None:
    assert server.post("/v1/upscale").status_code == 200
    loaded = Path(f"/proc/{server.process.pid}/maps").read_text()
    assert "_multiarray_umath" in Path(f"/proc/{server.worker()}/maps").read_text()
    assert not [name for name in ("libtorch", "_imaging", "_multiarray_umath", "onnxruntime", "imagecodecs") if name in loaded]


def test_metrics_count_what_happened(server: Running) -> None:
    server.post("/v1/upscale")
    server.post("/v1/upscale", b"text")
    text = server.client.get("/metrics").text
    assert 'superscale_requests_total{method="POST",route="/v1/upscale",status="415"}' in text
    assert gauge(server, "superscale_compute_seconds_count") >= 1
    assert gauge(server, "superscale_input_megapixels_total") > 0
    assert gauge(server, 'superscale_memory_bytes{process="worker-0"}') > 10e6
    assert gauge(server, "superscale_queue_length") == 0
