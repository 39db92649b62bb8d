"""A model hub on 127.0.0.1 that speaks the download endpoints of huggingface.co, as far as its clients ask for them.

Answers follow what the pinned clients read: commit and etag in headers, ranges, error codes, listings of a repository.
"""

import contextlib
import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

FILE = re.compile(r"/(?P<kind>datasets/)?(?P<repo>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<path>.+)")
API = re.compile(r"/api/(?P<kind>models|datasets)/(?P<repo>[^/]+/[^/]+)(?:/(?P<what>revision|tree|paths-info)/.+)?")


class Hub(ThreadingHTTPServer):
    """Serves `folder`/models/<owner>/<name> and `folder`/datasets/<owner>/<name>; every repository has one commit."""

    daemon_threads = True

    def __init__(self, folder, port):
        super().__init__(("127.0.0.1", port), _Handler)
        self.folder = Path(folder)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.cuts = {}  # "<owner>/<name>/<path>" -> how often the connection breaks in the middle of this file
        self.requests = []  # (method, path) of everything asked

    def repository(self, kind, name):
        """The folder of a repository, and its commit: made of its name, so that a test can foretell it."""
        return self.folder / kind / name, commit(name)


def commit(name):
    """The commit id of a repository of the fake hub."""
    return hashlib.sha1(name.encode()).hexdigest()


@contextlib.contextmanager
def serve(folder, port=0):
    """A running Hub, until the block ends; with port 0 at a free one."""
    hub = Hub(folder, port)
    thread = threading.Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        hub.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self._answer()

    def do_GET(self):
        self._answer()

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self._answer(json.loads(body or b"{}"))

    def _answer(self, asked=None):
        path = unquote(urlsplit(self.path).path)
        self.server.requests.append((self.command, path))
        file, api = FILE.fullmatch(path), API.fullmatch(path)
        if not file and not api:
            return self._error(404, None)
        kind = "datasets" if (file or api)["kind"] in ("datasets/", "datasets") else "models"
        folder, sha = self.server.repository(kind, (file or api)["repo"])
        if not folder.is_dir():
            return self._error(401, "RepoNotFound")  # as huggingface.co answers without a token
        if (file or api).groupdict().get("revision") not in (None, "main", sha):
            return self._error(404, "RevisionNotFound")
        if api:
            return self._listing(api, folder, sha, asked)
        if not (folder / file["path"]).is_file():
            return self._error(404, "EntryNotFound", sha)
        return self._file(folder / file["path"], f"{file['repo']}/{file['path']}", sha)

    def _file(self, path, name, sha):
        content = path.read_bytes()
        start = int((self.headers.get("Range") or "bytes=0-")[len("bytes=") :].split("-")[0])
        headers = {"ETag": f'"{hashlib.sha256(content).hexdigest()}"', "X-Repo-Commit": sha, "Accept-Ranges": "bytes"}
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        cut = self.command == "GET" and self.server.cuts.get(name, 0) > 0
        self._send(206 if start else 200, content[start:], headers, cut=cut and len(content) // 2 - start)
        if cut:
            self.server.cuts[name] -= 1

    def _listing(self, api, folder, sha, asked):
        entries = [
            {"type": "file", "path": str(path.relative_to(folder)), "size": path.stat().st_size, "oid": sha}
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        ]
        entries += [
            {"type": "directory", "path": str(path.relative_to(folder)), "size": 0, "oid": sha}
            for path in sorted(folder.rglob("*"))
            if path.is_dir()
        ]
        if api["what"] == "paths-info":
            answer = [entry for entry in entries if entry["path"] in asked["paths"]]
        elif api["what"] == "tree":
            answer = entries
        else:
            answer = {
                "id": api["repo"],
                "sha": sha,
                "private": False,
                "gated": False,
                "disabled": False,
                "tags": [],
                "downloads": 0,
                "likes": 0,
                "siblings": [{"rfilename": e["path"]} for e in entries if e["type"] == "file"],
            }
        self._send(200, json.dumps(answer).encode(), {"Content-Type": "application/json"})

    def _error(self, status, code, sha=None):
        body = json.dumps({"error": "Invalid username or password." if status == 401 else "Not found"}).encode()
        headers = {"X-Error-Code": code, "X-Repo-Commit": sha}
        self._send(status, body, {name: value for name, value in headers.items() if value})

    def _send(self, status, body, headers, cut=False):
        """Send an answer; with `cut`, that many bytes of the body, and the connection ends."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body if cut is False else body[: max(cut, 0)])
        if cut is not False:
            self.close_connection = True
