"""What every row needs: both servers, their databases, the parameters of the run."""
import dataclasses
import pathlib
import random
import time

from exzo_client import Failure, Project, Serve, psql
from measure import pgbench
from stock import StockServer


@dataclasses.dataclass
class Parameters:
    seconds: int = 1200        # of each TPC-B run
    rounds: int = 3
    scale: int = 100
    load_seconds: int = 1800   # of the load that moments are taken from
    moments: int = 30
    small_samples: int = 20    # wakes, new projects, commits
    tails: tuple = (10, 60, 600, 3600)  # seconds of load between the newest image of pages and a moment
    history_seconds: int = 3600  # of each load whose history is weighed
    seed: int = 1
    superuser: str = "exzo_superuser"

    @staticmethod
    def short(seconds=60):
        return Parameters(seconds=seconds, rounds=1, scale=10, load_seconds=2 * seconds, moments=6,
                          small_samples=5, tails=(10, 2 * seconds), history_seconds=seconds)


class Context:
    """Both sides on one disk, made at first use and kept for all rows (one configuration each)."""

    def __init__(self, directory, parameters):
        self.directory = pathlib.Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.directory.chmod(0o755)
        self.parameters = parameters
        self.random = random.Random(parameters.seed)
        self._serve = self._project = self._plain = None
        self._loaded = set()
        self.marks = []

    @property
    def serve(self):
        if self._serve is None:
            # Rows poll more often than people ask.
            self._serve = Serve(self.directory / "exzo", options=["--requests-per-minute", "0"]).start()
        return self._serve

    @property
    def project(self):
        if self._project is None:
            # Its sockets are used directly, which the proxy does not see: never idle.
            self._project = Project(
                self.serve, default_endpoint_settings={"suspend_timeout_seconds": -1})
            self.wait_for_answer(self._project.uri)
        return self._project

    @property
    def plain(self):
        """Same version, its defaults, but the compute's own shared_buffers."""
        if self._plain is None:
            buffers = psql(self.project.uri, "SHOW shared_buffers")
            self._plain = StockServer(
                self.directory / "plain", [f"shared_buffers={buffers}"])
            self._plain.create()
        return self._plain

    def sides(self):
        """Turn about: (name, unix-socket connection string, closing checkpoint)."""
        socket = self.project.socket_uri()
        return [("plain", self.plain.uri, lambda: psql(self.plain.uri, "CHECKPOINT", timeout=600)),
                ("exzo", socket, lambda: self.checkpoint(socket))]

    def checkpoint(self, socket):
        """By the compute's superuser over its socket; the project's owner may not."""
        words = dict(word.split("=", 1) for word in socket.split())
        words["user"] = self.parameters.superuser
        words.pop("password", None)
        psql(" ".join(f"{key}={value}" for key, value in words.items()), "CHECKPOINT", timeout=600)

    def load(self, uri, scale=None):
        """`pgbench -i` once for each server and scale."""
        scale = scale or self.parameters.scale
        if (uri, scale) not in self._loaded:
            pgbench(uri, ["-i", "-q", "-s", str(scale)])
            self._loaded = {(u, s) for u, s in self._loaded if u != uri} | {(uri, scale)}

    @staticmethod
    def wait_for_answer(uri, sql="SELECT 1", timeout=60):
        """The first answer, asking again while the endpoint is on its way."""
        deadline = time.monotonic() + timeout
        while True:
            try:
                return psql(uri, sql, timeout=timeout)
            except Failure:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.01)

    def random_rows(self, scale=None):
        """100 random rows of pgbench_accounts, as one query."""
        top = 100_000 * (scale or self.parameters.scale)
        ids = ",".join(str(self.random.randint(1, top)) for _ in range(100))
        return f"SELECT count(*), sum(abalance) FROM pgbench_accounts WHERE aid IN ({ids})"

    def close(self):
        if self._serve:
            self._serve.stop()
        if self._plain:
            self._plain.stop("immediate")
