"""Downloads of public images, from a server on this machine."""

import gzip
import itertools
import subprocess
import threading
import time

import cv2
import numpy as np
import pandas as pd
import pytest
from atlas_server import colour_jpeg, field
from PIL import Image

from hpa.data import download as module
from hpa.data import web
from hpa.data.download import download, grey_image
from hpa.data.images import read_image
from hpa.data.layout import find_files
from hpa.data.store import pack
from hpa.data.tables import SampleTable, read_labelled
from hpa.errors import BadInput, Failure
from hpa.tasks import HEP2, HPA

IDS = ["10580_1610_C1_1", "10580_1610_C1_2", "HPA000042_77_A12_3", "11651_1732_F3_13_cr580610dc203b9"]
PATHS = {
    "10580_1610_C1_1": "/images/10580/1610_C1_1",
    "10580_1610_C1_2": "/images/10580/1610_C1_2",
    "HPA000042_77_A12_3": "/images/42/77_A12_3",
    "11651_1732_F3_13_cr580610dc203b9": "/images/11651/1732_F3_13_cr580610dc203b9",
}
PAIR = IDS[:2]
FILES = {f"{identifier}_{colour}.png" for identifier in PAIR for colour in HPA.channels}


def table(ids=PAIR):
    targets = np.zeros((len(ids), 28), np.uint8)
    targets[np.arange(len(ids)), np.arange(len(ids)) % 28] = 1
    targets[:, 25] = 1
    return SampleTable(np.array(ids), targets)


def fetch(atlas, data, ids=PAIR, rate=1e4, size=512):
    return download(table(ids), data, atlas.url, rate, size)


def pictures(data):
    return {path.name for path in (data / "external").glob("*.png")}


def test_every_colour_becomes_its_grey_image(atlas, tmp_path):
    assert fetch(atlas, tmp_path, IDS) == {}
    assert sorted(atlas.requests) == sorted(f"{PATHS[each]}_{colour}.jpg" for each in IDS for colour in HPA.channels)
    samples = read_labelled(tmp_path / "external", HPA)  # through the ordinary route
    assert samples.ids.tolist() == IDS
    np.testing.assert_array_equal(samples.targets, table(IDS).targets)
    for identifier, files in zip(IDS, find_files(tmp_path / "external", samples.ids, HPA), strict=True):
        image = read_image(files, HPA)
        assert image.shape == (64, 64, 4)
        for number, colour in enumerate(HPA.channels):
            expected = field(f"{PATHS[identifier]}_{colour}.jpg").astype(int)
            assert np.abs(image[..., number] - expected).max() <= 6  # what the JPEG loses
    assert pd.read_csv(tmp_path / "external-failed.csv").empty


def test_sha256sum_agrees_with_the_checksums(atlas, tmp_path):
    fetch(atlas, tmp_path)
    done = subprocess.run(
        ["sha256sum", "-c", "SHA256SUMS"], cwd=tmp_path / "external", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert {line.removesuffix(": OK") for line in done.stdout.splitlines()} == FILES


def test_large_images_are_shrunk_and_small_ones_kept():
    grey = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (200, 200), np.uint8), (0, 0), 3)
    body = colour_jpeg(grey, "yellow")
    assert np.abs(grey_image(body, "yellow", 512).astype(int) - grey).max() <= 6
    shrunk = grey_image(body, "yellow", 50)
    assert shrunk.shape == (50, 50)
    assert np.abs(shrunk - grey.reshape(50, 4, 50, 4).mean(axis=(1, 3))).max() <= 6


def test_a_grey_jpeg_is_taken_as_it_is():
    grey = np.full((32, 32), 90, np.uint8)
    body = cv2.imencode(".jpg", grey)[1].tobytes()
    assert np.abs(grey_image(body, "blue", 512).astype(int) - 90).max() <= 2


