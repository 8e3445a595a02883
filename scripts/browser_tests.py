"""Drives Debian's chromium through the Console; called by the Swift tests, once a scenario.

    browser.py SCENARIO URL KEY FACTS SCREENSHOTS

FACTS is JSON. Every claim that does not hold is a line on standard output that begins with FAIL, and the
exit status is 1. Screenshots go into the directory SCREENSHOTS.
"""
import json
import os
import re
import signal
import subprocess
import sys
import time
import traceback
import urllib.request

from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from browser import WIDTHS, Browser, axe_source
from browser_backups import schedule


def pages(facts):
    project, branch = f"/projects/{facts['project']}", facts["branch"]
    return {
        "projects": "/projects", "dashboard": project, "branches": f"{project}/branches",
        "branch": f"{project}/branches/{branch}", "timeline": f"{project}/branches/{branch}/timeline",
        "sql": f"{project}/sql", "roles": f"{project}/roles", "operations": f"{project}/operations",
        "backups": f"{project}/backups", "monitoring": f"{project}/monitoring",
        "settings": f"{project}/settings", "billing": "/billing", "keys": "/keys", "help": "/help",
        "guide": "/help/restore", "missing": "/nothing/here"}


def settled(browser, name):
    if name == "timeline":
        browser.wait(lambda: browser.find("#events").get_attribute("aria-busy") == "false", "events are read")
    time.sleep(0.3)


def every_page(browser, facts):
    axe = axe_source()
    browser.go("/signin")
    for size in WIDTHS:
        browser.size(size)
        browser.layout(f"signin {size}")
        browser.shot(f"signin-{size}")
    browser.accessible("signin", axe)
    browser.sign_in()
    for name, path in pages(facts).items():
        for size in WIDTHS:
            browser.size(size)
            browser.go(path)
            browser.theme("light")
            settled(browser, name)
            browser.layout(f"{name} {size}")
            browser.whole_shot(f"{name}-{size}")
            if name != "missing":
                browser.healthy(f"{name} {size}")
            else:
                browser.driver.get_log("browser")
        browser.size("wide")
        browser.accessible(name, axe)
        browser.theme("dark")
        browser.accessible(f"{name} dark", axe)
        if name in ("dashboard", "timeline", "sql"):
            browser.whole_shot(f"{name}-dark")


def speed(browser, facts):
    browser.sign_in()
    for name, path in pages(facts).items():
        if name == "missing":
            continue
        best = None
        for _ in range(2):
            size, ready = browser.weight(path)
            best = (size, ready) if best is None else (min(size, best[0]), min(ready, best[1]))
        print(f"FIGURE {name}: {best[0]} bytes, ready after {best[1]:.0f} ms", flush=True)
        browser.check(best[0] <= 150_000, f"{name}: {best[0]} bytes are at most 150 kB")
        browser.check(best[1] <= 500, f"{name}: ready after {best[1]:.0f} ms, at most 500")


def dropped_table(browser, facts):
    """From the Console open to the rows back."""
    started = time.monotonic()
    browser.go("/projects")
    browser.find("#key").send_keys(browser.key)
    browser.click(browser.named("button", "Sign in"))
    browser.click(browser.named("a", facts["name"]))
    browser.click(browser.named("a.button", "Open the timeline"))
    row = browser.named("#events li", "DROP TABLE public.orders")
    browser.click(row.find_element(By.TAG_NAME, "button"))
    browser.wait(lambda: browser.find("#moment").is_displayed() and "Opening it takes" in browser.text(), "the moment is found")
    browser.shot("story-moment")
    browser.click(browser.named(".acts button", facts.get("act", "Restore to here")))
    time.sleep(0.1)
    browser.shot("story-dialog")
    browser.click(browser.named("dialog[open] button", facts.get("confirm", "Restore")))
    browser.wait(lambda: re.search(r"/branches/br-[\w-]+$", browser.driver.current_url), "the branch's page comes up")
    took = time.monotonic() - started
    browser.shot("story-done")
    print(f"FIGURE story: {browser.clicks} clicks, {took:.1f} s", flush=True)
    print("BRANCH", browser.driver.current_url.rsplit("/", 1)[1], flush=True)
    browser.check(browser.clicks <= 8, f"{browser.clicks} clicks are at most 8")
    browser.check(took <= 60, f"{took:.1f} s are at most 60")
    browser.healthy("story")


