"""Chromium without a window, spoken to over a pipe in the DevTools protocol: nothing is needed beside the browser itself."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any

EXECUTABLE = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

PATIENCE = 60
"""Seconds that an answer may take."""


class Browser:
    """One page in a browser; what it logs and asks the network for is noted."""

    def __init__(self) -> None:
        assert EXECUTABLE is not None
        self._folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        from_us, self._to_browser = os.pipe()
        self._from_browser, to_us = os.pipe()
        arguments = ["--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe", "--no-first-run"]
        arguments += ["--hide-scrollbars", "--force-device-scale-factor=1", f"--user-data-dir={self._folder.name}"]

        def connect() -> None:  # DevTools reads file descriptor 3 and writes 4
            os.dup2(os.dup2(from_us, 10), 3)
            os.dup2(os.dup2(to_us, 11), 4)

        self._process = subprocess.Popen(
            [EXECUTABLE, *arguments, "about:blank"],
            preexec_fn=connect,
            close_fds=False,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(from_us)
        os.close(to_us)
        self._read = b""
        self._count = 0
        self._session: str | None = None
        self.logged: list[str] = []
        self.requested: list[str] = []
        self.loads = 0
        target = next(each for each in self.send("Target.getTargets")["targetInfos"] if each["type"] == "page")
        attached = self.send("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")

    def __enter__(self) -> Browser:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.wait(10)
        os.close(self._to_browser)
        os.close(self._from_browser)
        self._folder.cleanup()

    def open(self, page: Path, fragment: str = "") -> None:
        """Opens a file as from disk, and waits until it is there."""
        for url in (
            "about:blank",
            page.resolve().as_uri() + fragment,
        ):  # from another place of the same page, it would not load
            self.logged, self.requested, self.loads = [], [], 0
            self.send("Page.navigate", url=url)
            while not self.loads:
                self._next()

    def view(self, width: int, height: int = 800, *, dark: bool = False, media: str = "screen") -> None:
        """The size of the window, the scheme that the system has, and what is shown on."""
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", media=media, features=[scheme])

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression; raises AssertionError where it throws."""
        found = self.send("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def press(self, key: str, code: int) -> None:
        """Presses a key such as ``Tab`` (9) or ``Enter`` (13)."""
        text = {"text": "\r"} if key == "Enter" else {}
        for kind in ("keyDown", "keyUp"):
            self.send("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, **text)

    def screenshot(self, path: Path, *, whole: bool = False) -> None:
        made = self.send("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(made["data"]))

    def pdf(self) -> bytes:
        self.send("Emulation.setEmulatedMedia", media="print")
        return base64.b64decode(self.send("Page.printToPDF", printBackground=True, preferCSSPageSize=True)["data"])

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._count += 1
        number = self._count
        message = {"id": number, "method": method, "params": parameters}
        message |= {"sessionId": self._session} if self._session else {}
        os.write(self._to_browser, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == number:
                assert "error" not in answer, (method, answer["error"])
                return dict(answer["result"])

    def _next(self) -> dict[str, Any]:
        """The next message; what happened on the page is noted."""
        while b"\0" not in self._read:
            ready, _, _ = select.select([self._from_browser], [], [], PATIENCE)
            assert ready, f"the browser has not answered for {PATIENCE} s"
            more = os.read(self._from_browser, 1 << 20)
            assert more, "the browser has ended"
            self._read += more
        line, _, self._read = self._read.partition(b"\0")
        message: dict[str, Any] = json.loads(line)
        method, facts = message.get("method"), message.get("params", {})
        if method == "Page.loadEventFired":
            self.loads += 1
        elif method == "Log.entryAdded":
            self.logged.append(facts["entry"]["text"])
        elif method == "Runtime.consoleAPICalled":
            self.logged.append(str([each.get("value") for each in facts["args"]]))
        elif method == "Runtime.exceptionThrown":
            self.logged.append(facts["exceptionDetails"]["text"])
        elif method == "Network.requestWillBeSent":
            self.requested.append(facts["request"]["url"])
        return message
