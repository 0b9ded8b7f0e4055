"""Kills `mcrun serve` every few seconds for MINUTES while playbooks run, events are told and a service is visited, then
counts: each second and each event must have had one run, each act one line, each visit an answer.

    kill-loop.py MCRUN [MINUTES]

`make soak-daemon` runs it for an hour. It needs root for nothing and no network but loopback."""

import json
import os
import random
import shutil
import signal
import socket
import sqlite3
import ssl
import subprocess
import sys
import tempfile
import threading
import time

MCRUN = os.path.realpath(sys.argv[1])
MINUTES = float(sys.argv[2]) if len(sys.argv) > 2 else 60
HERE = os.path.dirname(os.path.realpath(__file__))
SCRIPTS = os.path.join(HERE, "..", "scripts")
HOST = "hello.mcrun.test"
# What every second and every event does: an act that is not done again unless it is in doubt, and then under the same key.
ACT = """exec.run {{ argv = {{ "/bin/sh", "-c", `echo {what} $MCRUN_IDEMPOTENCY_KEY >> {ledger}` }}, on_doubt = "redo" }}"""
TICK = """return playbook {{
    name = "tick",
    on = {{ cron = "* * * * * *" }},
    overlap = "queue",
    catch_up = "all",
    allow = {{ "exec" }},
    run = function(event)
        {act}
    end,
}}
"""
HEARD = """return playbook {{
    name = "heard",
    on = {{ event = {{ name = "soak.told", at_most = "100000/1h" }} }},
    overlap = "queue",
    allow = {{ "exec" }},
    run = function(event)
        {act}
        sleep("50ms")
    end,
}}
"""
CONFIG = """[node]
address = "127.0.0.1"

[drivers]
containers = "process"

[dns]
listen = ["127.0.0.1:{names}"]

[routes]
addresses = ["127.0.0.1"]

[playbooks]
folders = ["{folder}"]

[retention]
runs = 1000000

[policy]
scripts = ["containers", "exec", "ports", "registry", "health", "nodes", "certs", "routes", "dns", "images"]
"""


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


class Visitor(threading.Thread):
    """Asks for the service again and again, each time by a connection of its own."""

    def __init__(self, port, authority):
        super().__init__(daemon=True)
        self.port, self.context = port, ssl.create_default_context(cafile=authority)
        self.answered, self.failed, self.is_over = 0, [], threading.Event()

    def run(self):
        request = f"GET / HTTP/1.1\r\nhost: {HOST}\r\nconnection: close\r\n\r\n".encode()
        while not self.is_over.wait(0.05):
            try:
                with socket.create_connection(("127.0.0.1", self.port), 20) as plain:
                    with self.context.wrap_socket(plain, server_hostname=HOST) as secure:
                        secure.sendall(request)
                        answer = b""
                        while more := secure.recv(65536):
                            answer += more
                if not answer.startswith(b"HTTP/1.1 200"):
                    raise ValueError(answer[:80])
                self.answered += 1
            except (OSError, ValueError) as error:
                self.failed.append(f"{time.strftime('%H:%M:%S')} {error!r}")


