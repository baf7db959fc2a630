"""Writers of small data files, and a web server on this machine."""

import functools
import gzip
import http.server
import threading

import numpy as np
import pytest
from idx_writer import idx_bytes


@pytest.fixture
def write_idx():
    """write_idx(path, array): an IDX file, gzipped where the name ends in .gz. Returns its bytes."""

    def write(path, array) -> bytes:
        data = idx_bytes(np.asarray(array))
        data = gzip.compress(data, mtime=0) if path.suffix == ".gz" else data
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return data

    return write


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves a folder; /half/NAME promises all of NAME and sends half, /forbidden/NAME answers 403."""

    def do_GET(self):
        kind, _, name = self.path[1:].partition("/")
        if kind == "forbidden":
            self.send_error(403)
        elif kind == "half":
            data = (self.server.folder / name).read_bytes()
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data[: len(data) // 2])
        else:
            super().do_GET()

    def log_message(self, *args):
        pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A server on 127.0.0.1 of the folder `server.folder`, at the address `server.url`, which ends in a slash."""
    monkeypatch.setenv("no_proxy", "*")
    folder = tmp_path / "served"
    folder.mkdir()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder))) as web:
        web.folder, web.url = folder, f"http://127.0.0.1:{web.server_port}/"
        thread = threading.Thread(target=web.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        yield web
        web.shutdown()
        thread.join()
