"""A bucket that is not the local disk: enough of Google Cloud Storage's JSON API, over HTTP, for the real clients.

gcsfs, google-cloud-storage, TensorStore and ArrayRecord talk to it as they would to Google, each pointed at it by an
environment variable of its own.
"""

import base64
import contextlib
import datetime
import email
import email.policy
import http.server
import itertools
import json
import re
import threading
from urllib.parse import parse_qs, unquote, urlsplit

import google_crc32c

NAME = "bucket"


class FakeBucket:
    """Objects by name, as (content, generation, time of writing). Writes are atomic, listings consistent."""

    def __init__(self):
        self.objects: dict[str, tuple[bytes, int, str]] = {}
        self.requests: list[str] = []
        self.forbidden = False  # whether every request is refused
        self.read_only = False
        self._lock = threading.Lock()
        self._generations = itertools.count(1)
        self._uploads: dict[str, tuple[str, dict[str, str], bytes]] = {}

    def clear(self) -> None:
        """Removes everything."""
        with self._lock:
            self.objects.clear()
            self.requests.clear()
            self.forbidden = self.read_only = False

    @contextlib.contextmanager
    def served(self):
        """Context in which the bucket answers; gives the environment variables that lead the clients to it."""
        handler = type("Handler", (_Handler,), {"bucket": self})
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        server.daemon_threads = True
        server.handle_error = lambda *_: None  # a client that hung up
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}"
        try:
            yield {
                "STORAGE_EMULATOR_HOST": url,  # gcsfs and google-cloud-storage
                "TENSORSTORE_GCS_HTTP_URL": url,
                "CLOUD_STORAGE_EMULATOR_ENDPOINT": url,  # ArrayRecord
                "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",  # would ask a gRPC service for the type of the bucket
            }
        finally:
            server.shutdown()
            server.server_close()

    def names(self, prefix: str = "") -> list[str]:
        """Names of all objects that begin with `prefix`, in order."""
        with self._lock:
            return sorted(name for name in self.objects if name.startswith(prefix))

    def content(self, name: str) -> bytes:
        """The bytes of an object."""
        return self.objects[name][0]

    def put(self, name: str, content: bytes, query: dict[str, str]) -> dict | None:
        """Writes an object; None where a precondition does not hold."""
        with self._lock:
            if not self._holds(name, query):
                return None
            now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
            self.objects[name] = content, next(self._generations), now
        return self.metadata(name)

    def delete(self, name: str, query: dict[str, str]) -> int:
        """Deletes an object; the HTTP status."""
        with self._lock:
            if not self._holds(name, query):
                return 412
            return 204 if self.objects.pop(name, None) else 404

    def _holds(self, name, query) -> bool:
        generation = self.objects[name][1] if name in self.objects else 0
        return int(query.get("ifGenerationMatch", generation)) == generation

    def metadata(self, name: str) -> dict:
        """What the API says of an object."""
        content, generation, time = self.objects[name]
        return {
            "kind": "storage#object",
            "bucket": NAME,
            "name": name,
            "id": f"{NAME}/{name}/{generation}",
            "size": str(len(content)),
            "generation": str(generation),
            "metageneration": "1",
            "crc32c": base64.b64encode(google_crc32c.value(content).to_bytes(4, "big")).decode(),
            "etag": str(generation),
            "contentType": "application/octet-stream",
            "storageClass": "STANDARD",
            "timeCreated": time,
            "updated": time,
        }

    def listing(self, query: dict[str, str]) -> dict:
        """Objects and "folders" below a prefix."""
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter")
        items, prefixes = [], set()
        for name in self.names(prefix):
            if not query.get("startOffset", "") <= name or name >= query.get("endOffset", "\U0010ffff"):
                continue
            head, found, _ = name[len(prefix) :].partition(delimiter) if delimiter else (name, "", "")
            if found:
                prefixes.add(prefix + head + delimiter)
            else:
                items.append(self.metadata(name))
        return {"kind": "storage#objects", "items": items, "prefixes": sorted(prefixes)}


