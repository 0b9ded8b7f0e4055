"""Drives Chromium and its virtual authenticator through a place with two admins, `root` and `bob`."""

import asyncio
import base64
import hmac
import json
import struct
import subprocess
import sys
import tempfile
import time

import websockets

CHROMIUM, URL, OTHER, KEY, PASSWORD = sys.argv[1:6]
HOST = URL.split("//")[1].split(":")[0]


class Browser:
    """One page over the DevTools protocol."""

    def __init__(self, socket):
        self.socket, self.count, self.session = socket, 0, None

    async def call(self, method, **params):
        self.count += 1
        message = {"id": self.count, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        await self.socket.send(json.dumps(message))
        while True:
            said = json.loads(await self.socket.recv())
            if said.get("id") == self.count:
                assert "error" not in said, said
                return said["result"]

    async def event(self, name):
        while True:
            said = json.loads(await self.socket.recv())
            if said.get("method") == name:
                return said["params"]

    async def attach(self):
        page = await self.call("Target.createTarget", url="about:blank")
        attached = await self.call("Target.attachToTarget", targetId=page["targetId"], flatten=True)
        self.session = attached["sessionId"]
        await self.call("Page.enable")
        await self.call("WebAuthn.enable")
        options = {
            "protocol": "ctap2",
            "transport": "internal",
            "hasResidentKey": True,
            "hasUserVerification": True,
            "isUserVerified": True,
            "automaticPresenceSimulation": True,
        }
        made = await self.call("WebAuthn.addVirtualAuthenticator", options=options)
        self.authenticator = made["authenticatorId"]

    async def open(self, address):
        gone = await self.call("Page.navigate", url=address)
        assert "errorText" not in gone, gone
        await self.event("Page.loadEventFired")

    async def js(self, text):
        expression = f"(async () => {{ {text} }})()"
        done = await self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in done, done["exceptionDetails"]
        return done["result"].get("value")

    async def keys(self):
        return (await self.call("WebAuthn.getCredentials", authenticatorId=self.authenticator))["credentials"]

    async def hold(self, keys):
        """Leaves the authenticator with these keys alone."""
        await self.call("WebAuthn.clearCredentials", authenticatorId=self.authenticator)
        for key in keys:
            await self.call("WebAuthn.addCredential", authenticatorId=self.authenticator, credential=key)

    async def send(self, wish):
        """The status and what is said of a sign-in."""
        return await self.js(f"""
            const asked = await fetch('/passkeys/options', {{ method: 'POST', body: '{{"second":true}}',
                headers: {{ 'content-type': 'application/json' }} }});
            const {{ csrf }} = await asked.json();
            const answer = await fetch('/passkeys/sign-in', {{ method: 'POST', body: JSON.stringify({json.dumps(wish)}),
                headers: {{ 'content-type': 'application/json', 'x-csrf': csrf }} }});
            return [answer.status, answer.status === 204 ? null : await answer.json()];
        """)

    async def rest(self, path, body, token=None):
        """What REST answers."""
        headers = {"content-type": "application/json"} | ({"authorization": f"Bearer {token}"} if token else {})
        return await self.js(f"""
            const answer = await fetch('{path}', {{ method: 'POST', body: JSON.stringify({json.dumps(body)}),
                headers: {json.dumps(headers)} }});
            return await answer.json();
        """)

    async def press(self, text):
        """Does something that leads to another page, and says what it is called and what is wrong."""
        await self.js(text)
        await self.event("Page.loadEventFired")
        return await self.js("""
            const wrong = document.querySelector('[role=alert]');
            return [document.querySelector('h1').textContent, wrong && wrong.textContent];
        """)

    async def shown(self, second):
        return await self.js(f"return show({'true' if second else 'false'});")


def totp(key, at):
    """RFC 6238 with what everybody uses."""
    key = base64.b32decode(key + "=" * (-len(key) % 8))
    tag = hmac.digest(key, struct.pack(">Q", int(at) // 30), "sha1")
    number = struct.unpack(">I", tag[tag[-1] & 15 :][:4])[0] & 0x7FFFFFFF
    return f"{number % 1_000_000:06}"


async def enrol(browser, name):
    status, said = await browser.send({"name": name, "password": PASSWORD})
    assert status == 204, (status, said)
    await browser.open(f"{URL}/passkeys")
    words = await browser.js("""
        const form = document.querySelector('form[data-passkey=new]');
        form.elements.name.value = '<b>my key</b>';
        const changed = new Promise((done) => {
            new MutationObserver(() => done(form.querySelector('[role=status]').textContent))
                .observe(form.querySelector('[role=status]'), { childList: true });
        });
        form.requestSubmit();
        return changed;
    """)
    assert words == "Added. Keep these codes: each works once.", words
    await browser.open(f"{URL}/passkeys")
    assert await browser.js("return document.querySelector('tbody td').textContent;") == "<b>my key</b>"
    return (await browser.keys())[-1]


async def all_of_it(browser):
    await browser.attach()
    await browser.open(f"{URL}/passkeys.js")
    # The script is read from the address bar first: a page of this origin, signed in to nothing.
    token = (await browser.rest("/v1/login", {"name": "root", "password": PASSWORD, "service": "mcias"}))["token"]
    roots = await enrol(browser, "root")
    assert roots["isResidentCredential"] and roots["rpId"] == HOST, roots
    print("enrolled")

    status, said = await browser.send({"name": "root", "password": PASSWORD})
    assert (status, said) == (200, {"factors": ["passkey", "recovery"]}), (status, said)
    answer = await browser.shown(second=True)
    status, said = await browser.send({"name": "root", "password": PASSWORD, "passkey": answer})
    assert status == 204, (status, said)
    print("second factor")

    for wish in [{"name": "root", "password": PASSWORD, "passkey": answer}, {"passkey": answer}]:
        status, said = await browser.send(wish)
        assert status == 401, (status, said)
    print("replayed")

    first = await browser.shown(second=False)
    status, said = await browser.send({"passkey": first})
    assert status == 204, (status, said)
    await browser.open(f"{URL}/passkeys")
    assert await browser.js("return document.querySelector('h1').textContent;") == "Passkeys"
    print("first factor")

    # Another account's key, with the right password and under the name.
    await browser.hold([])
    await browser.call("Network.clearBrowserCookies")
    bobs = await enrol(browser, "bob")
    await browser.hold([(roots | {"signCount": 100})])
    foreign = await browser.shown(second=True)
    status, said = await browser.send({"name": "bob", "password": PASSWORD, "passkey": foreign})
    assert status == 401, (status, said)
    status, said = await browser.send({"name": "bob", "passkey": await browser.shown(second=False)})
    assert status == 401, (status, said)
    status, said = await browser.send({"passkey": await browser.shown(second=False)})
    assert status == 204, (status, said)
    print("another account's")

    await browser.hold([(roots | {"signCount": 50})])
    status, said = await browser.send({"passkey": await browser.shown(second=False)})
    assert status == 401, (status, said)
    print("regressed")

    # With one-time codes as well, the page asks for one after the passkey, and takes both together.
    key = (await browser.rest("/v1/totp", {"password": PASSWORD}, token))["key"]
    now = time.time()
    assert "recovery" in await browser.rest("/v1/totp/confirm", {"code": totp(key, now - 30)}, token)
    await browser.hold([(roots | {"signCount": 200})])
    await browser.call("Network.clearBrowserCookies")
    await browser.open(f"{URL}/login?next=%2Fpasskeys")
    asked = await browser.press("document.querySelector('button[data-passkey=first]').click();")
    assert asked == ["Second factor", None], asked
    assert await browser.js("return document.querySelector('button[data-passkey]') === null;"), "one thing is not two"
    enter = "const code = document.querySelector('#code'); code.value = '{}'; code.form.requestSubmit();"
    wrong = await browser.press(enter.format("000000"))
    assert wrong[0] == "Second factor" and "try the next one" in wrong[1], wrong
    entered = await browser.press(enter.format(totp(key, now)))
    assert entered == ["Passkeys", None], entered
    print("passkey and code")

    # A page of another origin beneath the same domain may ask for the key; what it gets is worth nothing.
    await browser.hold([(bobs | {"signCount": 100})])
    options = await browser.js("return (await ask('/passkeys/options', { second: false })).options;")
    await browser.open(f"{OTHER}/passkeys.js")
    stolen = await browser.js(f"""
        const bytes = (text) => Uint8Array.from(atob(text.replace(/-/g, '+').replace(/_/g, '/')), (c) => c.charCodeAt(0));
        const text = (buffer) => btoa(String.fromCharCode(...new Uint8Array(buffer)))
            .replace(/\\+/g, '-').replace(/\\//g, '_').replace(/=+$/, '');
        const options = {json.dumps(options)};
        options.challenge = bytes(options.challenge);
        const shown = await navigator.credentials.get({{ publicKey: options }});
        return {{ id: text(shown.rawId), client_data: text(shown.response.clientDataJSON),
            authenticator_data: text(shown.response.authenticatorData), signature: text(shown.response.signature),
            user_handle: text(shown.response.userHandle) }};
    """)
    await browser.open(f"{URL}/passkeys.js")
    status, said = await browser.send({"passkey": stolen})
    assert status == 401, (status, said)
    print("wrong origin")

    await browser.open(f"{URL}/passkeys")
    await browser.js("document.querySelector('tbody form').submit();")
    await browser.event("Page.loadEventFired")
    assert await browser.js("return document.querySelectorAll('tbody tr').length;") == 0
    print("removed")


async def main():
    with tempfile.TemporaryDirectory() as home:
        words = [
            CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
            "--remote-debugging-port=0", f"--user-data-dir={home}/profile", "--no-first-run",
            f"--ignore-certificate-errors-spki-list={KEY}", "--disable-background-networking",
            f"--host-resolver-rules=MAP *.{HOST} 127.0.0.1, MAP {HOST} 127.0.0.1", "about:blank",
        ]
        chromium = subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env={"HOME": home, "PATH": "/usr/bin:/bin"})
        try:
            for line in chromium.stderr:
                if "DevTools listening on " in line:
                    break
            async with websockets.connect(line.split()[-1], max_size=None) as socket:
                await asyncio.wait_for(all_of_it(Browser(socket)), 240)
        finally:
            chromium.terminate()
            chromium.wait()


asyncio.run(main())