def editor(browser, facts):
    browser.sign_in(f"/projects/{facts['project']}/sql")
    def run(sql):
        area = browser.find("#sql")
        browser.driver.execute_script("arguments[0].value = arguments[1]; arguments[0].setSelectionRange(0, 0)", area, sql)
        browser.click(browser.find("#run"))
        browser.wait(lambda: browser.find("#run").is_enabled() and not browser.driver.find_elements(By.CSS_SELECTOR, "#results progress"), "the query ends")
    run("SELECT count(*) AS many, NULL AS nothing, '<img src=x onerror=alert(1)>' AS \"<script>alert(2)</script>\" FROM kept")
    text = browser.find("#results").text
    browser.check("many" in text and "NULL" in text and "<img src=x" in text, f"a result is a table: {text}")
    browser.shot("sql-result")
    run("SELECT 1;\nSELECT nonsense FROM kept")
    text = browser.find("#results").text
    browser.check("line 2" in text and "42703" in text, f"an error has its place: {text}")
    browser.shot("sql-error")
    run("SELECT generate_series(1, 5000000)")
    browser.check("the first 1,000 rows" in browser.find("#results").text, "a large result is cut")
    browser.driver.execute_script("document.getElementById('sql').value = 'SELECT * FROM kept k JOIN kept l USING (id)'")
    browser.click(browser.find("#analyze"))
    browser.named("#results .plan", "Join")
    browser.shot("sql-plan")
    browser.check("SELECT generate_series" in browser.find("#history").text, "history has what ran")
    browser.go(f"/projects/{facts['project']}/sql?lsn={facts['lsn'].replace('/', '%2F')}&sql=SELECT+count(*)+AS+orders_then+FROM+orders")
    browser.named("#results", "orders_then")
    browser.check("1000" in browser.find("#results").text, f"the past is read: {browser.find('#results').text}")
    run("CREATE TABLE not_in_the_past (n int)")
    browser.check("read-only" in browser.find("#results").text or "recovery" in browser.find("#results").text,
                  f"the past cannot be written: {browser.find('#results').text}")
    browser.shot("sql-past")
    browser.healthy("editor")


def timeline(browser, facts):
    """Keyboard, typed moments, comparisons; drops and deletes have their names."""
    path = f"/projects/{facts['project']}/branches/{facts['branch']}/timeline"
    browser.sign_in(path)
    browser.wait(lambda: browser.find("#events").get_attribute("aria-busy") == "false", "events are read")
    for title in ("DROP TABLE public.orders", "TRUNCATE public.emptied", "from public.thinned"):
        browser.named("#events li", title)
    strip = browser.find("#strip")
    strip.send_keys(Keys.ARROW_LEFT, Keys.ARROW_LEFT)
    browser.check("opens in about" in strip.get_attribute("aria-valuetext"), "the strip tells its moment")
    strip.send_keys("+")
    time.sleep(0.8)
    strip.send_keys(Keys.ENTER)
    browser.wait(lambda: browser.find("#moment").is_displayed(), "a moment was chosen by keyboard")
    typed_moments(browser, path)
    comparisons(browser)
    browser.healthy("timeline")


def typed_moments(browser, path):
    browser.go(path)
    browser.wait(lambda: browser.find("#events").get_attribute("aria-busy") == "false", "events are read")
    browser.driver.execute_script("document.getElementById('typed-kind').value = 'lsn'; document.getElementById('typed-kind').dispatchEvent(new Event('change'))")
    browser.find("#typed-lsn").send_keys("nonsense")
    browser.click(browser.named("#typed button", "Choose"))
    browser.driver.execute_script("document.getElementById('typed-lsn').removeAttribute('pattern')")
    browser.click(browser.named("#typed button", "Choose"))
    browser.named("#typed-problem", "An LSN looks like")
    browser.find("#typed-lsn").clear()
    browser.find("#typed-lsn").send_keys("FFFF/0")
    browser.click(browser.named("#typed button", "Choose"))
    browser.named("#moment .problem", "lies outside")
    browser.driver.get_log("browser")  # the refusal is logged by the browser itself