class _Handler(http.server.BaseHTTPRequestHandler):
    bucket: FakeBucket
    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 20  # an answer is one packet, or the next waits for an acknowledgement

    def log_message(self, *_):
        pass

    def _answer(self, status: int, content: bytes | dict | None = None, **headers):
        body = b"" if content is None else content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", headers.pop("type", "application/json"))
        if status not in (204, 304):
            self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _handle(self):
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            body = b"".join(iter(self._chunk, b""))
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.bucket.requests.append(f"{self.command} {self.path}")
        if self.bucket.forbidden:
            return self._answer(403, {"error": {"code": 403, "message": "no access to this bucket"}})
        if self.bucket.read_only and self.command not in ("GET", "HEAD"):
            return self._answer(403, {"error": {"code": 403, "message": "may not write to this bucket"}})
        parts = urlsplit(self.path)
        query = {key: values[-1] for key, values in parse_qs(parts.query).items()}
        path = re.sub(r"^/(download|upload)(?=/)", "", parts.path)
        if parts.path.startswith("/batch"):
            return self._batch(body)
        if parts.path.startswith("/upload/"):
            return self._upload(query, body)
        if copy := re.fullmatch(rf"/storage/v1/b/{NAME}/o/([^/]+)/(?:rewriteTo|copyTo)/b/{NAME}/o/([^/]+)", path):
            return self._copy(*map(unquote, copy.groups()), query, rewrite="rewriteTo" in path)
        if move := re.fullmatch(rf"/storage/v1/b/{NAME}/o/([^/]+)/moveTo/o/([^/]+)", path):
            return self._move(*map(unquote, move.groups()))
        if one := re.fullmatch(rf"/storage/v1/b/{NAME}/o/(.+)", path):
            return self._object(unquote(one[1]), query)
        if path == f"/storage/v1/b/{NAME}/o":
            return self._answer(200, self.bucket.listing(query))
        if path == f"/storage/v1/b/{NAME}":
            return self._answer(200, {"kind": "storage#bucket", "name": NAME, "id": NAME, "location": "NOWHERE"})
        self._answer(404, {"error": {"code": 404, "message": f"no {self.path}"}})

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = _handle

    def _chunk(self) -> bytes:
        size = int(self.rfile.readline().split(b";")[0], 16)
        data = self.rfile.read(size)
        self.rfile.readline()
        return data

    def _object(self, name, query):
        if self.command == "DELETE":
            return self._answer(self.bucket.delete(name, query))
        if name not in self.bucket.objects:
            return self._answer(404, {"error": {"code": 404, "message": f"No such object: {NAME}/{name}"}})
        content, generation, _ = self.bucket.objects[name]
        if query.get("ifGenerationNotMatch") == str(generation):
            return self._answer(304)
        if query.get("ifGenerationMatch", str(generation)) != str(generation):
            return self._answer(412, {"error": {"code": 412, "message": "conditionNotMet"}})
        if query.get("alt") != "media":
            return self._answer(200, self.bucket.metadata(name))
        headers = {"type": "application/octet-stream", "x_goog_generation": str(generation)}
        wanted = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", ""))
        if not wanted:
            return self._answer(200, content, **headers)
        first, last = wanted.groups()
        start = int(first) if first else max(0, len(content) - int(last))
        end = min(int(last) + 1, len(content)) if first and last else len(content)
        if start >= len(content):
            return self._answer(416, {"error": {"code": 416, "message": "out of range"}})
        headers["Content_Range"] = f"bytes {start}-{end - 1}/{len(content)}"
        return self._answer(206, content[start:end], **headers)

    def _copy(self, source, target, query, *, rewrite):
        if source not in self.bucket.objects:
            return self._answer(404, {"error": {"code": 404, "message": f"No such object: {source}"}})
        content = self.bucket.content(source)
        resource = self.bucket.put(target, content, query)
        size = str(len(content))
        done = {"done": True, "resource": resource, "totalBytesRewritten": size, "objectSize": size}
        return self._answer(200, done if rewrite else resource)

    def _move(self, source, target):
        if source not in self.bucket.objects:
            return self._answer(404, {"error": {"code": 404, "message": f"No such object: {source}"}})
        resource = self.bucket.put(target, self.bucket.content(source), {})
        self.bucket.delete(source, {})
        return self._answer(200, resource)

    def _upload(self, query, body):
        uploads = self.bucket._uploads
        if "upload_id" in query:  # the next part of a resumable one
            name, first_query, content = uploads[query["upload_id"]]
            content += body
            uploads[query["upload_id"]] = name, first_query, content
            if re.search(r"/\*$", self.headers.get("Content-Range", "")):
                return self._answer(308, Range=f"bytes=0-{len(content) - 1}")
            return self._written(name, content, first_query)
        if query["uploadType"] == "resumable":
            name = query.get("name") or json.loads(body)["name"]
            upload = str(len(uploads))
            uploads[upload] = name, query, b""
            host = self.headers["Host"]
            where = f"http://{host}/upload/storage/v1/b/{NAME}/o?uploadType=resumable&upload_id={upload}"
            return self._answer(200, {}, Location=where)
        if query["uploadType"] == "multipart":
            boundary = re.search(r'boundary="?([^";]+)', self.headers["Content-Type"])[1].encode()
            _, description, media, _ = body.split(b"--" + boundary)
            end_of_line = b"\r\n" if b"\r\n\r\n" in description else b"\n"
            description, media = (part.split(2 * end_of_line, 1)[1] for part in (description, media))
            name, content = json.loads(description)["name"], media.removesuffix(end_of_line)
            return self._written(name, content, query)
        return self._written(query["name"], body, query)

    def _written(self, name, content, query):
        resource = self.bucket.put(name, content, query)
        if resource is None:
            return self._answer(412, {"error": {"code": 412, "message": "conditionNotMet"}})
        return self._answer(200, resource)

    def _batch(self, body):
        """Deletions, many in a request."""
        answers = []
        message = email.message_from_bytes(
            f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode() + body, policy=email.policy.HTTP
        )
        for part in message.iter_parts():
            method, path, _ = part.get_payload().split(" ", 2)
            assert method == "DELETE", method
            status = self.bucket.delete(unquote(re.search(r"/o/([^?]+)", path)[1]), {})
            identity = part["Content-ID"] or ""
            answers.append(
                "--batch\r\nContent-Type: application/http\r\n"
                f"Content-ID: {identity.replace('<', '<response-')}\r\n\r\n"
                f"HTTP/1.1 {status} {'No Content' if status == 204 else 'Not Found'}\r\n\r\n\r\n"
            )
        self._answer(200, ("".join(answers) + "--batch--").encode(), type="multipart/mixed; boundary=batch")
