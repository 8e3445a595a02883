#!/usr/bin/env python3
"""A machine lost under load: its data directory is deleted, everything comes back from the object store.

  loss.py [--rounds N] [--workers N] [--seed N] [--durability local|object-store|both] [--directory DIR] [--keep]

Each round starts a server on an empty data directory, writes through the proxy and the API, kills every process of it
with SIGKILL in the midst of that, deletes the data directory, and starts another with `--recover-from` and the master
key. Then every acknowledged commit and every acknowledged API write is looked for. In `object-store` durability none
may be missing; in `local` none that was acknowledged more than a second before the last one.
"""
import argparse
import glob
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

from chaos import SCHEMA
from context import Context
from exzo_client import PG_BIN, Failure, Project, Serve, psql

ALLOWED_SECONDS = {"local": 1.0, "object-store": 0.0}


class Writer(threading.Thread):
    """Does one thing after the other until the machine is gone; `acknowledged` holds (what, when)."""

    def __init__(self):
        super().__init__(daemon=True)
        self.acknowledged = []
        self.failure = None

    def run(self):
        try:
            self.work()
        except (OSError, Failure, subprocess.SubprocessError):
            pass  # the machine is gone
        except Exception as error:  # a defect of this script must end the run, not the thread alone
            self.failure = error

    def note(self, what):
        self.acknowledged.append((what, time.monotonic()))