def comparisons(browser):
    row = browser.named("#events li", "DROP TABLE public.orders")
    browser.click(row.find_element(By.TAG_NAME, "button"))
    browser.named("#moment", "Opening it takes")
    browser.click(browser.find("#act-schema"))
    browser.named("#answer", "CREATE TABLE public.orders")
    browser.whole_shot("timeline-schema")
    browser.click(browser.named(".acts button", "Compare a table"))
    browser.click(browser.named("dialog[open] button", "Compare"))
    browser.named("#answer", "1,000 gone")
    browser.whole_shot("timeline-rows")


def restored(browser, facts):
    """What happened behind the moment that was restored to is no part of the branch's past any more."""
    path = f"/projects/{facts['project']}/branches/{facts['branch']}/timeline"
    browser.sign_in(path)
    settled(browser, "timeline")
    time.sleep(4)
    text = browser.find("#events").text
    browser.check("public.emptied" not in text and "thinned" not in text, f"the list ends with the restore: {text}")
    browser.healthy("restored")
    browser.shot("timeline-restored")


def proofs(browser, facts):
    """A verified dump, its download, and a restore drill, all from the page; one table back."""
    browser.sign_in(f"/projects/{facts['project']}/backups")
    browser.click(browser.named("button", "Dump now"))
    browser.click(browser.named("dialog[open] button", "Dump"))
    browser.named("#dump-rows", "rows equal")
    link = browser.named("#dump-rows a", "Download").get_attribute("href")
    start = browser.driver.execute_async_script("""
        const done = arguments[arguments.length - 1];
        fetch(arguments[0], {headers: {Range: 'bytes=0-4'}}).then((r) => r.text().then((t) => done([r.status, t])));""", link)
    browser.check(start == [206, "PGDMP"], f"the dump is downloaded in parts: {start}")
    browser.click(browser.named("button", "Drill now"))
    browser.named("#drill-rows", "passed")
    browser.named("#capture-rows", "safe")
    browser.whole_shot("backups-proofs")
    path = f"/projects/{facts['project']}/branches/{facts['branch']}/timeline"
    browser.go(path)
    row = browser.named("#events li", "DROP TABLE public.orders")
    browser.click(row.find_element(By.TAG_NAME, "button"))
    browser.named("#moment", "Opening it takes")
    browser.click(browser.named(".acts button", "Recover one table"))
    browser.click(browser.named("dialog[open] button", "Recover"))
    browser.named(".toast", "Done")
    browser.go(path)
    settled(browser, "timeline")
    marks = browser.driver.execute_script("return [...document.querySelectorAll('#strip .mark title')].map((one) => one.textContent)")
    browser.check(any(mark.startswith("dump of ") for mark in marks), f"the dump is marked on the strip: {marks}")
    browser.shot("timeline-dump")
    browser.healthy("proofs")


