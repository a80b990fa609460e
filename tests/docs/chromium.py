"""A headless Chromium, told by its DevTools protocol: chromedriver is often not there.

What belongs here: one window, opened, asked and closed. What does not: what a page has to be.
"""

import http.client
import json
import subprocess
import time

SECONDS = 60.0  # that it may take for any answer


class Chromium:
    """One window. `events` are what the browser told since the last `open`."""

    def __init__(self, program, profile):
        self.events, self._count = [], 0
        self._process = subprocess.Popen(
            [
                program,
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--remote-debugging-port=0",
                f"--user-data-dir={profile}",
                "about:blank",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            self._connect(profile)
        except BaseException:
            self.close()
            raise

    def _connect(self, profile):
        import websocket  # websocket-client, which selenium needs

        deadline, told = time.monotonic() + SECONDS, profile / "DevToolsActivePort"
        while not (told.exists() and told.read_text().count("\n")):
            assert self._process.poll() is None, "Chromium ended"
            assert time.monotonic() < deadline, "Chromium does not start"
            time.sleep(0.05)
        port = int(told.read_text().splitlines()[0])
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
        connection.request("GET", "/json/list")
        targets = json.loads(connection.getresponse().read())
        connection.close()
        url = next(target["webSocketDebuggerUrl"] for target in targets if target["type"] == "page")
        self._socket = websocket.create_connection(url, timeout=SECONDS, suppress_origin=True)
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method, **parameters):
        """The answer to a command; what comes before it is kept in `events`."""
        self._count += 1
        self._socket.send(json.dumps({"id": self._count, "method": method, "params": parameters}))
        while (told := json.loads(self._socket.recv())).get("id") != self._count:
            self.events.append(told)
        assert "error" not in told, told
        return told["result"]

    def open(self, url, width):
        """Load a page in a window so wide, in pixels; `events` begins anew."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=900,
            deviceScaleFactor=1,
            mobile=width < 500,
        )
        self.events = []
        self.call("Page.navigate", url=url)
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(json.loads(self._socket.recv()))

    def run(self, script, *arguments):
        """What a function's body returns, or its promise; it has `arguments`."""
        found = self.call(
            "Runtime.evaluate",
            expression=f"(function() {{{script}}}).apply(null, {json.dumps(arguments)})",
            awaitPromise=True,
            returnByValue=True,
        )
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def complaints(self):
        """Errors and warnings of scripts and of loading."""
        return [
            event["params"]
            for event in self.events
            if event.get("method") in ("Runtime.exceptionThrown", "Log.entryAdded")
            or (
                event.get("method") == "Runtime.consoleAPICalled"
                and event["params"]["type"] in ("error", "warning", "assert")
            )
        ]

    def requests(self):
        """Addresses that were asked for."""
        return [
            event["params"]["request"]["url"]
            for event in self.events
            if event.get("method") == "Network.requestWillBeSent"
        ]

    def close(self):
        if hasattr(self, "_socket"):
            self._socket.close()
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