class CommitWriter(Writer):
    def __init__(self, number, uri):
        super().__init__()
        self.number, self.uri = number, uri

    def work(self):
        session = subprocess.Popen(
            [f"{PG_BIN}/psql", "-AtXq", "-v", "ON_ERROR_STOP=1", "-d", self.uri], text=True, bufsize=1,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        try:
            step = 0
            while True:
                step += 1
                session.stdin.write(
                    f"BEGIN; INSERT INTO ledger VALUES ({self.number}, {step}, {step * 7});"
                    f"UPDATE balance SET total = total + {step * 7}, steps = steps + 1 "
                    f"WHERE worker = {self.number}; COMMIT;\n\\echo {step}\n")
                if session.stdout.readline().strip() != str(step):
                    return
                self.note(step)
        finally:
            session.kill()
            session.wait()


class APIWriter(Writer):
    """Makes snapshots: rows of the catalog that nothing else can bring back."""

    def __init__(self, serve, project):
        super().__init__()
        self.serve, self.project = serve, project

    def work(self):
        number = 0
        while True:
            number += 1
            name = f"snapshot-{number}"
            self.serve.request(
                "POST", f"/projects/{self.project.id}/branches/{self.project.branch}/snapshot?name={name}")
            self.note(name)
            time.sleep(0.02)


def processes_of(directory):
    """Every process that was started on a directory, or works in it."""
    found = []
    for path in glob.glob("/proc/[0-9]*"):
        try:
            with open(f"{path}/cmdline", "rb") as file:
                words = file.read().decode(errors="replace").split("\0")
            place = os.readlink(f"{path}/cwd")
        except OSError:
            continue  # ended while we looked
        inside = place == str(directory) or place.startswith(f"{directory}/")
        if inside or any(str(directory) in word for word in words):
            found.append(int(path.split("/")[2]))
    return [pid for pid in found if pid != os.getpid()]


def lose(serve):
    """All of the machine's processes die at once; then its disk is gone."""
    for _ in range(100):
        left = processes_of(serve.data)
        if not left:
            break
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass  # ended meanwhile
        time.sleep(0.02)
    serve.process.wait()
    with open("/proc/mounts", encoding="utf-8") as file:
        mounts = [line.split()[1] for line in file]
    for mount in mounts:
        if mount.startswith(f"{serve.data}/"):
            subprocess.run(["umount", "-l", mount], check=False)
    shutil.rmtree(serve.data)


def check_commits(uri, workers):
    """Acknowledged commits that are not there, with their times; and what does not fit together."""
    answer = Context.wait_for_answer(
        uri, "SELECT b.worker, b.steps, b.total, count(l.step), coalesce(max(l.step), 0), "
        "coalesce(sum(l.amount), 0) FROM balance b LEFT JOIN ledger l USING (worker) GROUP BY 1, 2, 3", timeout=120)
    lost, broken = [], []
    for line in answer.splitlines():
        worker, steps, total, count, last, amounts = (int(value) for value in line.split("|"))
        if not (steps == count == last and total == amounts):
            broken.append(f"worker {worker}: {line}")
        lost += [when for step, when in workers[worker - 1].acknowledged if step > last]
    return lost, broken


def check_api(serve, project, writer):
    answer = serve.request("GET", f"/projects/{project.id}/snapshots")
    names = {snapshot["name"] for snapshot in answer["snapshots"]}
    return [when for name, when in writer.acknowledged if name not in names]


def load(serve, options, durability):
    """A project under load: the project, its writers of commits, its writer of snapshots."""
    project = Project(serve, name="loss", durability=durability)
    Context.wait_for_answer(project.uri)
    psql(project.uri,
         SCHEMA + f"INSERT INTO balance SELECT n, 0, 0 FROM generate_series(1, {options.workers}) n")
    workers = [CommitWriter(number + 1, project.uri) for number in range(options.workers)]
    writer = APIWriter(serve, project)
    for thread in [*workers, writer]:
        thread.start()
    return project, workers, writer


def join(threads):
    for thread in threads:
        thread.join(60)
        if thread.failure:
            raise thread.failure


def round_of(directory, durability, options):
    """One loss. Returns (commits, API writes, lost commits, lost API writes, seconds lost, seconds to the first
    query, discrepancies)."""
    store = f"file://{directory / 'store'}"
    serve = Serve(directory / "a", options=["--object-store", store, *options.serve])
    second = Serve(directory / "b", options=[
        "--recover-from", store, "--master-key", str(directory / "master-key"), *options.serve])
    try:
        serve.start()
        project, workers, writer = load(serve, options, durability)
        time.sleep(random.uniform(1.5, 5))
        shutil.copy(serve.data / "master-key", directory / "master-key")
        lose(serve)
        join([*workers, writer])
        started = time.monotonic()
        second.http, second.postgres = serve.http, serve.postgres  # the same address: the same strings
        second.start()
        # The connection string, password and all, is the one from before the loss.
        lost, broken = check_commits(project.uri, workers)
        seconds = time.monotonic() - started
        lost_api = check_api(second, project, writer)
        times = [when for thread in [*workers, writer] for _, when in thread.acknowledged]
        window = max((max(times) - when for when in lost + lost_api), default=0.0)
        if (lost or lost_api) and not 0 < window <= ALLOWED_SECONDS[durability]:
            broken.append(f"{len(lost)} commits and {len(lost_api)} API writes of the last {window:.2f} s are lost, "
                          f"{ALLOWED_SECONDS[durability]} s may be")
        commits = sum(len(worker.acknowledged) for worker in workers)
        return commits, len(writer.acknowledged), len(lost), len(lost_api), window, seconds, broken
    finally:
        for server in (serve, second):
            if server.data.exists():
                server.stop()


def rounds_of(base, durability, options):
    """All losses in one durability: what was lost that must not be, and the sums."""
    failures, totals, windows, times = [], [0, 0, 0, 0], [], []
    for number in range(1, options.rounds + 1):
        # Short: the path of a unix socket has 103 bytes at most.
        directory = base / f"{durability[0]}{number}"
        directory.mkdir(parents=True)
        base.chmod(0o755)
        directory.chmod(0o755)
        try:
            *counts, window, seconds, broken = round_of(directory, durability, options)
        except Failure as failure:
            counts, window, seconds, broken = [0, 0, 0, 0], 0.0, 0.0, [str(failure)]
        totals = [a + b for a, b in zip(totals, counts)]
        windows.append(window)
        times.append(seconds)
        print(f"{durability} {number}/{options.rounds}: {counts[0]} commits and {counts[1]} API writes "
              f"acknowledged, {counts[2]} and {counts[3]} lost, of {window:.2f} s; first answer after "
              f"{seconds:.1f} s", flush=True)
        failures += [f"{durability} {number}: {line}" for line in broken]
        if not options.keep and not broken:
            shutil.rmtree(directory, ignore_errors=True)
    print(f"{durability}: {options.rounds} losses, {totals[0]} commits and {totals[1]} API writes acknowledged, "
          f"{totals[2]} and {totals[3]} lost, worst {max(windows):.2f} s; first answer after "
          f"{sorted(times)[len(times) // 2]:.1f} s (median), {max(times):.1f} s (worst)", flush=True)
    return failures, {
        "commits": totals[0], "commits_lost": totals[2], "api_writes_lost": totals[3],
        "worst_seconds_lost": round(max(windows), 2), "first_answer_p50": round(sorted(times)[len(times) // 2], 1)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20, help="losses in each durability")
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--durability", choices=["local", "object-store", "both"], default="both")
    parser.add_argument("--directory")
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("serve", nargs="*", help="further options of serve, after --")
    options = parser.parse_args()
    random.seed(options.seed)
    base = pathlib.Path(options.directory or tempfile.mkdtemp(prefix="exzo-loss-", dir="/var/tmp"))
    kinds = ["local", "object-store"] if options.durability == "both" else [options.durability]
    failures = [line for durability in kinds for line in rounds_of(base, durability, options)[0]]
    if not options.keep and not failures:
        shutil.rmtree(base, ignore_errors=True)
    for line in failures:
        print(f"LOST: {line}")
    if failures:
        print(f"again: Benchmarks/loss.py --seed {options.seed} --rounds {options.rounds} --keep")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
