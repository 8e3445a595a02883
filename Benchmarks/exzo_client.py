"""A running `exzo serve` and its API, for benches, chaos and the demo. Standard library only."""
import glob
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request

PG_BIN = os.environ.get("PG_BIN", "/usr/lib/postgresql/15/bin")


class Failure(Exception):
    """Something that the run cannot go on without; its text is the whole story."""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def psql(uri, sql, env=None, timeout=120):
    """The output of a batch, unaligned, without header; raises Failure with psql's words."""
    result = subprocess.run(
        [f"{PG_BIN}/psql", "-AtXq", "-v", "ON_ERROR_STOP=1", "-d", uri], input=sql, text=True,
        capture_output=True, timeout=timeout, env={**os.environ, **(env or {})}, check=False)
    if result.returncode != 0:
        raise Failure(f"psql: {result.stderr.strip()}")
    return result.stdout.strip()


class Serve:
    """`exzo serve` on a directory of its own; keeps its log in DIR/../serve.log."""

    def __init__(self, directory, binary=None, options=(), variables=None):
        self.directory = pathlib.Path(directory)
        self.data = self.directory / "data"
        self.binary = binary or os.environ.get("EXZO") or shutil.which("exzo")
        if not self.binary or not os.access(self.binary, os.X_OK):
            raise Failure(f"no exzo at '{self.binary}': make build")
        self.http, self.postgres = free_port(), free_port()
        self.options = list(options)
        self.variables = dict(variables or {})
        self.log = self.directory / "serve.log"
        self.process = None

    def start(self, timeout=60):
        self.directory.mkdir(parents=True, exist_ok=True)
        self.directory.chmod(0o755)
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [self.binary, "serve", "--data-dir", str(self.data),
                 "--http", f"127.0.0.1:{self.http}", "--postgres", f"127.0.0.1:{self.postgres}",
                 # The plain server beside it has no limits either.
                 "--compute-limits", "off", *self.options], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env={**os.environ, **self.variables})
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise Failure(f"serve ended with {self.process.returncode}:\n{self.tail()}")
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.http}/readyz", timeout=2):
                    return self
            except (urllib.error.URLError, OSError):
                time.sleep(0.05)
        raise Failure(f"serve is not ready after {timeout} s:\n{self.tail()}")

    def kill(self):
        """kill -9 of serve alone; its computes stay."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self):
        """Stops serve and every compute."""
        subprocess.run([self.binary, "shutdown", "--data-dir", str(self.data)],
                       stdin=subprocess.DEVNULL, capture_output=True, timeout=120, check=False)
        if self.process and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(60)

    def tail(self, lines=20):
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    @property
    def key(self):
        return (self.data / "api-key").read_text().strip()

    def environment(self):
        """What the CLI needs to find this server."""
        return {**os.environ, "EXZO_API_HOST": f"http://127.0.0.1:{self.http}", "EXZO_API_KEY": self.key}

    def cli(self, *arguments):
        result = subprocess.run([self.binary, *arguments], text=True, capture_output=True,
                                stdin=subprocess.DEVNULL, env=self.environment(), check=False)
        if result.returncode != 0:
            raise Failure(f"exzo {' '.join(arguments)}: {result.stderr.strip()}")
        return result.stdout.strip()

    def request(self, method, path, body=None):
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.http}/api/v2{path}", method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self.key}", "Content-Type": "application/json",
                     "Accept": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                text = answer.read()
                return json.loads(text) if text else {}
        except urllib.error.HTTPError as error:
            raise Failure(f"{method} {path}: {error.code} {error.read().decode()}") from error

    def wait(self, project, operations, timeout=120):
        """Polls until every operation has finished; raises on one that failed.

        More and more rarely: a hundred polls a second would take a tenth of a processor from a long operation.
        """
        started = time.monotonic()
        deadline = started + timeout
        for operation in operations:
            path = f"/projects/{project}/operations/{operation['id']}"
            while True:
                state = self.request("GET", path)["operation"]
                if state["status"] in ("finished", "skipped"):
                    break
                if state["status"] in ("failed", "error", "cancelled"):
                    raise Failure(f"operation {state['action']} failed: {state.get('error')}")
                if time.monotonic() > deadline:
                    raise Failure(f"operation {state['action']} is {state['status']} after {timeout} s")
                time.sleep(min(0.1, 0.01 + (time.monotonic() - started) / 50))

    def metrics(self):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http}/metrics", timeout=10) as answer:
            return answer.read().decode()


class Project:
    """A project: its default branch, its connection string, its branches."""

    def __init__(self, serve, name="bench", wait=True, **options):
        self.serve = serve
        answer = serve.request("POST", "/projects", {"project": {"name": name, **options}})
        self.id = answer["project"]["id"]
        self.branch = answer["branch"]["id"]
        self.endpoint = answer["endpoints"][0]["id"]
        self.uri = answer["connection_uris"][0]["connection_uri"]
        if wait:
            serve.wait(self.id, answer["operations"])

    def create_branch(self, name=None, parent=None, lsn=None, timestamp=None, wait=False):
        """A branch with an endpoint; (branch id, endpoint id, connection string)."""
        branch = {"parent_id": parent or self.branch}
        for key, value in (("name", name), ("parent_lsn", lsn), ("parent_timestamp", timestamp)):
            if value:
                branch[key] = value
        answer = self.serve.request("POST", f"/projects/{self.id}/branches", {
            "branch": branch, "endpoints": [{"type": "read_write"}]})
        if wait:
            self.serve.wait(self.id, answer["operations"])
        uris = answer.get("connection_uris") or []
        endpoint = answer["endpoints"][0]["id"]
        uri = uris[0]["connection_uri"] if uris else self.uri.replace(self.endpoint, endpoint)
        return answer["branch"]["id"], endpoint, uri

    def delete_branch(self, branch):
        answer = self.serve.request("DELETE", f"/projects/{self.id}/branches/{branch}")
        self.serve.wait(self.id, answer.get("operations", []))

    def endpoint_action(self, action, endpoint=None):
        answer = self.serve.request(
            "POST", f"/projects/{self.id}/endpoints/{endpoint or self.endpoint}/{action}")
        self.serve.wait(self.id, answer["operations"])

    def socket_uri(self):
        """The compute's own unix socket: the one below the data directory that knows our role."""
        from urllib.parse import urlsplit, unquote
        parts = urlsplit(self.uri)
        found = glob.glob(f"{self.serve.data}/**/.s.PGSQL.*", recursive=True)
        found += glob.glob(f"/run/exzo/**/.s.PGSQL.*", recursive=True)
        for path in found:
            if path.endswith(".lock"):
                continue
            directory, port = os.path.dirname(path), path.rsplit(".", 1)[1]
            uri = (f"host={directory} port={port} user={unquote(parts.username)} "
                   f"password={unquote(parts.password)} dbname={parts.path.lstrip('/')}")
            try:
                psql(uri, "SELECT 1", timeout=10)
                return uri
            except Failure:
                continue
        raise Failure(f"no compute socket below {self.serve.data} takes the project's role")