WHOLE = colour_jpeg(field("a"), "red")
HOLED = WHOLE[: len(WHOLE) // 2] + bytes(200) + WHOLE[len(WHOLE) // 2 + 200 :]


@pytest.mark.parametrize("body", [b"", b"nothing", b"\xff\xd8\xff\xd9", WHOLE[:-700], HOLED])
def test_what_is_not_a_whole_jpeg(body):
    assert grey_image(body, "red", 512) is None


def test_the_other_colours_of_a_jpeg_do_not_count():
    painted = np.zeros((32, 32, 3), np.uint8)
    painted[:] = (30, 60, 200)  # blue, green, red
    body = cv2.imencode(".jpg", painted, [cv2.IMWRITE_JPEG_QUALITY, 100])[1].tobytes()
    found = {colour: float(grey_image(body, colour, 512).mean()) for colour in HPA.channels}
    assert found == pytest.approx({"red": 200, "green": 60, "blue": 30, "yellow": 130}, abs=2)


def test_what_is_there_is_not_fetched_again(atlas, tmp_path):
    fetch(atlas, tmp_path)
    atlas.requests.clear()
    assert fetch(atlas, tmp_path, IDS) == {}
    assert {path.rsplit("_", 1)[0] for path in atlas.requests} == {PATHS[each] for each in IDS[2:]}
    atlas.requests.clear()
    assert fetch(atlas, tmp_path, IDS) == {}
    assert atlas.requests == []


def damage_cut(file):
    file.write_bytes(file.read_bytes()[:-10])


def damage_bit(file):
    file.write_bytes(file.read_bytes()[:-20] + b"?" + file.read_bytes()[-19:])


@pytest.mark.parametrize("damage", [damage_cut, damage_bit, lambda file: file.unlink()])
def test_a_file_that_differs_from_its_checksum_is_fetched_again(atlas, tmp_path, damage):
    fetch(atlas, tmp_path)
    file = tmp_path / f"external/{IDS[0]}_green.png"
    whole = file.read_bytes()
    damage(file)
    atlas.requests.clear()
    assert fetch(atlas, tmp_path) == {}
    assert atlas.requests == [f"{PATHS[IDS[0]]}_green.jpg"]
    assert file.read_bytes() == whole


@pytest.mark.parametrize("end", ["", "deadbeef", "0" * 64 + "  10580_16", "\n\n", "\x80\xff"])
def test_a_checksum_file_that_was_cut_short(atlas, tmp_path, end):
    fetch(atlas, tmp_path)
    sums = tmp_path / "external/SHA256SUMS"
    lines = sums.read_bytes().splitlines(keepends=True)
    sums.write_bytes(b"".join(lines[:-1]) + end.encode("latin-1"))
    atlas.requests.clear()
    assert fetch(atlas, tmp_path) == {}
    assert len(atlas.requests) == 1
    assert len(sums.read_text().splitlines()) == len(FILES)


@pytest.mark.parametrize("fault", [500, 503, 429, "cut", "short", "page"])
def test_what_passes_is_tried_again(atlas, tmp_path, fault):
    path = f"{PATHS[IDS[1]]}_blue.jpg"
    atlas.faults[path] = [fault, fault]
    assert fetch(atlas, tmp_path) == {}
    assert atlas.requests.count(path) == 3
    assert pictures(tmp_path) == FILES


def test_a_slow_answer_is_given_up_and_asked_for_again(atlas, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "TIMEOUT", 0.5)
    path = f"{PATHS[IDS[1]]}_blue.jpg"
    atlas.faults[path] = [1.5]
    assert fetch(atlas, tmp_path) == {}
    assert atlas.requests.count(path) >= 2


def test_the_server_says_how_long_to_wait(atlas, tmp_path):
    path = f"{PATHS[IDS[0]]}_red.jpg"
    atlas.faults[path], atlas.headers["Retry-After"] = [429], "1"
    assert fetch(atlas, tmp_path, IDS[:1]) == {}
    first, second = (at for each, at in zip(atlas.requests, atlas.times, strict=True) if each == path)
    assert second - first >= 1


@pytest.mark.parametrize(
    ("fault", "times", "named"),
    [(404, 1, "HTTP 404"), (403, 1, "HTTP 403"), (500, 5, "HTTP 500"), ("page", 5, "not a whole")],
)
def test_a_sample_that_cannot_be_had_is_named_and_tried_again_later(atlas, tmp_path, fault, times, named):
    path = f"{PATHS[IDS[1]]}_green.jpg"
    atlas.faults[path] = [fault] * times
    failed = fetch(atlas, tmp_path)
    assert list(failed) == [IDS[1]]
    assert named in failed[IDS[1]]
    assert path in failed[IDS[1]]
    assert atlas.requests.count(path) == times
    assert pd.read_csv(tmp_path / "external-failed.csv").to_dict("records") == [{"Id": IDS[1], "reason": failed[IDS[1]]}]
    assert read_labelled(tmp_path / "external", HPA).ids.tolist() == IDS[:1]
    assert fetch(atlas, tmp_path) == {}
    assert read_labelled(tmp_path / "external", HPA).ids.tolist() == PAIR
    assert pd.read_csv(tmp_path / "external-failed.csv").empty


def test_the_pauses_grow(atlas, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "FIRST_PAUSE", 0.05)
    path = f"{PATHS[IDS[0]]}_red.jpg"
    atlas.faults[path] = [500] * 4
    assert fetch(atlas, tmp_path, IDS[:1]) == {}
    times = [at for each, at in zip(atlas.requests, atlas.times, strict=True) if each == path]
    pauses = [second - first for first, second in itertools.pairwise(times)]
    assert all(pause >= least for pause, least in zip(pauses, (0.05, 0.1, 0.2, 0.4), strict=True))


def drip(handler, body):
    """A byte now and then, for ever."""
    for byte in itertools.chain(b"HTTP/1.1 200 OK\r\n\r\n", itertools.repeat(65)):
        handler.wfile.write(bytes([byte]))
        time.sleep(0.05)


def drip_within_the_headers(handler, body):
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
    while True:
        handler.wfile.write(b"x")
        time.sleep(0.05)


def go_on_for_ever(handler, body):
    """Headers that say that the answer will come, without end."""
    while True:
        handler.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n" * 100)
        time.sleep(0.01)


@pytest.mark.parametrize("slow", [drip, drip_within_the_headers, go_on_for_ever])
def test_an_answer_without_end_is_given_up_and_asked_for_again(atlas, tmp_path, monkeypatch, slow):
    for name, value in {"DEADLINE": 0.4, "GRACE": 0.2, "SLOWEST": 100}.items():
        monkeypatch.setattr(web, name, value)
    path = f"{PATHS[IDS[1]]}_blue.jpg"
    atlas.faults[path] = [slow, slow]
    assert fetch(atlas, tmp_path) == {}
    assert atlas.requests.count(path) == 3
    atlas.faults[path] = [slow] * 5
    (tmp_path / f"external/{IDS[1]}_blue.png").unlink()
    assert "TimeoutError" in fetch(atlas, tmp_path)[IDS[1]]


def headers(handler, *lines, status="200 OK"):
    handler.wfile.write("\r\n".join([f"HTTP/1.1 {status}", *lines, "", ""]).encode("latin-1"))


def endless(handler, body):
    headers(handler)
    while True:
        handler.wfile.write(bytes(2**16))


def redirect_with_an_endless_page(handler, body):
    headers(handler, "Location: /images/elsewhere_red.jpg", status="302 Found")
    while True:
        handler.wfile.write(bytes(2**16))


def chunk_without_end(handler, body):
    headers(handler, "Transfer-Encoding: chunked")
    handler.wfile.write(b"ffffffffffff\r\n")
    while True:
        handler.wfile.write(bytes(2**16))


def says_a_petabyte(handler, body):
    headers(handler, f"Content-Length: {10**15}")
    handler.wfile.write(body)


def garbled_chunks(handler, body):
    headers(handler, "Transfer-Encoding: chunked")
    handler.wfile.write(b"zzz\r\n" + body)


def packed_by_gzip(handler, body):
    headers(handler, "Content-Encoding: gzip")
    handler.wfile.write(gzip.compress(body))


def redirected_to(address):
    return lambda handler, body: headers(handler, f"Location: {address}", status="302 Found")


def in_circles(handler, body):
    headers(handler, f"Location: {handler.path}", status="302 Found")


def rude(handler, body):
    headers(handler, status="404 \x1b[2J\x9b" + "x" * 1000)


@pytest.mark.parametrize(
    ("fault", "times", "named"),
    [
        (endless, 1, "the answer is larger than 1 MiB"),
        (chunk_without_end, 1, "the answer is larger than 1 MiB"),
        (garbled_chunks, 5, "IncompleteRead"),
        (packed_by_gzip, 5, "not a whole JPEG"),
        (redirected_to("file:///etc/passwd"), 1, "HTTP 302"),
        (redirected_to("ftp://127.0.0.1/a.jpg"), 5, "unknown url type: ftp"),
        (redirected_to("http://[::1"), 1, "ValueError"),
        (redirected_to(f"http://{'x' * 70}/a.jpg"), 1, "label"),
        (redirected_to("http://m\xfcnchen/a.jpg"), 1, "UnicodeEncodeError"),
        (rude, 1, "HTTP 404"),
    ],
)
def test_what_servers_may_do_fails_the_sample_alone(atlas, tmp_path, monkeypatch, fault, times, named):
    monkeypatch.setattr(web, "LARGEST", 2**20)
    monkeypatch.setattr(module, "LARGEST", 2**20)
    path = f"{PATHS[IDS[1]]}_green.jpg"
    atlas.faults[path] = [fault] * times
    failed = fetch(atlas, tmp_path)
    assert list(failed) == [IDS[1]]
    assert named in failed[IDS[1]]
    assert failed[IDS[1]].isprintable()
    assert len(failed[IDS[1]]) < 400
    assert atlas.requests.count(path) == times


@pytest.mark.parametrize("fault", [says_a_petabyte, redirect_with_an_endless_page])
def test_an_answer_that_can_be_used_all_the_same(atlas, tmp_path, monkeypatch, fault):
    monkeypatch.setattr(web, "LARGEST", 2**20)
    atlas.faults[f"{PATHS[IDS[1]]}_green.jpg"] = [fault]
    assert fetch(atlas, tmp_path) == {}
    assert pictures(tmp_path) == FILES


def test_redirections_without_end(atlas, tmp_path):
    path = f"{PATHS[IDS[0]]}_red.jpg"
    atlas.faults[path] = [in_circles] * 50
    assert "infinite loop" in fetch(atlas, tmp_path, IDS[:1])[IDS[0]]
    assert len(atlas.requests) <= 11


def test_a_shrunk_image_keeps_its_proportions():
    body = cv2.imencode(".jpg", np.full((40, 80), 90, np.uint8))[1].tobytes()
    assert grey_image(body, "blue", 20).shape == (10, 20)
    assert grey_image(body, "blue", 1).shape == (1, 1)


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ("http://v18.proteinatlas.org/images/", "http://v18.proteinatlas.org/images"),
        ("HTTPS://Example.org:8443", "https://example.org:8443"),
        ("http://münchen.example/Bilder für alle/ß", "http://xn--mnchen-3ya.example/Bilder%20f%C3%BCr%20alle/%C3%9F"),
        ("http://a.example/50%25/%7Eme", "http://a.example/50%25/%7Eme"),
        ("http://[::1]:80/images", "http://[::1]:80/images"),
        ("  http://a.example/x", "http://a.example/x"),
    ],
)
def test_addresses_are_encoded_as_they_are_sent(given, sent):
    assert web.encoded_address(given) == sent


