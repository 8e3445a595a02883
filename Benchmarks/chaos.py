#!/usr/bin/env python3
"""kill -9 of postgres, agent and serve under load: no acknowledged commit lost, no manual step.

  chaos.py [--rounds N] [--workers N] [--seed N] [--directory DIR] [--keep]

Each worker writes rows 1, 2, 3 … in transactions of their own through the proxy and remembers the last one that
was acknowledged. After each kill it reconnects by itself. At the end, and after each round, every acknowledged
row must be there, without a gap, and the balances that the same transactions moved must agree.
"""
import argparse
import collections
import glob
import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
import shutil

from context import Context
from exzo_client import PG_BIN, Failure, Project, Serve, psql

TARGETS = ("postgres", "agent", "serve")
SCHEMA = """
CREATE TABLE ledger (worker int, step int, amount bigint, PRIMARY KEY (worker, step));
CREATE TABLE balance (worker int PRIMARY KEY, total bigint NOT NULL, steps int NOT NULL);
"""


class Worker(threading.Thread):
    """Writes steps one by one; `acknowledged` is the last that psql saw committed."""

    def __init__(self, number, uri, stop):
        super().__init__(daemon=True)
        self.number, self.uri, self.stop_event = number, uri, stop
        self.acknowledged = self.reconnects = 0
        # How many sessions had been lost when the last commit was acknowledged.
        self.progress_after = 0
        self.failure = None

    def run(self):
        while not self.stop_event.is_set():
            try:
                self.work()
            except (OSError, Failure):
                self.reconnects += 1
                self.stop_event.wait(0.05)
            except Exception as error:  # a defect of this script must end the run, not the thread alone
                self.failure = error
                return

    def work(self):
        # What was committed without our hearing of it counts from here on, and must stay as well.
        step = int(psql(self.uri, "SELECT coalesce(max(step), 0) FROM ledger "
                        f"WHERE worker = {self.number}", timeout=60))
        if step < self.acknowledged:
            raise RuntimeError(f"worker {self.number}: {self.acknowledged} acknowledged, {step} there")
        session = subprocess.Popen(
            [f"{PG_BIN}/psql", "-AtXq", "-v", "ON_ERROR_STOP=1", "-d", self.uri], text=True, bufsize=1,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        try:
            while not self.stop_event.is_set():
                step += 1
                session.stdin.write(
                    f"BEGIN; INSERT INTO ledger VALUES ({self.number}, {step}, {step * 7});"
                    f"UPDATE balance SET total = total + {step * 7}, steps = steps + 1 "
                    f"WHERE worker = {self.number}; COMMIT;\n\\echo {step}\n")
                if session.stdout.readline().strip() != str(step):
                    raise Failure("connection lost")
                self.acknowledged = step
                self.progress_after = self.reconnects
        finally:
            session.kill()
            session.wait()


def exzo_processes(serve, verb):
    """Processes `exzo VERB` that work on this data directory."""
    found = []
    for path in glob.glob("/proc/[0-9]*/cmdline"):
        try:
            with open(path, "rb") as file:
                words = file.read().decode(errors="replace").split("\0")
        except OSError:
            continue  # ended while we looked
        if len(words) > 1 and words[0].endswith("exzo") and words[1] == verb:
            if any(str(serve.data) in word for word in words):
                found.append(int(path.split("/")[2]))
    return found


def postmasters(serve):
    """Postmasters below an agent of this server."""
    agents, found = set(exzo_processes(serve, "agent")), []
    for path in glob.glob("/proc/[0-9]*/stat"):
        try:
            with open(path, encoding="ascii", errors="replace") as file:
                text = file.read()
        except OSError:
            continue
        name, rest = text[text.index("(") + 1:text.rindex(")")], text[text.rindex(")") + 2:].split()
        if name in ("postgres", "postmaster") and int(rest[1]) in agents:
            found.append(int(path.split("/")[2]))
    return found


def kill_one(serve, target):
    if target == "serve":
        serve.kill()
        serve.start()
        return
    processes = exzo_processes(serve, "agent") if target == "agent" else postmasters(serve)
    if not processes:
        raise Failure(f"no {target} of {serve.data} is running")
    os.kill(random.choice(processes), signal.SIGKILL)


def verify(uri, workers):
    """Every acknowledged step is there, without a gap, and sums agree."""
    answer = Context.wait_for_answer(
        uri, "SELECT b.worker, b.steps, b.total, count(l.step), coalesce(max(l.step), 0), "
        "coalesce(sum(l.amount), 0) FROM balance b LEFT JOIN ledger l USING (worker) GROUP BY 1, 2, 3")
    lost = []
    rows = {int(line.split("|")[0]): [int(v) for v in line.split("|")[1:]] for line in answer.splitlines()}
    for worker, heard in workers.items():
        steps, total, count, last, amounts = rows[worker]
        if not (steps == count == last and total == amounts):
            lost.append(f"worker {worker}: steps {steps}, rows {count}, last {last}, "
                        f"total {total}, amounts {amounts}")
        if last < heard:
            lost.append(f"worker {worker}: {heard} acknowledged, {last} there")
    return lost


def round_of(serve, target, workers, delay):
    """Works, kills, waits until every worker has lost its session and made progress in another; seconds
    that took."""
    time.sleep(delay)
    lost = {worker.number: worker.reconnects for worker in workers}
    started = time.monotonic()
    kill_one(serve, target)
    deadline = started + 120
    # A session ends with each of the three: what is acknowledged after it shows that work goes on, and not
    # that the kill had not arrived yet.
    while any(worker.progress_after <= lost[worker.number] for worker in workers):
        broken = next((w.failure for w in workers if w.failure), None)
        if broken:
            raise broken
        if time.monotonic() > deadline:
            raise Failure(f"no progress 120 s after kill -9 of {target}:\n{serve.tail()}")
        time.sleep(0.02)
    return time.monotonic() - started


def run(serve, options):
    project = Project(serve, name="chaos")
    Context.wait_for_answer(project.uri)
    psql(project.uri, SCHEMA + f"INSERT INTO balance SELECT n, 0, 0 FROM generate_series(1, {options.workers}) n")
    stop = threading.Event()
    workers = [Worker(number + 1, project.uri, stop) for number in range(options.workers)]
    for worker in workers:
        worker.start()
    times = collections.defaultdict(list)
    kills = [target for target in TARGETS for _ in range(options.rounds)]
    random.shuffle(kills)
    for number, target in enumerate(kills, 1):
        times[target].append(round_of(serve, target, workers, random.uniform(0.5, 3)))
        print(f"{number}/{len(kills)} killed {target}: work went on after {times[target][-1]:.2f} s", flush=True)
    stop.set()
    for worker in workers:
        worker.join(90)
    lost = verify(project.uri, {worker.number: worker.acknowledged for worker in workers})
    total = sum(worker.acknowledged for worker in workers)
    for target in TARGETS:
        found = sorted(times[target])
        if found:
            print(f"{target}: {len(found)} kills, median {found[len(found) // 2]:.2f} s, worst {found[-1]:.2f} s")
    print(f"{total} acknowledged commits, {sum(w.reconnects for w in workers)} reconnects, "
          f"{len(lost)} discrepancies")
    return lost


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20, help="kills of each kind")
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--directory")
    parser.add_argument("--keep", action="store_true")
    options = parser.parse_args()
    random.seed(options.seed)
    directory = pathlib.Path(options.directory or tempfile.mkdtemp(prefix="exzo-chaos-", dir="/var/tmp"))
    serve = Serve(directory)
    try:
        serve.start()
        lost = run(serve, options)
    except Failure as failure:
        lost = [str(failure)]
    finally:
        serve.stop()
        if not options.keep:
            shutil.rmtree(directory, ignore_errors=True)
    for line in lost:
        print(f"LOST: {line}")
    if lost:
        print(f"again: Benchmarks/chaos.py --seed {options.seed} --rounds {options.rounds} --keep")
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main())
