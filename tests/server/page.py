"""The page in a real browser: `page.py CHROMIUM http://HOST:PORT SCREENSHOT`. It asks something, and the
answer, its figures and the plots must appear without an error in the console."""

import base64
import json
import subprocess
import sys
import tempfile
import time
import urllib.request

import websocket

CHROMIUM, URL, SCREENSHOT = sys.argv[1:]
PATIENCE = 120


class Page:
    """A tab, driven by Chromium's debugging protocol."""

    def __init__(self, address):
        self.socket = websocket.create_connection(address, timeout=PATIENCE, suppress_origin=True)
        self.calls = 0
        self.complaints = []

    def call(self, method, **params):
        self.calls += 1
        self.socket.send(json.dumps({"id": self.calls, "method": method, "params": params}))
        while True:
            message = json.loads(self.socket.recv())
            if message.get("id") == self.calls:
                return message["result"]
            if message.get("method") in ("Runtime.exceptionThrown", "Log.entryAdded"):
                self.complaints.append(message["params"])

    def run(self, script):
        result = self.call("Runtime.evaluate", expression=script, returnByValue=True)
        return result["result"].get("value")

    def until(self, script):
        start = time.time()
        while not self.run(f"!!({script})"):
            assert time.time() - start < PATIENCE, f"{script}: {self.run('document.body.innerText')}"
            time.sleep(0.2)


def debugger(process):
    """The address at which the browser's first tab can be driven."""
    for line in process.stderr:
        if line.startswith("DevTools listening on ws://"):
            port = line.split(":")[2].split("/")[0]
            tabs = json.load(urllib.request.urlopen(f"http://127.0.0.1:{port}/json"))
            return next(tab["webSocketDebuggerUrl"] for tab in tabs if tab["type"] == "page")
    raise AssertionError("the browser did not start")


with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
    flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0"]
    flags += [f"--user-data-dir={profile}", "--window-size=1280,800", "--no-first-run", URL]
    browser = subprocess.Popen([CHROMIUM, *flags], stderr=subprocess.PIPE, text=True)
    try:
        page = Page(debugger(browser))
        page.call("Runtime.enable")
        page.call("Log.enable")
        page.until("document.getElementById('state').textContent === 'ready'")
        page.until("document.getElementById('model').textContent === 'tiny'")
        page.run("document.getElementById('most').value = 20")
        page.run("document.getElementById('text').value = '<b>hello</b>'")
        page.run("document.getElementById('form').requestSubmit()")
        page.until("document.querySelector('.turn.assistant small')")
        figures = page.run("document.querySelector('.turn.assistant small').textContent")
        assert "prompt tokens" in figures and "ms each" in figures, figures
        assert page.run("document.querySelector('.turn.user').textContent") == "<b>hello</b>"
        # Throughput has moved.
        page.until("Math.max(...PLOTS[0].rows[0]) > 0 && document.querySelector('polyline').points.length > 2")
        shot = page.call("Page.captureScreenshot", format="png")["data"]
        with open(SCREENSHOT, "wb") as file:
            file.write(base64.b64decode(shot))
        assert not page.complaints, page.complaints
    finally:
        browser.terminate()
        browser.wait()
print("all passed")
