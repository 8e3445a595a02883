"""Debian's chromium, driven, and what is claimed of every page."""
import base64
import json
import os
import pathlib
import sys
import time

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.chrome.service import Service

WIDTHS = {"wide": (1440, 900), "narrow": (390, 844)}


class Browser:
    def __init__(self, url, key, screenshots):
        self.url, self.key, self.failures = url, key, []
        self.screenshots = pathlib.Path(screenshots)
        self.screenshots.mkdir(parents=True, exist_ok=True)
        options = webdriver.ChromeOptions()
        options.binary_location = os.environ.get("EXZO_CHROMIUM", "/usr/bin/chromium")
        for flag in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu",
                     "--hide-scrollbars", "--lang=en-US", "--window-size=1440,900",
                     "--host-resolver-rules=MAP evil.example 127.0.0.1"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=Service("/usr/bin/chromedriver"))
        self.driver.set_page_load_timeout(40)
        self.clicks = 0
        # Whatever violates the policy of a page, before any script of it runs.
        self.driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": """
            window.__violations = [];
            document.addEventListener('securitypolicyviolation', (e) => window.__violations.push(e.violatedDirective + ' ' + e.blockedURI));
            window.__ran = [];
            window.alert = (text) => window.__ran.push(String(text));"""})

    def check(self, holds, claim):
        if not holds:
            self.failures.append(claim)
            print("FAIL", claim, flush=True)
        return holds

    def size(self, name):
        width, height = WIDTHS[name]
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {
            "width": width, "height": height, "deviceScaleFactor": 1, "mobile": name == "narrow"})

    def theme(self, name):
        self.driver.execute_script("localStorage.setItem('theme', arguments[0]); document.documentElement.dataset.theme = arguments[0]", name)

    def go(self, path):
        self.driver.get(self.url + path)

    def find(self, selector):
        return self.wait(lambda: next(iter(self.driver.find_elements(By.CSS_SELECTOR, selector)), None), f"there is {selector}")

    def named(self, selector, text):
        """The visible element of a selector whose text holds `text`."""
        def look():
            for one in self.driver.find_elements(By.CSS_SELECTOR, selector):
                if text in one.text and one.is_displayed():
                    return one
            return None
        return self.wait(look, f"{selector} says '{text}'")

    def wait(self, condition, claim, seconds=45):
        end = time.monotonic() + seconds
        error = None
        while time.monotonic() < end:
            try:
                found = condition()
                if found:
                    return found
            except Exception as problem:  # the page may be changing just now
                error = problem
            time.sleep(0.05)
        self.shot("stuck")
        raise AssertionError(f"not within {seconds} s: {claim} {error or ''} at {self.driver.current_url}: {self.text()[-600:]}")

    def click(self, element):
        self.clicks += 1
        self.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
        element.click()

    def text(self):
        try:
            return self.driver.find_element(By.TAG_NAME, "body").text
        except Exception:
            return ""

    def shot(self, name):
        self.driver.save_screenshot(str(self.screenshots / f"{name}.png"))

    def whole_shot(self, name):
        height = self.driver.execute_script("return document.documentElement.scrollHeight")
        picture = self.driver.execute_cdp_cmd("Page.captureScreenshot", {
            "captureBeyondViewport": True, "clip": {
                "x": 0, "y": 0, "width": self.driver.execute_script("return innerWidth"), "height": min(height, 2600), "scale": 1}})
        (self.screenshots / f"{name}.png").write_bytes(base64.b64decode(picture["data"]))

    def sign_in(self, path="/projects"):
        self.go(path)
        self.find("#key").send_keys(self.key)
        self.click(self.named("button", "Sign in"))
        self.wait(lambda: "/signin" not in self.driver.current_url, "signed in")

    def healthy(self, name):
        """No violation of the policy, no error on the console, nothing that ran."""
        violations = self.driver.execute_script("return window.__violations ?? []")
        self.check(violations == [], f"{name}: no policy violation: {violations}")
        ran = self.driver.execute_script("return window.__ran ?? []")
        self.check(ran == [], f"{name}: nothing of the data ran: {ran}")
        errors = [e["message"] for e in self.driver.get_log("browser") if e["level"] == "SEVERE"]
        self.check(errors == [], f"{name}: no error on the console: {errors}")

    def layout(self, name):
        """Nothing reaches beyond the window; headings and landmarks are there; buttons can be hit."""
        found = self.driver.execute_script("""
            const wide = document.documentElement.clientWidth, out = [];
            if (document.documentElement.scrollWidth > wide + 1) {
              for (const e of document.querySelectorAll('main *, header *, nav *')) {
                const box = e.getBoundingClientRect();
                if (box.right > wide + 1 && !e.closest('.scroll, .strip, nav, pre, .events, .history'))
                  out.push(e.tagName + '.' + e.className + ' ' + Math.round(box.right));
              }
              out.unshift('page is ' + document.documentElement.scrollWidth + ' wide in ' + wide);
            }
            if (document.querySelectorAll('h1').length !== 1) out.push(document.querySelectorAll('h1').length + ' h1');
            if (!document.querySelector('main')) out.push('no main');
            for (const e of document.querySelectorAll('main button, main a.button')) {
              const box = e.getBoundingClientRect();
              if (box.width && box.height < 22) out.push('low button ' + e.textContent.trim());
            }
            return out.slice(0, 8);""")
        self.check(found == [], f"{name}: layout: {found}")

    def accessible(self, name, axe):
        self.driver.execute_script(axe)
        found = self.driver.execute_async_script("""
            const done = arguments[arguments.length - 1];
            axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'best-practice']}).then(
              (r) => done(r.violations.filter((v) => ['serious', 'critical'].includes(v.impact)).map(
                (v) => v.id + ': ' + v.nodes.slice(0, 3).map((n) => n.target.join(' ') + ' ' + (n.any[0]?.message ?? '')).join(' | '))),
              (e) => done(['axe failed: ' + e]));""")
        self.check(found == [], f"{name}: accessible: {found}")

    def weight(self, path):
        """Bytes over the network of a first load without cache, and when the page was ready."""
        self.driver.execute_cdp_cmd("Network.clearBrowserCache", {})
        self.driver.get_log("performance")
        self.go(path)
        time.sleep(1.0)
        size = 0
        foreign = []
        for entry in self.driver.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.loadingFinished":
                size += message["params"]["encodedDataLength"]
            if message["method"] == "Network.requestWillBeSent":
                to = message["params"]["request"]["url"]
                if not to.startswith((self.url, "data:", "blob:", "about:")):
                    foreign.append(to)
        timing = self.driver.execute_script(
            "const t = performance.getEntriesByType('navigation')[0]; return t.domContentLoadedEventEnd")
        self.check(foreign == [], f"{path}: no request to others: {foreign}")
        return int(size), timing


def axe_source():
    for place in sys.path:
        for file in pathlib.Path(place).glob("axe_playwright_python/axe.min.js"):
            return file.read_text()
    raise AssertionError("axe.min.js is not installed; run scripts/setup --browser")