def test_an_address_with_umlauts_and_spaces_is_asked_for(atlas, tmp_path):
    failed = download(table(IDS[:1]), tmp_path, f"http://127.0.0.1:{atlas.server_port}/Bilder für alle", 1e4, 512)
    assert failed == {}
    assert atlas.requests[0].startswith("/Bilder%20f%C3%BCr%20alle/10580/1610_C1_1_")


def test_a_rate_of_one_request_in_an_age_waits(tmp_path):
    stop = threading.Event()
    pause = module._pacer(1e-320, stop)
    pause()
    threading.Timer(0.1, stop.set).start()
    with pytest.raises(module._Unavailable, match="stopped"):
        pause()


def test_no_more_requests_than_the_rate(atlas, tmp_path):
    fetch(atlas, tmp_path, rate=20)
    assert len(atlas.times) == 8
    assert max(atlas.times) - min(atlas.times) >= 0.9 * 7 / 20


def test_a_server_without_any_image_is_given_up(atlas, tmp_path):
    ids = [f"{number}_1_A1_1" for number in range(60)]
    atlas.faults.update({f"/images/{number}/1_A1_1_red.jpg": [404] for number in range(60)})
    with pytest.raises(Failure, match=r"40 samples in a row failed, the last one because of http.*HTTP 404"):
        fetch(atlas, tmp_path, ids)
    assert len(pd.read_csv(tmp_path / "external-failed.csv")) == 40
    assert not (tmp_path / "external.csv").exists()


