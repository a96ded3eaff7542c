"""Headless Firefox over WebDriver BiDi, with the calls of helpers.browser; no driver program."""

from __future__ import annotations

import base64
import itertools
import json
import shutil
import subprocess
import time
from pathlib import Path

import websocket

# The page's globals live on from one call to the next; what is promised is waited for.
CALL = "async source => JSON.stringify(await (0, eval)(source)) ?? 'null'"
KEYS = {"Tab": "\ue004", "Enter": "\ue007"}
EVENTS = ("log.entryAdded", "network.beforeRequestSent", "network.fetchError")
OFFLINE = """user_pref("network.proxy.type", 0);
user_pref("app.update.auto", false);
user_pref("datareporting.policy.dataSubmissionEnabled", false);
user_pref("services.settings.server", "data:,");
user_pref("ui.systemUsesDarkTheme", 0);
"""


def program() -> str | None:
    """Path of Firefox, None if there is none."""
    return shutil.which("firefox-esr") or shutil.which("firefox")


class Browser:
    """One page of a Firefox with a profile of its own in `profile`; still: as the system of a
    reader who wants no motion."""

    def __init__(self, profile: Path, still: bool = False):
        motion = f'user_pref("ui.prefersReducedMotion", {int(still)});\n'
        (profile / "user.js").write_text(OFFLINE + motion)
        self.process = subprocess.Popen(
            [program(), "--headless", "--no-remote", "--remote-debugging-port", "0",
             "--profile", str(profile)],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        port_file, deadline = profile / "WebDriverBiDiServer.json", time.monotonic() + 120
        while not (port_file.exists() and port_file.read_text().strip().endswith("}")):
            if time.monotonic() > deadline or self.process.poll() is not None:
                self.process.kill()
                raise RuntimeError("Firefox did not start")
            time.sleep(0.1)
        port = json.loads(port_file.read_text())["ws_port"]
        self.socket = websocket.create_connection(
            f"ws://127.0.0.1:{port}/session", timeout=180, suppress_origin=True
        )
        self.ids, self.events = itertools.count(1), []
        self.send("session.new", capabilities={})
        self.send("session.subscribe", events=list(EVENTS))
        tree = self.send("browsingContext.getTree", maxDepth=0)
        self.context = tree["contexts"][0]["context"]

    def send(self, method: str, **params: object) -> dict:
        number = next(self.ids)
        self.socket.send(json.dumps({"id": number, "method": method, "params": params}))
        while True:
            message = json.loads(self.socket.recv())
            if message.get("id") == number:
                if message["type"] == "error":
                    raise RuntimeError(f"{method}: {message['message']}")
                return message["result"]
            self.events.append(message)

    def view(self, width: int, height: int = 900) -> None:
        """Size of the window in CSS pixels."""
        viewport = {"width": width, "height": height}
        self.send("browsingContext.setViewport", context=self.context, viewport=viewport)

    def open(self, url: str) -> None:
        """Load a page to its end; `events` then holds what happened on the way."""
        self.events.clear()
        self.send("browsingContext.navigate", context=self.context, url=url, wait="complete")

    def evaluate(self, script: str) -> object:
        answer = self.send("script.callFunction", functionDeclaration=CALL, awaitPromise=True,
                           arguments=[{"type": "string", "value": script}],
                           target={"context": self.context})  # fmt: skip
        if answer["type"] == "exception":
            raise RuntimeError(f"{script}: {answer['exceptionDetails']['text']}")
        return json.loads(answer["result"]["value"])

    def press(self, key: str) -> None:
        """A key of KEYS, as from a keyboard."""
        both = [{"type": kind, "value": KEYS[key]} for kind in ("keyDown", "keyUp")]
        self.send("input.performActions", context=self.context,
                  actions=[{"type": "key", "id": "keyboard", "actions": both}])  # fmt: skip

    def requests(self) -> list[str]:
        """Addresses that the page asked for."""
        return [event["params"]["request"]["url"] for event in self.events
                if event["method"] == "network.beforeRequestSent"]  # fmt: skip

    def complaints(self) -> list[str]:
        """Console errors, exceptions, failed requests."""
        return [str(event["params"]) for event in self.events
                if event["method"] == "network.fetchError"
                or event["params"].get("level") == "error"]  # fmt: skip

    def screenshot(self, path: Path, whole: bool = False) -> None:
        """Save a PNG of the window, or of the whole page."""
        origin = "document" if whole else "viewport"
        answer = self.send("browsingContext.captureScreenshot", context=self.context, origin=origin)
        path.write_bytes(base64.b64decode(answer["data"]))

    def close(self) -> None:
        """End this Firefox."""
        self.socket.close()
        self.process.terminate()
        self.process.wait(30)