# Thirty days of a million commits a day, as the API tells them: in place of the answer's own content.
HEAVY = """(() => {
  const real = window.fetch;
  window.fetch = async (input, init) => {
    if (!/[/]timeline([?]|$)/.test(String(input))) return real(input, init);
    const { timeline } = await (await real(input, init)).json();
    const end = Date.now(), start = end - 30 * 86400e3, step = 5400;
    const iso = (at) => new Date(at).toISOString();
    const lsn = (at) => `${Math.floor((at - start) / 86400e3)}/${(16 + Math.floor((at - start) / 1000) % 1e6).toString(16).toUpperCase()}`;
    const every = (count, make) => Array.from({ length: count }, (_, n) => make(start + (end - start) * n / count, n));
    Object.assign(timeline, {
      from: iso(start), to: iso(end), bucket_seconds: step, events_left_out: 4000,
      buckets: every(480, (at, n) => ({ start: iso(at), lsn: lsn(at), commits: 50000 + n * 37 % 30000, aborts: n, wal_bytes: 1e8 + n * 1e5,
        rows_deleted: n, schema_changes: n % 7, file_drops: n % 3, truncates: n % 2 })),
      events: every(1000, (at, n) => ({ kind: ["drop", "replace", "create", "delete"][n % 4], lsn: lsn(at), timestamp: iso(at), files: 3, rows: 9000,
        relation: "1/2/" + n, title: `DROP TABLE public.table_${n}` })).reverse(),
      keyframes: every(960, (at) => ({ id: lsn(at), name: "partial", lsn: lsn(at), timestamp: iso(at) })),
      ...Object.fromEntries(["snapshots", "dumps", "children", "restores"].map((name) => [name,
        every(120, (at, n) => ({ id: `${name}-${n}`, name: `${name} ${n}`, lsn: lsn(at), timestamp: iso(at) }))])),
    });
    timeline.window = { ...timeline.window, earliest_timestamp: iso(start), latest_timestamp: iso(end) };
    const text = JSON.stringify({ timeline });
    window.__data = performance.now();
    return new Response(text, { status: 200, headers: { "Content-Type": "application/json" } });
  };
  new MutationObserver((_, observer) => {
    if (!document.querySelector("#strip svg") || document.getElementById("events")?.getAttribute("aria-busy") !== "false") return;
    observer.disconnect();
    // In the frame after the one that shows it.
    requestAnimationFrame(() => requestAnimationFrame(() => { window.__drawn = performance.now(); }));
  }).observe(document, { childList: true, subtree: true, attributes: true });
})();"""


def drawing(browser, facts):
    """From the timeline's data to the strip on the screen."""
    browser.sign_in()
    browser.driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": HEAVY})
    took = []
    # Others work on the machine, too: the best of up to eight.
    while len(took) < 3 or (min(took) > 200 and len(took) < 8):
        browser.go(f"/projects/{facts['project']}/branches/{facts['branch']}/timeline")
        browser.wait(lambda: browser.driver.execute_script("return window.__drawn"), "the strip is drawn")
        took.append(browser.driver.execute_script("return window.__drawn - window.__data"))
    bars = browser.driver.execute_script("return document.querySelectorAll('#strip svg path').length")
    browser.check(bars > 1000, f"all of it is drawn: {bars} paths")
    browser.shot("timeline-heavy")
    print(f"FIGURE drawing: {min(took):.0f} ms after the data, of {[round(one) for one in took]}", flush=True)
    browser.check(min(took) <= 200, f"drawn {min(took):.0f} ms after the data, at most 200")


def answers(url):
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=2) as answer:
            return answer.status == 200
    except OSError:
        return False


def lost(browser, facts):
    """Serve dies under an open page and comes back: the page says so, and goes on without a reload."""
    browser.sign_in(f"/projects/{facts['project']}/backups")
    browser.driver.execute_script("window.__stayed = true")
    time.sleep(2)  # the stream of events is open
    os.kill(facts["serve"], signal.SIGKILL)
    browser.wait(lambda: browser.find("#offline").is_displayed(), "the page says that the connection is lost", 20)
    browser.click(browser.named("button", "Snapshot now"))
    browser.find("dialog[open] input[name=name]").send_keys("kept trying")
    browser.click(browser.named("dialog[open] button", "Keep"))
    browser.named("dialog[open] .problem", "does not answer")
    browser.shot("offline")
    with open(facts["log"], "ab") as log:
        subprocess.Popen(facts["command"], env={**os.environ, **facts["environment"]}, stdin=subprocess.DEVNULL,
                         stdout=log, stderr=log, start_new_session=True)
    browser.wait(lambda: answers(browser.url), "serve is back", 60)
    browser.wait(lambda: not browser.find("#offline").is_displayed(), "the page finds the server again", 30)
    browser.click(browser.named("dialog[open] button", "Keep"))
    browser.named("#snapshot-rows", "kept trying")
    call = urllib.request.Request(
        f"{browser.url}/api/v2/projects/{facts['project']}/branches/{facts['branch']}/snapshot?name=by+another", method="POST",
        headers={"Authorization": f"Bearer {browser.key}"})
    urllib.request.urlopen(call).read()
    browser.named("#snapshot-rows", "by another")
    browser.check(browser.driver.execute_script("return window.__stayed === true"), "the page was not loaded anew")


