"""fetch: the status table, and downloads from a server on this machine."""

import hashlib
import http.server
import io
import os
import socketserver
import tarfile
import threading

import pytest
from helpers.files import save

from hw2lib.datasets import digits, fetch
from hw2lib.errors import UserError


def test_status_says_what_is_used_and_what_is_missing(folder):
    for name in ("usps.bz2", "usps.t.bz2"):
        save(folder / "USPS" / name, b"")
    text = fetch.data_status()
    rows = {line.split()[0]: line.split()[1] for line in text.splitlines()[3:9]}
    assert rows == {"mnistm": "embedded", "svhn": "embedded", "usps": "public",
                    "mnist": "embedded", "uci": "public", "faces": "embedded"}  # fmt: skip
    assert str(folder) in text and "train_32x32.mat is missing" in text


@pytest.mark.parametrize("name", ["faces", "imagenet"])
def test_what_cannot_be_fetched(folder, name):
    with pytest.raises(
        UserError, match=f"{name} cannot be fetched|to fetch '{name}' is unknown; choose one of"
    ):
        fetch.fetch(name)


@pytest.mark.parametrize("name", ["mnist", "usps", "svhn"])
def test_sources_have_checksums_and_the_names_that_are_read(folder, name):
    for addresses, file, checksum in fetch.sources(name):
        assert addresses and file.is_relative_to(folder) and len(checksum) == 36
        save(file, b"")
    assert digits.missing(name, "public") is None


class Server(http.server.BaseHTTPRequestHandler):
    content = bytes(range(256)) * 1000
    drop_after = None  # break the connection once after so many bytes

    def do_GET(self):
        start = int((self.headers.get("Range") or "bytes=0-")[6:-1])
        left = self.content[start:]
        self.send_response(416 if not left else 206 if start else 200)
        self.send_header("Content-Length", str(len(left)))
        self.end_headers()
        self.wfile.write(left[: Server.drop_after])
        Server.drop_after = None

    def log_message(self, *_):
        pass


@pytest.fixture
def address(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(Server, "drop_after", None)
    server = http.server.HTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/file.bin"
    server.shutdown()
    server.server_close()


SUM = "md5:" + hashlib.md5(Server.content).hexdigest()


def test_download_goes_on_where_it_broke_off(address, tmp_path):
    Server.drop_after = 1000
    file, part = tmp_path / "file.bin", tmp_path / "file.bin.part"
    with pytest.raises(UserError, match="run the command again"):
        fetch.download([address], file, SUM)
    assert part.stat().st_size == 1000 and not file.exists()
    assert fetch.download([address], file, SUM) == file
    assert file.read_bytes() == Server.content and sorted(os.listdir(tmp_path)) == ["file.bin"]


def test_download_of_a_complete_part(address, tmp_path):
    save(tmp_path / "file.bin.part", Server.content)
    assert fetch.download([address], tmp_path / "file.bin", SUM).read_bytes() == Server.content


def test_download_with_wrong_checksum_leaves_nothing(address, tmp_path):
    with pytest.raises(UserError, match="could not be downloaded"):
        fetch.download([address], tmp_path / "file.bin", "md5:" + "0" * 32)
    assert not list(tmp_path.iterdir())


def test_download_leaves_a_file_that_is_there_and_tries_the_next_address(address, tmp_path):
    save(tmp_path / "mine", b"mine")
    with pytest.raises(UserError, match="mine is there, but not as it is published; remove it"):
        fetch.download([address], tmp_path / "mine", SUM)
    assert fetch.download([address], tmp_path / "mine", None).read_bytes() == b"mine"
    dead = "http://127.0.0.1:9/none"
    assert fetch.download([dead, address], tmp_path / "file.bin", SUM).is_file()


def test_photographs_other_than_the_recorded_ones_are_refused(address, tmp_path, monkeypatch):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        for part in ("train", "val", "test"):
            info = tarfile.TarInfo(f"BSR/BSDS500/data/images/{part}/1.jpg")
            info.size = 5
            tar.addfile(info, io.BytesIO(part.ljust(5).encode()))
    monkeypatch.setattr(Server, "content", stream.getvalue())
    with pytest.raises(UserError, match="other train photographs"):
        fetch.fetch_photos(tmp_path / "BSDS500", [address])
    sums = {part: hashlib.sha256(part.ljust(5).encode()).hexdigest() for part in ("train", "test")}
    monkeypatch.setattr(fetch, "PHOTOS_SHA256", sums)
    folders = fetch.fetch_photos(tmp_path / "BSDS500", [address])
    assert [folder.name for folder in folders] == ["train", "val", "test"]
    assert sorted(os.listdir(tmp_path / "BSDS500")) == ["test", "train", "val"]
    monkeypatch.setattr(Server, "content", b"no archive")
    with pytest.raises(UserError, match="damaged"):
        fetch.fetch_photos(tmp_path / "other", [address])


ANSWERS = {  # what http.client has exceptions of its own for
    "a chunk cut off": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nabc",
    "a bad chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\nabc\r\n",
    "no HTTP": b"hello\r\n\r\n",
    "a header too long": b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000 + b"\r\n\r\n",
    "nothing": b"",
}


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_that_is_no_http_is_one_line(tmp_path, monkeypatch, name):
    class Answer(socketserver.StreamRequestHandler):
        def handle(self):
            self.rfile.readline()
            self.wfile.write(ANSWERS[name])

    monkeypatch.setenv("no_proxy", "*")
    with socketserver.TCPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        address = f"http://127.0.0.1:{server.server_address[1]}/f"
        with pytest.raises(UserError, match="f could not be downloaded .*; run the") as error:
            fetch.download([address], tmp_path / "f", SUM)
        server.shutdown()
    assert "\n" not in str(error.value) and not (tmp_path / "f").exists()
