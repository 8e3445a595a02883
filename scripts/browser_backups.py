"""The schedule of backups in the Console, while others change it."""
import json
import urllib.request


def api(browser, facts, method, path="", body=None):
    """A call below the branch's schedule, as somebody else makes it."""
    call = urllib.request.Request(
        f"{browser.url}/api/v2/projects/{facts['project']}/branches/{facts['branch']}/backup_schedule{path}", method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {browser.key}", "Content-Type": "application/json"})
    with urllib.request.urlopen(call) as answer:
        return json.loads(answer.read())["schedule"]


def rows(browser):
    """The form's lines: frequency, time to keep, unit."""
    return browser.driver.execute_script("""
        return [...document.querySelectorAll('#items .item')].map((row) =>
          ['frequency', 'keep', 'keep_unit'].map((name) => row.querySelector(`[name=${name}]`).value).join(' '))""")


def enter(browser, number, name, value):
    browser.driver.execute_script("""
        const field = document.querySelectorAll('#items .item')[arguments[0]].querySelector(`[name=${arguments[1]}]`);
        field.value = arguments[2];
        field.dispatchEvent(new Event('input', { bubbles: true }));""", number, name, value)


def remove(browser, number):
    browser.click(browser.driver.find_elements("css selector", "#items .item button")[number])


def save(browser):
    browser.click(browser.find("#save-schedule"))
    browser.wait(lambda: not browser.find("#save-schedule").is_displayed(), "the schedule is saved")


def schedule(browser, facts):
    """Lines are added, changed and removed one by one: what others do meanwhile stays, and times to keep are told as they are."""
    for line in api(browser, facts, "GET"):
        api(browser, facts, "DELETE", f"/items/{line['id']}")
    for line in [{"frequency": "hourly", "retention_seconds": 7200}, {"frequency": "daily", "hour": 5, "retention_seconds": 172800},
                 {"frequency": "weekly", "day": 1, "hour": 6, "retention_seconds": 90061}, {"frequency": "monthly", "day": 2, "hour": 1}]:
        api(browser, facts, "POST", "/items", line)
    browser.sign_in(f"/projects/{facts['project']}/backups")
    shown = browser.wait(lambda: rows(browser), "the form shows the schedule")
    browser.check(shown == ["hourly 2 3600", "daily 2 86400", "weekly 90061 1", "monthly  86400"], f"times to keep: {shown}")
    browser.named("#schedule-rows", "kept 2 h")
    browser.shot("schedule-hours")

    first = api(browser, facts, "GET")
    theirs = api(browser, facts, "POST", "/items", {"frequency": "yearly", "day": 1, "month": 1, "hour": 0})[-1]["id"]
    browser.click(browser.find("#add-item"))
    enter(browser, 0, "keep", "3")
    remove(browser, 2)
    save(browser)
    now = api(browser, facts, "GET")
    kept = [line["id"] for line in now]
    browser.check(theirs in kept, f"what was added meanwhile is there: {now}")
    browser.check(first[1]["id"] in kept and first[3]["id"] in kept, f"lines that nobody touched are the same: {now}")
    browser.check(first[0]["id"] not in kept and first[2]["id"] not in kept, f"what was changed or removed is gone: {now}")
    lines = sorted(f"{line['frequency']} {line.get('retention_seconds')}" for line in now if line["id"] != theirs)
    browser.check(lines == ["daily 172800", "daily 604800", "hourly 10800", "monthly None"], f"all lines: {lines}")
    browser.wait(lambda: "yearly  86400" in rows(browser), "the form shows the other's line, too")

    api(browser, facts, "DELETE", f"/items/{theirs}")
    remove(browser, rows(browser).index("yearly  86400"))
    save(browser)
    browser.named(".toast", "Somebody else changed it meanwhile")
    browser.check(len(api(browser, facts, "GET")) == 4, "what both removed is gone once")

    enter(browser, 0, "time_zone", "Nowhere/At all")
    browser.click(browser.find("#save-schedule"))
    browser.named("#schedule-problem", "time_zone")
    browser.check(len(api(browser, facts, "GET")) == 4, "a refusal removes nothing")
    for line in api(browser, facts, "GET"):
        api(browser, facts, "DELETE", f"/items/{line['id']}")