def attacks(browser, facts):
    """Names, results and errors full of markup; foreign pages; other hosts."""
    browser.sign_in()
    for name, path in pages(facts).items():
        browser.go(path)
        settled(browser, name)
        ran = browser.driver.execute_script("return [window.__ran, window.__violations, document.querySelectorAll('img[src=\"x\"], main script').length]")
        browser.check(ran == [[], [], 0], f"{name}: names full of markup do nothing: {ran}")
    # Another site's page cannot frame, post to or read the Console.
    browser.driver.get(f"http://evil.example:{browser.url.rsplit(':', 1)[1]}/projects")
    browser.check("not called" in browser.text(), f"another host name is refused: {browser.text()[:200]}")
    cookies = browser.driver.execute_cdp_cmd("Network.getCookies", {"urls": [browser.url]})["cookies"]
    session = next(one for one in cookies if one["name"].endswith("exzo"))
    browser.check(session["httpOnly"] and session.get("sameSite") == "Lax", f"the cookie is closed: {session}")
    browser.go("/keys")
    browser.check(browser.driver.execute_script("return document.cookie") == "", "scripts see no cookie")
    status = browser.driver.execute_async_script("""
        const done = arguments[arguments.length - 1];
        fetch('/console/api/v2/api_keys', {method: 'POST', body: '{"key_name":"csrf"}'}).then((r) => done(r.status));""")
    browser.check(status == 403, f"a write without the token is refused: {status}")


def revoked(browser, facts):
    """Revoking the key ends the session; signing in leads back."""
    path = f"/projects/{facts['project']}/operations"
    browser.sign_in(path)
    browser.check(browser.driver.current_url.endswith(path), f"led to where the user was: {browser.driver.current_url}")
    call = urllib.request.Request(f"{browser.url}/api/v2/api_keys/{facts['key_id']}", method="DELETE",
                                  headers={"Authorization": f"Bearer {facts['admin_key']}"})
    urllib.request.urlopen(call).read()
    browser.wait(lambda: "/signin" in browser.driver.current_url, "the open page learns that the session is over", 10)
    browser.check("next=" in browser.driver.current_url, "the way back is kept")
    browser.key = facts["admin_key"]
    browser.find("#key").send_keys(browser.key)
    browser.click(browser.named("button", "Sign in"))
    browser.wait(lambda: browser.driver.current_url.endswith(path), "back where the user was")


def live(browser, facts):
    """Acts change the page without a reload; refusals stand beside their field."""
    browser.sign_in(f"/projects/{facts['project']}/backups")
    browser.click(browser.named("button", "Snapshot now"))
    browser.find("dialog[open] input[name=name]").send_keys("by hand")
    browser.click(browser.named("dialog[open] button", "Keep"))
    browser.named("#snapshot-rows", "by hand")
    browser.click(browser.find("#add-item"))
    browser.click(browser.find("#save-schedule"))
    browser.named("#schedule-rows", "every day at")
    browser.shot("backups-schedule")
    browser.go(f"/projects/{facts['project']}/branches")
    browser.click(browser.named("button", "New branch"))
    browser.find("dialog[open] input[name='branch.name']").send_keys(facts["branch_name"])
    browser.click(browser.named("dialog[open] button", "Make branch"))
    problem = browser.named("dialog[open] .problem", "branch")
    browser.check(problem.is_displayed(), "a refusal stands in the form")
    browser.click(browser.named("dialog[open] .asapi summary", "As an API call"))
    browser.check("curl -X POST" in browser.find("dialog[open] .asapi pre").text, "the call is shown")
    browser.shot("refusal")


SCENARIOS = {f.__name__: f for f in (every_page, speed, dropped_table, editor, timeline, attacks, revoked, live, schedule, restored, proofs, drawing, lost)}


def main():
    scenario, url, key, facts, screenshots = sys.argv[1:]
    browser = Browser(url, key, screenshots)
    try:
        SCENARIOS[scenario](browser, json.loads(facts))
    except Exception as problem:
        browser.shot(f"failed-{scenario}")
        browser.check(False, f"{scenario}: {type(problem).__name__}: {problem}")
        traceback.print_exc()
    finally:
        browser.driver.quit()
    sys.exit(1 if browser.failures else 0)


if __name__ == "__main__":
    main()
