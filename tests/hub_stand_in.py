"""A stand-in for the part of Hugging Face's API that an upload speaks to, on this machine."""

import base64
import hashlib
import json
import re
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

TOKEN = "hf_of_the_test"


class Hub:
    """Repositories in memory.

    Attributes:
        repositories: "OWNER/NAME" -> {"private", "branches": {name: {path: bytes}}}.
        refuse: Status that the next commit is answered with; 0: none.
    """

    def __init__(self):
        self.repositories, self.blobs, self.refuse, self.asked = {}, {}, 0, []
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def do_HEAD(self):
                self.answer(200, {})

            def do_GET(self):
                self.handle_request("GET")

            def do_POST(self):
                self.handle_request("POST")

            def do_PUT(self):
                self.handle_request("PUT")

            def handle_request(self, method):
                body = self.body()
                path = self.path.partition("?")[0]
                hub.asked.append((method, path))
                if path.startswith("/blobs/"):
                    hub.blobs[path.rsplit("/", 1)[1]] = body
                    return self.answer(200, {})
                if path == "/":
                    return self.answer(200, {})
                if self.headers.get("Authorization") != f"Bearer {TOKEN}":
                    return self.answer(401, {"error": "Invalid credentials"})
                return self.answer(*hub.answered(method, path, body))

            def body(self):
                if self.headers.get("Transfer-Encoding") != "chunked":
                    return self.rfile.read(int(self.headers.get("Content-Length") or 0))
                parts = []
                while size := int(self.rfile.readline().strip(), 16):
                    parts.append(self.rfile.read(size))
                    self.rfile.readline()
                self.rfile.readline()
                return b"".join(parts)

            def answer(self, status, content):
                data = json.dumps(content).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(data)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        Thread(target=self.server.serve_forever, daemon=True).start()

    def answered(self, method, path, body):
        content = json.loads(body) if body[:1] in (b"{", b"[") and b"\n{" not in body else {}
        if path == "/api/repos/create":
            name = f"{content.get('organization') or 'me'}/{content['name']}"
            if name in self.repositories:
                return 409, {"error": "exists", "url": f"{self.address}/{name}"}
            self.repositories[name] = {
                "private": content.get("private", content.get("visibility") == "private"),
                "branches": {"main": {}},
            }
            return 200, {"url": f"{self.address}/{name}", "name": name}
        if path == "/api/validate-yaml":
            return 200, {"errors": [], "warnings": []}
        if found := re.fullmatch(r"/api/models/([\w.-]+/[\w.-]+)/branch/(\w+)", path):
            self.repositories[found[1]]["branches"].setdefault(found[2], {})
            return 200, {}
        if found := re.fullmatch(r"/api/models/([\w.-]+/[\w.-]+)/preupload/(\w+)", path):
            files = [
                {
                    "path": one["path"],
                    "uploadMode": "regular" if one["path"].endswith((".json", ".md")) else "lfs",
                    "shouldIgnore": False,
                }
                for one in content["files"]
            ]
            return 200, {"files": files}
        if path.endswith(".git/info/lfs/objects/batch"):
            objects = [
                {**one, "actions": {"upload": {"href": f"{self.address}/blobs/{one['oid']}"}}}
                for one in content["objects"]
            ]
            return 200, {"transfer": "basic", "objects": objects}
        if found := re.fullmatch(r"/api/models/([\w.-]+/[\w.-]+)/commit/(\w+)", path):
            if self.refuse:
                return self.refuse, {"error": "no"}
            tree = self.repositories[found[1]]["branches"][found[2]]
            for line in body.decode().splitlines():
                item = json.loads(line)
                value = item["value"]
                if item["key"] == "file":
                    tree[value["path"]] = base64.b64decode(value["content"])
                elif item["key"] == "lfsFile":
                    data = self.blobs[value["oid"]]
                    assert hashlib.sha256(data).hexdigest() == value["oid"]
                    tree[value["path"]] = data
            return 200, {
                "success": True,
                "commitOid": "0" * 40,
                "commitUrl": f"{self.address}/{found[1]}/commit/0",
            }
        return 404, {"error": f"{method} {path}"}

    def close(self):
        self.server.shutdown()
        self.server.server_close()
