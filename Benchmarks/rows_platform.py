"""Rows of the platform: restore in place, many suspended projects, many branches at once, proxy, pooler, API."""
import concurrent.futures
import contextlib
import http.client
import json
import os
import pathlib
import resource
import subprocess
import threading
import time

from exzo_client import PG_BIN, Failure, Project, Serve, free_port, psql
from measure import pgbench, quantile, spread
from rows_throughput import turn_about


class Reconnecting:
    """pgbench that begins again whenever its connections are cut, as an application does."""

    def __init__(self, uri, clients=8):
        self.uri, self.clients, self.is_over, self.runs = uri, clients, False, 0
        self.process = None
        self.thread = threading.Thread(target=self.loop, daemon=True)
        self.thread.start()

    def loop(self):
        while not self.is_over:
            self.runs += 1
            self.process = subprocess.Popen(
                [f"{PG_BIN}/pgbench", "-n", "-c", str(self.clients), "-j", "2", "-T", "36000", self.uri],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            self.process.wait()

    def stop(self):
        self.is_over = True
        self.process.terminate()
        self.thread.join(60)


def restore_in_place(context):
    """A branch goes back some seconds under load: request to the first query that the former state answers."""
    project, found = context.project, []
    context.load(project.socket_uri())
    psql(project.uri, "CREATE TABLE IF NOT EXISTS restore_marks (n int)")
    load = Reconnecting(project.uri)
    try:
        for number in range(context.parameters.small_samples):
            time.sleep(min(20, context.parameters.seconds / 4))
            moment = psql(project.uri, "SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', "
                          "'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')")
            time.sleep(1)
            psql(project.uri, f"INSERT INTO restore_marks VALUES ({number})")
            time.sleep(1)
            started = time.monotonic()
            answer = project.serve.request(
                "POST", f"/projects/{project.id}/branches/{project.branch}/restore",
                {"source_branch_id": project.branch, "source_timestamp": moment})
            query = f"{context.random_rows()}; SELECT count(*) FROM restore_marks WHERE n = {number}"
            while context.wait_for_answer(project.uri, query).splitlines()[-1] != "0":
                time.sleep(0.005)
            found.append(time.monotonic() - started)
            project.serve.wait(project.id, answer["operations"])
    finally:
        load.stop()
    # The next row that looks for its socket finds the new line's.
    context._loaded.clear()
    return {**spread(found), "loads": load.runs}


def branches_at_once(context):
    """20 branches of one parent: asked for one after the other, and at once; each must answer, and rightly."""
    project, count = context.project, 20
    context.load(project.socket_uri())
    query = "SELECT count(*), sum(abalance) FROM pgbench_accounts WHERE aid <= 100000"
    pgbench(project.socket_uri(), ["-n", "-c", "8", "-j", "2", "-T", str(min(60, context.parameters.seconds))])
    expected = psql(project.uri, query)

    def branch(_):
        identity, _, uri = project.create_branch()
        found = context.wait_for_answer(uri, query, timeout=300)
        if found != expected:
            raise Failure(f"branch {identity} answers {found}, not {expected}")
        return identity

    def remove(branches):
        for identity in branches:
            project.delete_branch(identity)

    started = time.monotonic()
    branches = [branch(number) for number in range(count)]
    serial = time.monotonic() - started
    remove(branches)
    started = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        branches = list(pool.map(branch, range(count)))
    at_once = time.monotonic() - started
    remove(branches)
    return {"ratio": round(at_once / serial, 3), "serial_seconds": round(serial, 2),
            "at_once_seconds": round(at_once, 2)}


# MARK: Many projects

def processes_of(serve):
    """serve, its metadata server, its computes: all that were started on the data directory or work in it."""
    found, data = [], str(serve.data)
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        with contextlib.suppress(OSError):
            with open(f"/proc/{name}/cmdline", "rb") as file:
                command = file.read().decode(errors="replace")
            if data in command or os.readlink(f"/proc/{name}/cwd").startswith(data):
                found.append(int(name))
    return found


def cpu_seconds(pids):
    ticks = 0
    for pid in pids:
        with contextlib.suppress(OSError), open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            fields = file.read().rsplit(")", 1)[1].split()
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def resident_megabytes(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        for line in file:
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
    raise Failure(f"process {pid} tells no memory")


def objects(serve):
    """Every object with its size and time."""
    found = {}
    for directory, _, names in os.walk(serve.data / "objects"):
        for name in names:
            path = os.path.join(directory, name)
            with contextlib.suppress(FileNotFoundError):
                status = os.stat(path)
                found[path] = (status.st_size, status.st_mtime_ns)
    return found


def wakes(context, projects, count):
    found = []
    for number in range(count):
        project = projects[number * len(projects) // count]
        started = time.monotonic()
        psql(project.uri, "SELECT 1", timeout=60)
        found.append(time.monotonic() - started)
        project.endpoint_action("suspend")
    return spread(found)


def suspended(serve, number, branches):
    """A project with its branches, each with an endpoint that was up and is suspended."""
    project = Project(serve, name=f"idle-{number}")
    endpoints = [project.endpoint]
    for index in range(1, branches):
        _, endpoint, _ = project.create_branch(name=f"b{index}", wait=True)
        endpoints.append(endpoint)
    for endpoint in endpoints:
        project.endpoint_action("suspend", endpoint)
    return project


def many_suspended(context):
    """Projects with 5 branches each, all suspended: what they cost, and whether a wake is any slower."""
    is_short = context.parameters.seconds < 600
    count, idle = (12, 30) if is_short else (100, 120)
    serve = Serve(context.directory / "many", options=["--requests-per-minute", "0"]).start()
    try:
        first = suspended(serve, 0, 5)
        alone = wakes(context, [first], context.parameters.small_samples)
        projects = [first] + [suspended(serve, number, 5) for number in range(1, count)]
        # What the last suspension left to do is over.
        time.sleep(20)
        pids, before, clock = processes_of(serve), objects(serve), time.monotonic()
        used = cpu_seconds(pids)
        time.sleep(idle)
        used, clock = cpu_seconds(pids) - used, time.monotonic() - clock
        after = objects(serve)
        memory = resident_megabytes(serve.process.pid)
        lists = []
        for number in range(200):
            path = ["/projects?limit=400", f"/projects/{projects[number % count].id}/branches"][number % 2]
            started = time.monotonic()
            serve.request("GET", path)
            lists.append(time.monotonic() - started)
        result = {
            "projects": count, "branches": 5 * count, "idle_cpu_percent": round(100 * used / clock, 2),
            "serve_megabytes": round(memory, 1), "objects_written": len(set(after.items()) - set(before.items())),
            "list": spread(lists), "wake": wakes(context, projects, max(10, context.parameters.small_samples)),
            "wake_alone": alone}
        written = sorted(set(after.items()) - set(before.items()))
        if written:
            result["written"] = [os.path.relpath(path, serve.data) for path, _ in written[:20]]
        return result
    finally:
        serve.stop()


# MARK: Proxy and pooler

class Bouncer:
    """PgBouncer with TLS in the proxy's place: in front of the same compute's socket."""

    def __init__(self, context):
        words = dict(word.split("=", 1) for word in context.project.socket_uri().split())
        place = pathlib.Path(words["host"])
        directory = pathlib.Path(context.directory) / "bouncer"
        directory.mkdir(exist_ok=True)
        port = free_port()
        subprocess.run(
            ["openssl", "req", "-new", "-x509", "-days", "30", "-nodes", "-subj", "/CN=localhost", "-newkey",
             "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-keyout", f"{directory}/key", "-out",
             f"{directory}/crt"], check=True, capture_output=True)
        (directory / "users").write_text(f'"{words["user"]}" "{words["password"]}"\n', encoding="utf-8")
        (directory / "ini").write_text(f"""[databases]
* = host={place} port={words["port"]}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {directory}/users
pool_mode = session
default_pool_size = 50
client_tls_sslmode = require
client_tls_key_file = {directory}/key
client_tls_cert_file = {directory}/crt
ignore_startup_parameters = extra_float_digits
""", encoding="utf-8")
        owner = place.stat().st_uid
        for path in [directory, *directory.iterdir()]:
            os.chown(path, owner, owner)
        program = ["pgbouncer", f"{directory}/ini"]
        if os.getuid() == 0 and owner != 0:
            program = ["setpriv", f"--reuid={owner}", f"--regid={owner}", "--clear-groups", *program]
        self.log = directory / "log"
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(program, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.uri = (f"host=127.0.0.1 port={port} user={words['user']} password={words['password']} "
                    f"dbname={words['dbname']} sslmode=require")
        context.wait_for_answer(self.uri, timeout=20)

    def stop(self):
        self.process.terminate()
        self.process.wait(20)


def select_proxy(context):
    """Select-only through the proxy with TLS, against PgBouncer with TLS in its place."""
    socket = context.project.socket_uri()
    context.load(socket)
    psql(socket, "SELECT sum(abalance) FROM pgbench_accounts", timeout=600)
    bouncer = Bouncer(context)
    try:
        return turn_about(context, [("plain", bouncer.uri), ("exzo", context.project.uri)], ["-S"],
                          min(120, context.parameters.seconds))
    finally:
        bouncer.stop()


def pooled_connections(context):
    """1,000 connections that do nothing on a -pooler host: what serve's memory grows by."""
    project, count = context.project, 1000
    uri = project.uri.replace(project.endpoint, f"{project.endpoint}-pooler")
    context.wait_for_answer(uri)
    script = pathlib.Path(context.directory) / "sleep.sql"
    script.write_text("\\sleep 600 s\n", encoding="utf-8")
    time.sleep(2)
    before = resident_megabytes(project.serve.process.pid)

    def more_files():
        resource.setrlimit(resource.RLIMIT_NOFILE, (8192, max(8192, resource.getrlimit(resource.RLIMIT_NOFILE)[1])))
    started = time.monotonic()
    with open(pathlib.Path(context.directory) / "sleep.log", "wb") as log:
        load = subprocess.Popen(
            [f"{PG_BIN}/pgbench", "-n", "-c", str(count), "-j", "4", "-t", "1", "-f", str(script), uri],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=more_files)
    try:
        while connections(load.pid) < count:
            if load.poll() is not None or time.monotonic() - started > 180:
                raise Failure(f"{connections(load.pid)} of {count} connections: "
                              f"{(pathlib.Path(context.directory) / 'sleep.log').read_text()[-500:]}")
            time.sleep(0.2)
        connected = time.monotonic() - started
        time.sleep(5)
        after = resident_megabytes(project.serve.process.pid)
        psql(uri, "SELECT 1", timeout=20)
    finally:
        load.kill()
        load.wait()
    return {"connections": count, "grown_megabytes": round(after - before, 1),
            "serve_megabytes": round(after, 1), "connect_seconds": round(connected, 1)}


def connections(pid):
    """Sockets that a process has open."""
    found = 0
    with contextlib.suppress(OSError):
        for name in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                found += os.readlink(f"/proc/{pid}/fd/{name}").startswith("socket:")
    return found


# MARK: API

class Reads:
    """GETs on a schedule by several threads: latencies from when each was due, and what was refused."""

    def __init__(self, serve, paths, rate, seconds, threads=32):
        self.serve, self.paths, self.key = serve, paths, serve.key
        self.rate, self.total, self.threads = rate, rate * seconds, threads
        self.found, self.errors, self.lock = [], [], threading.Lock()

    def run(self):
        start = time.monotonic() + 0.5
        workers = [threading.Thread(target=self.read, args=(place, start)) for place in range(self.threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()

    def read(self, place, start):
        connection = http.client.HTTPConnection("127.0.0.1", self.serve.http, timeout=30)
        own, failed = [], []
        for number in range(place, self.total, self.threads):
            due = start + number / self.rate
            time.sleep(max(0, due - time.monotonic()))
            connection.request("GET", "/api/v2" + self.paths[number % len(self.paths)],
                               headers={"Authorization": f"Bearer {self.key}"})
            answer = connection.getresponse()
            body = answer.read()
            own.append(time.monotonic() - due)
            if answer.status != 200:
                failed.append((answer.status, body[:200].decode(errors="replace")))
            elif number % 100 == 0:
                json.loads(body)
        with self.lock:
            self.found.extend(own)
            self.errors.extend(failed)


def api_reads(context):
    """Reads at 500 a second, sent on schedule whatever came of those before; latency counts from there."""
    rate, seconds = 500, min(60, context.parameters.seconds)
    serve = Serve(context.directory / "api", options=["--requests-per-minute", "0"]).start()
    try:
        project = Project(serve, name="reads")
        reads = Reads(serve, ["/projects", f"/projects/{project.id}", f"/projects/{project.id}/branches",
                              f"/projects/{project.id}/endpoints", f"/projects/{project.id}/operations",
                              f"/projects/{project.id}/branches/{project.branch}/databases"], rate, seconds)
        reads.run()
        found, errors = reads.found, reads.errors
        if len(found) != rate * seconds:
            raise Failure(f"{len(found)} of {rate * seconds} requests were made")
        return {"p50_ms": round(1000 * quantile(found, 0.5), 1), "p99_ms": round(1000 * quantile(found, 0.99), 1),
                "worst_ms": round(1000 * max(found), 1), "requests": len(found), "errors": len(errors),
                **({"first_error": str(errors[0])} if errors else {})}
    finally:
        serve.stop()
