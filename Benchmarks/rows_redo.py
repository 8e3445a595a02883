"""Rows of page-level redo: long tails, fresh branches, redo itself, and what history costs."""
import os
import pathlib
import re
import subprocess
import time

from exzo_client import Failure, Project, Serve, psql
from measure import Background, directory_bytes, median, pgbench, spread, timed, wal_position
from rows_moments import record_marks, require_marks
from rows_throughput import INCOMPRESSIBLE, tps_of

ROOT = pathlib.Path(__file__).resolve().parent.parent
SCAN = ("SET max_parallel_workers_per_gather = 0; "
        "SELECT count(*), sum(abalance) FROM pgbench_accounts")


def opening_steps(serve):
    """Milliseconds of each step of the newest opening, as its agent wrote them down."""
    logs = sorted(serve.data.glob("**/agent.log"), key=lambda path: path.stat().st_mtime)
    found = re.findall(r"steps[=:] *\"?([^\"\n]*ms)", logs[-1].read_text(errors="replace")) if logs else []
    return {name: int(value) for name, value in re.findall(r"(\w+) (\d+) ms", found[-1])} if found else {}


def openings(serve):
    """How many moments were opened which way since serve began."""
    return {way: int(float(count)) for way, count in
            re.findall(r'^exzo_openings_total\{way="(\w+)"\} ([\d.e+]+)', serve.metrics(), re.M)}


def open_each(context, project, marks):
    """Request to first answered query of 100 random rows, for each mark; the steps' medians beside it."""
    latencies, steps = [], {}
    for _, lsn in marks:
        query = context.random_rows()
        started = time.monotonic()
        branch, _, uri = project.create_branch(lsn=lsn)
        context.wait_for_answer(uri, query)
        latencies.append(time.monotonic() - started)
        for name, value in opening_steps(project.serve).items():
            steps.setdefault(name, []).append(value)
        project.delete_branch(branch)
    return spread(latencies), {name: median(values) for name, values in steps.items()}


class LongTails:
    """A server of its own whose keyframes after the load's beginning hold no pages of relations.

    Every page of a moment is then made from the image at the load's beginning and all its records since, however
    long ago that was. What PostgreSQL replays itself is as short as ever: such keyframes still come as often as
    the restore objective wants.
    """

    def __init__(self, context):
        self.context = context
        self.directory = pathlib.Path(context.directory) / "tails"
        self.serve = self.project = None

    def __enter__(self):
        self.start("always")
        self.project = Project(
            self.serve, default_endpoint_settings={"suspend_timeout_seconds": -1})
        self.context.wait_for_answer(self.project.uri)
        uri = self.project.socket_uri()
        pgbench(uri, ["-i", "-q", "-s", str(self.context.parameters.scale)])
        self.context.checkpoint(uri)
        # Its shutdown leaves a complete keyframe, and the computes begin anew under the other policy.
        self.serve.stop()
        self.start("never")
        self.project.serve = self.serve
        self.project.uri = re.sub(r":\d+/", f":{self.serve.postgres}/", self.project.uri, count=1)
        self.context.wait_for_answer(self.project.uri)
        return self

    def start(self, layers):
        self.serve = Serve(self.directory, variables={"EXZO_COMPLETE_LAYERS": layers}).start()

    def __exit__(self, *_):
        if self.serve:
            self.serve.stop()


def near(marks, started, seconds, count, random):
    """Marks taken about so long after the load began."""
    fitting = [(moment, lsn) for taken, moment, lsn in marks
               if 0.85 * seconds - 1 <= taken - started <= 1.05 * seconds + 1]
    if not fitting:
        raise Failure(f"no mark was taken {seconds} s after the load began")
    return [random.choice(fitting) for _ in range(count)]


def tails(context):
    """Random moments whose newest image of pages lies 10 s … 60 min of saturating TPC-B before them."""
    parameters, result = context.parameters, {}
    with LongTails(context) as long:
        uri = long.project.socket_uri()
        begin, started = wal_position(uri), time.monotonic()
        load = Background(uri, max(parameters.tails) + 7200)
        try:
            marks = record_timed_marks(uri, max(parameters.tails) * 1.05 + 1, load)
            for when in ("running", "stopped"):
                for seconds in parameters.tails:
                    chosen = near(marks, started, seconds, parameters.moments, context.random)
                    found, steps = open_each(context, long.project, chosen)
                    size = median([int(psql(uri, f"SELECT '{lsn}'::pg_lsn - '0/0'")) for _, lsn in chosen])
                    result[f"{when}_{seconds}_s"] = {**found, "steps_ms": steps, "wal_bytes": size - begin}
                if when == "running":
                    load.require_running()
                    load.stop()
        finally:
            load.stop()
        result["openings"] = openings(long.serve)
    first, last = (result[f"stopped_{s}_s"]["p50"] for s in (parameters.tails[0], parameters.tails[-1]))
    result["longest_to_shortest"] = round(last / first, 2)
    return result


def record_timed_marks(uri, seconds, load):
    """(clock, time, LSN) every second, or every five where it takes long."""
    marks, deadline = [], time.monotonic() + seconds
    step = 1 if seconds < 300 else 5
    while time.monotonic() < deadline:
        load.require_running()
        lsn = psql(uri, "SELECT pg_current_wal_flush_lsn()")
        marks.append((time.monotonic(), None, lsn))
        time.sleep(step if len(marks) > 30 else 1)
    return marks


