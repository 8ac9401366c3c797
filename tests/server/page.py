"""The page in a real browser: `page.py CHROMIUM http://HOST:PORT SCREENSHOT [KEY]`. It asks something, and
the answer, its figures and the plots must appear without an error in the console. With a key the server's
own questions for it are answered."""

import base64
import json
import subprocess
import sys
import tempfile
import time
import urllib.request

import websocket

CHROMIUM, URL, SCREENSHOT, *KEY = sys.argv[1:]
PATIENCE = 120


class Page:
    """A tab, driven by Chromium's debugging protocol."""

    def __init__(self, address):
        self.socket = websocket.create_connection(address, timeout=PATIENCE, suppress_origin=True)
        self.calls = 0
        self.complaints = []
        # What a question for the key is answered with, and how often it was put.
        self.answer = None
        self.questions = 0

    def send(self, method, params):
        self.calls += 1
        self.socket.send(json.dumps({"id": self.calls, "method": method, "params": params}))
        return self.calls

    def call(self, method, **params):
        mine = self.send(method, params)
        while True:
            message = json.loads(self.socket.recv())
            if message.get("id") == mine:
                return message["result"]
            if message.get("method") in ("Runtime.exceptionThrown", "Log.entryAdded"):
                self.complaints.append(message["params"])
            if message.get("method") == "Page.javascriptDialogOpening":
                self.questions += 1
                reply = {"accept": self.answer is not None, "promptText": self.answer or ""}
                self.send("Page.handleJavaScriptDialog", reply)

    def run(self, script):
        result = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
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


def say(page, text, most):
    page.run(f"document.getElementById('most').value = {most}")
    page.run(f"document.getElementById('text').value = {json.dumps(text)}")
    page.run("document.getElementById('form').requestSubmit()")


def click_while_it_streams(page, button):
    streams = page.run(f"""(async () => {{
        document.getElementById('most').value = 200;
        document.getElementById('text').value = 'go';
        document.getElementById('form').requestSubmit();
        const node = document.querySelector('.turn:last-child');
        while (running && !node.firstChild.data) await new Promise(done => setTimeout(done, 1));
        const streams = !!running;
        document.getElementById('{button}').click();
        return streams;
    }})()""")
    assert streams, "the answer was over before the click"


def without_key(page):
    page.until("document.getElementById('model').textContent === 'tiny'")
    say(page, "<b>hello</b>", 20)
    page.until("document.querySelector('.turn.assistant small')")
    figures = page.run("document.querySelector('.turn.assistant small').textContent")
    assert "prompt tokens" in figures and "ms each" in figures, figures
    assert page.run("document.querySelector('.turn.user').textContent") == "<b>hello</b>"
    # Throughput has moved; one answer's first token is seen, and later not shown as if it were now.
    page.until("Math.max(...PLOTS[0].rows[0]) > 0 && document.querySelector('polyline').points.length > 2")
    line = page.run("PLOTS[2].lines[0].getAttribute('points')").split()
    assert len(line) == 2 and line[0] != line[1], line
    page.until("/ms \\(\\d.* s ago\\)/.test(PLOTS[2].value.textContent)")
    shot = page.call("Page.captureScreenshot", format="png")["data"]
    with open(SCREENSHOT, "wb") as file:
        file.write(base64.b64decode(shot))
    # Stopped: what is there stays, and the next turn goes on from it.
    click_while_it_streams(page, "send")
    page.until("!running && talk.length === 4 && document.getElementById('send').textContent === 'Send'")
    said = page.run("document.querySelector('.turn:last-child small').textContent")
    assert said == "stopped", said
    # A new conversation while one streams has nothing of it.
    click_while_it_streams(page, "clear")
    assert page.run("talk.length") == 0
    say(page, "new", 3)
    page.until("!running && document.querySelector('.turn.assistant small')")
    time.sleep(1)
    roles = page.run("talk.map(turn => turn.role).join()")
    assert roles == "user,assistant", roles
    assert page.run("document.querySelectorAll('.turn').length") == 2


def with_key(page):
    # Plots need no key, and nobody is asked for one before something is sent.
    page.until("PLOTS[4].rows[0].length >= 4")
    assert page.questions == 0
    refused = lambda: [c for c in page.complaints if "401" in json.dumps(c)]
    assert len(refused()) <= 1, page.complaints
    say(page, "hello", 3)
    page.until("document.querySelector('.turn.error')")
    samples = page.run("PLOTS[4].rows[0].length")
    page.until(f"PLOTS[4].rows[0].length >= {samples + 3}")
    assert page.questions == 1 and len(refused()) <= 1, (page.questions, page.complaints)
    page.answer = KEY[0]
    say(page, "hello", 3)
    page.until("document.querySelector('.turn.assistant small')")
    page.until("document.getElementById('model').textContent === 'tiny'")
    assert page.questions == 2
    page.complaints = [c for c in page.complaints if c not in refused()]


with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
    flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0"]
    flags += [f"--user-data-dir={profile}", "--window-size=1280,800", "--no-first-run", URL]
    browser = subprocess.Popen([CHROMIUM, *flags], stderr=subprocess.PIPE, text=True)
    try:
        page = Page(debugger(browser))
        page.call("Runtime.enable")
        page.call("Log.enable")
        page.call("Page.enable")
        page.until("document.getElementById('state').textContent === 'ready'")
        (with_key if KEY else without_key)(page)
        assert not page.complaints, page.complaints
    finally:
        browser.terminate()
        browser.wait()
print("all passed")
