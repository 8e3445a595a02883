"""Measures shared by the rows: pgbench runs, bytes on the disk, quantiles."""
import dataclasses
import os
import re
import statistics
import subprocess
import time

from exzo_client import PG_BIN, Failure, psql


@dataclasses.dataclass
class BenchRun:
    """One timed pgbench run with its closing checkpoint."""
    transactions: int
    seconds: float          # of the load
    checkpoint_seconds: float
    first_minute_tps: float
    wal_bytes: int
    disk_bytes: int

    @property
    def tps(self):
        return self.transactions / (self.seconds + self.checkpoint_seconds)

    def as_dict(self):
        return {**dataclasses.asdict(self), "tps": round(self.tps, 1)}


def wal_position(uri):
    return int(psql(uri, "SELECT pg_current_wal_insert_lsn() - '0/0'"))


def device_of(path):
    """Name of the block device below a path, as /sys/block knows it."""
    number = os.stat(path).st_dev
    link = os.path.realpath(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}")
    if os.path.exists(f"{link}/partition"):
        link = os.path.dirname(link)
    if not os.path.exists(f"{link}/stat"):
        raise Failure(f"{path} is on no block device whose writes are counted")
    return os.path.basename(link)


def disk_written(path):
    """Bytes written to the device of `path` since boot, after everything dirty has been written."""
    os.sync()
    with open(f"/sys/block/{device_of(path)}/stat", encoding="ascii") as file:
        return int(file.read().split()[6]) * 512


def drop_caches():
    os.sync()
    with open("/proc/sys/vm/drop_caches", "w", encoding="ascii") as file:
        file.write("3\n")


def directory_bytes(path):
    """Bytes that a directory tree occupies on disk."""
    total = 0
    for directory, _, names in os.walk(path):
        for name in names:
            try:
                total += os.lstat(os.path.join(directory, name)).st_blocks * 512
            except FileNotFoundError:
                pass  # removed while we walked
    return total


def pgbench(uri, options, env=None, timeout=None):
    result = subprocess.run(
        [f"{PG_BIN}/pgbench", *options, uri], text=True, capture_output=True,
        stdin=subprocess.DEVNULL, env={**os.environ, **(env or {})}, timeout=timeout, check=False)
    if result.returncode != 0:
        raise Failure(f"pgbench {' '.join(options)}: {result.stderr.strip()[-2000:]}")
    return result.stdout + result.stderr


def timed_pgbench(uri, disk_path, seconds, clients=8, extra=(), checkpoint=None):
    """A run whose closing CHECKPOINT (a call of `checkpoint`) is timed in."""
    wal, disk = wal_position(uri), disk_written(disk_path)
    step = min(60, seconds)
    started = time.monotonic()
    text = pgbench(uri, ["-n", "-c", str(clients), "-j", "2", "-T", str(seconds), "-P", str(step), *extra])
    loaded = time.monotonic()
    if checkpoint:
        checkpoint()
    ended = time.monotonic()
    first = re.search(r"progress: [\d.]+ s, ([\d.]+) tps", text)
    count = re.search(r"number of transactions actually processed: (\d+)", text)
    if not count:
        raise Failure(f"pgbench told no count: {text[-500:]}")
    return BenchRun(
        transactions=int(count.group(1)), seconds=loaded - started, checkpoint_seconds=ended - loaded,
        first_minute_tps=float(first.group(1)) if first else 0.0,
        wal_bytes=wal_position(uri) - wal, disk_bytes=disk_written(disk_path) - disk)


def median(values):
    return statistics.median(values)


def quantile(values, share):
    """The smallest value that at least `share` of all do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -(-int(share * 1000) * len(ordered) // 1000) - 1)]


def spread(values):
    return {"p50": round(quantile(values, 0.5), 3), "p99": round(quantile(values, 0.99), 3),
            "worst": round(max(values), 3), "count": len(values)}


def timed(action):
    started = time.monotonic()
    action()
    return time.monotonic() - started


class Background:
    """A pgbench that runs beside what is measured; its failure is not hidden."""

    def __init__(self, uri, seconds, clients=8, extra=()):
        self.process = subprocess.Popen(
            [f"{PG_BIN}/pgbench", "-n", "-c", str(clients), "-j", "2", "-T", str(seconds), *extra, uri],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def require_running(self):
        if self.process.poll() is not None:
            raise Failure(f"the load ended early: {self.process.stdout.read()[-2000:]}")

    def stop(self):
        self.process.terminate()
        self.process.communicate(timeout=60)