def test_a_server_that_is_not_there(tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(module, "FIRST_PAUSE", 0.001)
    failed = download(table(IDS[:1]), tmp_path, "http://127.0.0.1:9/images", 1e4, 512)
    assert "refused" in failed[IDS[0]]


def test_interrupted_and_resumed(atlas, tmp_path, monkeypatch):
    write_image, written = module.write_image, []

    def interrupted(path, image):
        if len(written) == 6:
            raise KeyboardInterrupt
        written.append(path.name)
        write_image(path, image)

    monkeypatch.setattr(module, "CONNECTIONS", 1)
    monkeypatch.setattr(module, "write_image", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fetch(atlas, tmp_path)
    assert pictures(tmp_path) == set(written)
    assert read_labelled(tmp_path / "external", HPA).ids.tolist() == IDS[:1]
    monkeypatch.setattr(module, "write_image", write_image)
    atlas.requests.clear()
    assert fetch(atlas, tmp_path) == {}
    assert len(atlas.requests) == len(FILES) - 6
    assert pictures(tmp_path) == FILES


def test_a_full_disk_is_told_and_nothing_is_half_written(atlas, tmp_path, monkeypatch):
    def full(path, image):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "write_image", full)
    with pytest.raises(OSError, match="No space left"):
        fetch(atlas, tmp_path)
    assert pictures(tmp_path) == set()


@pytest.mark.parametrize(
    ("ids", "url", "named"),
    [
        (["00070df0-bbc3-11e8-b2bc-ac1f6b6435d0", "12_3_A1_1", "ab_1_A1_1"], None, ["2 faults", "00070df0", "ab_1_A1_1"]),
        (["12_3_A1"], None, ["id 12_3_A1 is not of the form <antibody>_<plate>_<well>_<field>"]),
        (IDS, "file:///etc", ["base_url file:///etc"]),
        (IDS, "v18.proteinatlas.org/images", ["expected an address such as http://"]),
        (IDS, "http://[::1", ["base_url http://[::1", "expected an address"]),
        (IDS, "http://[::zz]/images", ["expected an address"]),
        (IDS, "http://", ["expected an address"]),
        (IDS, f"http://{'x' * 70}.example", ["expected an address", "label"]),
        (IDS, f"http://{'ü' * 70}.example", ["expected an address", "label"]),
        (IDS, "http://a..example", ["expected an address", "label"]),
        (IDS, "http://a b.example", ["expected an address"]),
        (IDS, "http://127.0.0.1:99999/images", ["expected an address", "0-65535"]),
        (IDS, "http://127.0.0.1:x/images", ["expected an address"]),
        (IDS, "http://me:secret@127.0.0.1/images", ["leave out the user name"]),
        (IDS, "http://127.0.0.1/images?size=1", ["leave out the user name, ? and #"]),
        (IDS, "http://127.0.0.1/\udcff", ["expected an address"]),
        ([f"1_1_A1_{'x' * 250}", f"1_1_A1_{'ü' * 120}"], None, ["2 faults", "too long for a file's name"]),
    ],
)
def test_what_cannot_be_asked_for(tmp_path, ids, url, named):
    with pytest.raises(BadInput) as caught:
        download(table(ids), tmp_path, url or "http://127.0.0.1:9/images", 1e4, 512)
    for text in named:
        assert text in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_the_rows_of_an_earlier_table_stay(atlas, tmp_path):
    fetch(atlas, tmp_path)
    labels = tmp_path / "external.csv"
    labels.write_text(labels.read_text() + "1_1_A1_1,3\n")  # of which no image is there
    assert fetch(atlas, tmp_path, IDS[2:]) == {}
    samples = read_labelled(tmp_path / "external", HPA)
    assert samples.ids.tolist() == IDS
    np.testing.assert_array_equal(samples.targets, np.concatenate([table().targets, table(IDS[2:]).targets]))
    (tmp_path / f"external/{IDS[0]}_green.png").unlink()
    assert fetch(atlas, tmp_path, [IDS[3], IDS[1]]) == {}
    samples = read_labelled(tmp_path / "external", HPA)
    assert samples.ids.tolist() == [IDS[2], IDS[3], IDS[1]]
    np.testing.assert_array_equal(samples.targets, np.concatenate([table(IDS[2:]).targets[:1], table().targets]))


def test_a_faulty_table_of_earlier_is_refused(atlas, tmp_path):
    fetch(atlas, tmp_path)
    (tmp_path / "external.csv").write_text("Id,Target\n10580_1610_C1_1,28\n")
    atlas.requests.clear()
    with pytest.raises(BadInput, match=r"external\.csv: .*class numbers are 0 to 27"):
        fetch(atlas, tmp_path, IDS[2:])
    assert atlas.requests == []


def test_a_table_of_someone_else_is_not_replaced(atlas, tmp_path):
    (tmp_path / "external.csv").write_text("Id,Target\nmine,3\n")
    with pytest.raises(BadInput, match=r"external\.csv: is not of this command"):
        fetch(atlas, tmp_path)
    assert (tmp_path / "external.csv").read_text() == "Id,Target\nmine,3\n"
    assert atlas.requests == []


def test_images_of_another_size_are_not_mixed_in(atlas, tmp_path):
    fetch(atlas, tmp_path, size=32)
    atlas.requests.clear()
    with pytest.raises(BadInput, match="external: holds images of size 32; ask for that"):
        fetch(atlas, tmp_path, IDS, size=64)
    assert atlas.requests == []
    assert fetch(atlas, tmp_path, IDS, size=32) == {}
    assert {read_image([file], HEP2).shape for file in (tmp_path / "external").glob("*.png")} == {(32, 32, 1)}


def test_the_ids_of_the_real_table(shared_data):
    ids = pd.read_csv(shared_data / "kaggle_csv/HPAv18RBGY_wodpl.csv")["Id"][::7].tolist()
    paths = module._paths(ids)
    assert len(set(paths.values())) == len(ids)
    assert paths["10580_1610_C1_1"] == "10580/1610_C1_1"


def test_the_images_can_be_packed_as_a_set_of_their_own(atlas, tmp_path):
    fetch(atlas, tmp_path)
    samples = read_labelled(tmp_path / "external", HPA)
    store = pack(tmp_path / "runs/stores/external-16", tmp_path / "external", samples.ids, HPA, 16)
    red = np.array(Image.open(tmp_path / f"external/{IDS[1]}_red.png"))
    assert store.images.shape == (2, 16, 16, 4)
    np.testing.assert_allclose(store.images[1, ..., 0], red.reshape(16, 4, 16, 4).mean(axis=(1, 3)), atol=1)