class Soak:
    def __init__(self, work):
        self.work, self.log = work, open(os.path.join(work, "serve.log"), "wb")
        self.state, self.ledger = os.path.join(work, "state"), os.path.join(work, "ledger")
        folder = os.path.join(work, "playbooks")
        os.mkdir(folder)
        for name in os.listdir(SCRIPTS):
            if name.endswith(".lua") and not name.endswith(".test.lua"):
                shutil.copy(os.path.join(SCRIPTS, name), folder)
        self.proxy = free_port()
        config = CONFIG.format(names=free_port(), folder=folder)
        own = {"tick": (TICK, "tick-{event.at}"), "heard": (HEARD, "heard-{event.data}")}
        for name, (text, what) in own.items():
            with open(os.path.join(folder, f"{name}.lua"), "w") as file:
                file.write(text.format(act=ACT.format(what=what, ledger=self.ledger)))
        path = os.path.join(work, "mcrun.toml")
        with open(path, "w") as file:
            file.write(config)
        self.environment = dict(os.environ, MCRUN_STATE=self.state, MCRUN_CONFIG=path)
        self.daemon, self.kills, self.stops, self.told = None, 0, 0, 0

    def mcrun(self, *words, may_fail=False):
        ended = subprocess.run([MCRUN, *words], env=self.environment, capture_output=True, text=True, timeout=180)
        if ended.returncode and not may_fail:
            raise SystemExit(f"mcrun {' '.join(words)}: exit {ended.returncode}\n{ended.stdout}{ended.stderr}")
        return ended.stdout

    def serve(self):
        self.daemon = subprocess.Popen([MCRUN, "serve"], env=self.environment, stdout=self.log, stderr=self.log)

    def end(self, how):
        self.daemon.send_signal(how)
        self.daemon.wait(60)

    def query(self, text):
        with sqlite3.connect(os.path.join(self.state, "journal.db"), timeout=30) as database:
            return database.execute(text).fetchall()

    def until(self, what, seconds, test):
        end = time.monotonic() + seconds
        while not test():
            if time.monotonic() > end:
                raise SystemExit(f"this never came: {what}; see {self.work}")
            time.sleep(0.2)

    def begin(self):
        self.serve()
        is_armed = "SELECT count(*) FROM records WHERE kind = 'trigger' AND name LIKE 'tick/%'"
        journal = os.path.join(self.state, "journal.db")
        self.until("the triggers are armed", 60, lambda: os.path.exists(journal) and self.query(is_armed)[0][0])
        self.mcrun("zones", "set", "mcrun.test")
        hello = os.path.join(SCRIPTS, "demo", "hello.lua")
        self.mcrun(hello, "--set", f"mcrun={MCRUN}", "--set", f"hostname={HOST}", "--set", f"listen={self.proxy}")
        authority = os.path.join(self.work, "ca.pem")
        with open(authority, "w") as file:
            file.write(self.mcrun("certs", "ca", "bundle"))
        return Visitor(self.proxy, authority)

    def tell(self):
        self.told += 1
        self.mcrun("emit", "soak.told", "--data", str(self.told))

    def loop(self):
        end = time.monotonic() + MINUTES * 60
        while time.monotonic() < end:
            pause = time.monotonic() + random.uniform(0.2, 5)
            while time.monotonic() < pause:
                self.tell()
                time.sleep(random.uniform(0.05, 0.8))
            if random.randrange(8):
                self.kills += 1
                self.end(signal.SIGKILL)
            else:
                self.stops += 1
                self.end(signal.SIGTERM)
            if not random.randrange(4):
                self.tell()
            if not random.randrange(10):
                time.sleep(random.uniform(0, 8))
            self.serve()
            if (self.kills + self.stops) % 100 == 0:
                print(f"{self.kills} kills, {self.stops} stops, {self.told} events", flush=True)

    def settle(self):
        """Nothing waits any more, and every event has had its run."""
        waiting = "SELECT count(*) FROM records WHERE kind = 'occurrence' AND json_extract(value, '$.outcome') = 'queued'"
        unfinished = "SELECT count(*) FROM runs WHERE state NOT IN ('done', 'failed', 'cancelled', 'paused')"
        heard = "SELECT count(*) FROM runs WHERE playbook = 'heard'"

        def is_settled():
            # Each second has a run, which is under way for a moment.
            return (
                self.query(heard)[0][0] >= self.told
                and self.query(waiting)[0][0] <= 1
                and self.query(unfinished)[0][0] <= 1
            )

        self.until("everything that waits is done", 600, is_settled)
        self.end(signal.SIGTERM)

    def findings(self):
        found = []
        for state, count in self.query("SELECT state, count(*) FROM runs GROUP BY state"):
            if state in ("failed", "paused", "cancelled"):
                found.append(f"{count} runs are {state}")
        told = {name: [] for name in ("tick", "heard")}
        for playbook, cause in self.query("SELECT playbook, cause FROM runs WHERE playbook IN ('tick', 'heard')"):
            told[playbook].append(json.loads(cause)["event"])
        seconds = [event["at"] for event in told["tick"]]
        if len(seconds) != len(set(seconds)):
            found.append(f"{len(seconds) - len(set(seconds))} seconds have more than one run")
        stamps = sorted(int(time.mktime(time.strptime(at[:19], "%Y-%m-%dT%H:%M:%S"))) for at in set(seconds))
        lost = stamps[-1] - stamps[0] + 1 - len(stamps)
        if lost:
            found.append(f"{lost} seconds have no run")
        heard = [event["data"] for event in told["heard"]]
        if sorted(heard) != list(range(1, self.told + 1)):
            found.append(f"{self.told} events were told, {len(heard)} heard, {len(set(heard))} of them different")
        # An act in doubt is done again under its key: whoever keeps a ledger sees that it is the same.
        with open(self.ledger) as file:
            acts = {tuple(line.split()) for line in file}
        names = [name for name, _ in acts]
        if len(names) != len(set(names)) or len(names) != len(seconds) + len(heard):
            found.append(f"{len(names)} acts under {len(set(names))} names for {len(seconds) + len(heard)} runs")
        return found, f"{len(seconds)} seconds, {len(heard)} events, {len(acts)} acts"


def main():
    work = tempfile.mkdtemp(prefix="mcrun-soak-")
    soak = Soak(work)
    visitor, found, counted = None, [], ""
    try:
        visitor = soak.begin()
        visitor.start()
        soak.loop()
        soak.settle()
        visitor.is_over.set()
        visitor.join()
        found, counted = soak.findings()
        if visitor.failed:
            found.append(f"{len(visitor.failed)} visits failed: {visitor.failed[:5]}")
    finally:
        if soak.daemon and soak.daemon.poll() is None:
            soak.end(signal.SIGKILL)
        soak.mcrun("undeploy", "hello", "--yes", may_fail=True)
        soak.mcrun("dns", "stop", may_fail=True)
    print(f"{MINUTES:g} minutes: {soak.kills} kills, {soak.stops} stops, {counted}, {visitor.answered} visits")
    for finding in found:
        print(f"FOUND: {finding}")
    if found:
        raise SystemExit(f"kept for a look: {work}")
    shutil.rmtree(work, ignore_errors=True)


main()