def fresh_branch(context):
    """Select-only on a branch opened a moment ago, and a scan on another one, against the warm parent.

    The first scan after a load also prunes and hints every page and writes it, on the parent as on the branch: it is
    printed as well. The reach is judged by the parent's second.
    """
    require_marks(context)
    project, parameters = context.project, context.parameters
    window = min(30, parameters.seconds)
    total = min(330, 4 * parameters.seconds)
    select = ["-n", "-S", "-c", "8", "-j", "2"]
    parent_scans = [round(timed(lambda: psql(project.uri, SCAN, timeout=1800)), 2) for _ in range(2)]
    pgbench(project.uri, [*select, "-T", str(window)])
    parent = tps_of(pgbench(project.uri, [*select, "-T", str(window)]))
    branch, _, uri = project.create_branch(lsn=context.random.choice(context.marks)[1])
    context.wait_for_answer(uri)
    text = pgbench(uri, [*select, "-T", str(total), "-P", str(window)])
    windows = [float(tps) for tps in re.findall(r"progress: [\d.]+ s, ([\d.]+) tps", text)]
    project.delete_branch(branch)
    branch, _, uri = project.create_branch(lsn=context.random.choice(context.marks)[1])
    context.wait_for_answer(uri)
    scans = [round(timed(lambda: psql(uri, SCAN, timeout=1800)), 2) for _ in range(2)]
    project.delete_branch(branch)
    return {
        "select_first_window_ratio": round(windows[0] / parent, 3),
        "select_last_window_ratio": round(windows[-1] / parent, 3),
        "window_seconds": window, "seconds_in_all": total,
        "scan_ratio": round(parent_scans[1] / scans[0], 3), "second_scan_ratio": round(parent_scans[1] / scans[1], 3),
        "scan_to_parents_first_ratio": round(parent_scans[0] / scans[0], 3),
        "parent_tps": parent, "windows_tps": windows, "parent_scan_seconds": parent_scans, "scan_seconds": scans,
    }


def redo(context):
    """Pages a second of one redo worker, chains of at most ten records: the tests' own measurement."""
    tests = ROOT / ".build" / "release" / "exzoPackageTests.xctest"
    if not tests.exists():
        return {"skipped": "no test bundle: swift build -c release -Xswiftc -enable-testing --build-tests"}
    ran = subprocess.run(
        [str(tests), "--testing-library", "swift-testing", "--filter", "RedoMeasurements"],
        text=True, capture_output=True, stdin=subprocess.DEVNULL, check=False,
        env={**os.environ, "EXZO_BENCH": "1", "EXZO_EXTENSION_DIR": str(ROOT / ".build" / "extensions")})
    found = re.search(r"(\d+) pages, (\d+) records \(at most 10 each\), one worker: (\d+) pages/s", ran.stdout)
    if ran.returncode != 0 or not found:
        raise Failure(f"RedoMeasurements: status {ran.returncode}: {(ran.stdout + ran.stderr)[-1500:]}")
    further = re.findall(r"^(?:worker start|single pages|hot page).*$", ran.stdout, re.M)
    return {"pages_a_second": int(found[3]), "pages": int(found[1]), "records": int(found[2]),
            "further": further}


def line_bytes(context):
    """What the store holds of lines: the catalog's journal writes an object a second beside them."""
    store = pathlib.Path(os.environ.get("EXZO_BENCH_STORE", context.serve.data / "objects"))
    lines = store / "objects" / "lines"
    if not lines.is_dir():
        raise Failure(f"no lines below {store}: EXZO_BENCH_STORE must name a local store's directory")
    return directory_bytes(lines)


def history_bytes(context):
    """Bytes that the store keeps for a byte of WAL over the load, with both kinds of filler."""
    script = pathlib.Path(context.directory) / "incompressible.sql"
    script.write_text(INCOMPRESSIBLE, encoding="utf-8")
    uri, result = context.project.socket_uri(), {}
    context.load(uri)
    fillers = {"compressible": [],
               "incompressible": ["-f", str(script), "-D", f"scale={context.parameters.scale}"]}
    for name, options in fillers.items():
        settle(context)
        before, wal = line_bytes(context), wal_position(uri)
        pgbench(uri, ["-n", "-c", "8", "-j", "2", "-T", str(context.parameters.history_seconds), *options])
        context.checkpoint(uri)
        settle(context)
        kept, written = line_bytes(context) - before, wal_position(uri) - wal
        result[f"{name}_bytes_per_wal_byte"] = round(kept / written, 3)
        result[name] = {"kept_bytes": kept, "wal_bytes": written,
                        "seconds": context.parameters.history_seconds}
    return result


def settle(context, timeout=300):
    """Waits until uploads and merges are done: the lines in the store have not changed for ten seconds."""
    last, since, deadline = line_bytes(context), time.monotonic(), time.monotonic() + timeout
    while time.monotonic() - since < 10:
        if time.monotonic() > deadline:
            raise Failure(f"the lines in the store still change after {timeout} s")
        time.sleep(1)
        now = line_bytes(context)
        if now != last:
            last, since = now, time.monotonic()
