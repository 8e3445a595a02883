"""Rows over a bucket, and of what a store brings back: moments from S3, durability of a slow store, machines lost."""
import argparse
import pathlib
import random
import shutil
import time

import attach
import loss
from bucket import Bucket
from context import Context
from exzo_client import Failure, Project, Serve, psql
from measure import Background, drop_caches, median, pgbench, spread
from rows_moments import record_marks
from rows_throughput import INCOMPRESSIBLE, tps_of


def load_incompressible(uri, scale):
    """pgbench's tables with a filler that does not compress: blanks would flatter every byte that is read."""
    pgbench(uri, ["-i", "-q", "-I", "dt", "-s", str(scale)])
    psql(uri, f"""
        INSERT INTO pgbench_branches (bid, bbalance) SELECT n, 0 FROM generate_series(1, {scale}) AS n;
        INSERT INTO pgbench_tellers (tid, bid, tbalance)
          SELECT n, (n - 1) / 10 + 1, 0 FROM generate_series(1, {10 * scale}) AS n;
        INSERT INTO pgbench_accounts (aid, bid, abalance, filler)
          SELECT n, (n - 1) / 100000 + 1, 0,
            substr(md5(random()::text) || md5(random()::text) || md5(random()::text), 1, 84)
          FROM generate_series(1, {100_000 * scale}) AS n;""", timeout=7200)
    pgbench(uri, ["-i", "-q", "-I", "vp", "-s", str(scale)])


class FarServe:
    """A server of its own over a bucket, with one project that is not limited and never sleeps."""

    def __init__(self, context, name, delay=0.0):
        self.directory = context.directory / name
        self.bucket = Bucket(self.directory / "s3", delay)
        self.serve = None

    def __enter__(self):
        self.directory.mkdir(parents=True)
        self.directory.chmod(0o755)
        self.bucket.start()
        # Rows poll more often than people ask.
        self.serve = Serve(
            self.directory / "exzo",
            options=["--object-store", self.bucket.url, "--requests-per-minute", "0"]).start()
        return self

    def project(self, name, **options):
        project = Project(
            self.serve, name=name, default_endpoint_settings={"suspend_timeout_seconds": -1}, **options)
        Context.wait_for_answer(project.uri)
        return project

    def forget_cache(self):
        """The next reads come from the bucket, and it reads its disk."""
        shutil.rmtree(self.serve.data / "cache", ignore_errors=True)  # objects may come while it goes
        drop_caches()

    def __exit__(self, *_):
        if self.serve:
            self.serve.stop()
        self.bucket.stop()
        shutil.rmtree(self.directory, ignore_errors=True)


class Marks:
    """What `record_marks` takes moments down in."""

    def __init__(self):
        self.marks = []


def open_cold(context, far, project, marks, scale):
    """Branches at random marks with nothing in any cache: seconds to the first answer, and bytes that came for it."""
    seconds, read = [], []
    for number in range(context.parameters.moments):
        moment, lsn = context.random.choice(marks)
        query = context.random_rows(scale)
        far.forget_cache()
        before, started = far.bucket.bytes_sent(), time.monotonic()
        branch, _, uri = project.create_branch(**({"lsn": lsn} if number % 2 == 0 else {"timestamp": moment}))
        context.wait_for_answer(uri, query)
        seconds.append(time.monotonic() - started)
        read.append(far.bucket.bytes_sent() - before)
        project.delete_branch(branch)
    return seconds, read


def s3_moments(context, scale=None):
    """Branch at a random moment from S3, cold, the load stopped and the parent asleep."""
    parameters = context.parameters
    scale = scale or parameters.scale
    with FarServe(context, f"far-{scale}") as far:
        project = far.project("far")
        uri = project.socket_uri()
        load_incompressible(uri, scale)
        script = pathlib.Path(far.directory) / "incompressible.sql"
        script.write_text(INCOMPRESSIBLE, encoding="utf-8")
        marks = Marks()
        load = Background(uri, parameters.load_seconds + 7200, extra=["-f", str(script), "-D", f"scale={scale}"])
        try:
            record_marks(marks, uri, parameters.load_seconds, load)
        finally:
            load.stop()
        size = int(psql(uri, "SELECT pg_database_size(current_database())"))
        project.endpoint_action("suspend")
        seconds, read = open_cold(context, far, project, marks.marks, scale)
    return {"seconds": spread(seconds), "database_bytes": size, "bytes_read_p50": sorted(read)[len(read) // 2],
            "bytes_read_share_p50": round(sorted(read)[len(read) // 2] / size, 4),
            "bytes_read_share_worst": round(max(read) / size, 4),
            "runs": [{"seconds": round(s, 3), "bytes": b} for s, b in zip(seconds, read)]}


def s3_moments_1000(context):
    """The same at scale 1000 (about 15 GB, thrice on one disk)."""
    free = shutil.disk_usage(context.directory).free
    if free < 120 << 30:
        return {"skipped": f"needs 120 GB free, there are {free >> 30}"}
    return s3_moments(context, scale=1000)


def object_store_durability(context, delay=0.02, clients=32):
    """TPC-B in both durabilities over one bucket whose writes take 20 ms, turn about."""
    # Fewer branches than clients would measure row locks.
    scale = max(context.parameters.scale, 50)
    seconds = min(300, context.parameters.seconds)
    found = {"local": [], "object-store": []}
    with FarServe(context, "slow", delay) as far:
        sides = []
        for durability in found:
            project = far.project(durability, durability=durability)
            pgbench(project.uri, ["-i", "-q", "-s", str(scale)])
            sides.append((durability, project.uri))
        for _ in range(max(1, context.parameters.rounds)):
            for durability, uri in sides:
                found[durability].append(tps_of(pgbench(
                    uri, ["-n", "-c", str(clients), "-j", "2", "-T", str(seconds)])))
    return {"tps_ratio": round(median(found["object-store"]) / median(found["local"]), 3), "scale": scale,
            "store_write_ms": round(delay * 1000), **found}


def attached_server(context):
    """`attach` until its first branch answers, against pg_basebackup: see attach.py."""
    directory = context.directory / "attach"
    directory.mkdir()
    try:
        return attach.measure(
            argparse.Namespace(scale=context.parameters.scale, rounds=context.parameters.rounds), directory)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def machine_losses(context):
    """Machines lost under load in each durability: see loss.py."""
    rounds = 20 if context.parameters.rounds > 1 else 2
    options = argparse.Namespace(rounds=rounds, workers=4, keep=False, serve=[])
    random.seed(context.parameters.seed)
    result, failures = {"losses": rounds}, []
    for durability in ("local", "object-store"):
        broken, summary = loss.rounds_of(context.directory / "losses", durability, options)
        failures += broken
        for key, value in summary.items():
            result[f"{durability.replace('-', '_')}_{key}"] = value
    if failures:
        raise Failure("; ".join(failures))
    return result
