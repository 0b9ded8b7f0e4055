"""httpx before the proxy: HOST PORT CA."""

import asyncio
import socket
import ssl
import sys

import httpx

HOST, PORT, CA = sys.argv[1:]
BASE = f"https://{HOST}:{PORT}"

really = socket.getaddrinfo
socket.getaddrinfo = lambda host, *more, **named: really(
    "127.0.0.1" if host in (HOST, HOST.encode()) else host, *more, **named
)


def check(answer, version, text=None):
    assert answer.status_code == 200, answer
    assert answer.http_version == version, answer.http_version
    assert text is None or answer.text.startswith(text), answer.text


def pieces():
    for _ in range(100):
        yield b"x" * 10_000


def one_by_one(version, trust):
    with httpx.Client(http1=version == "HTTP/1.1", http2=version == "HTTP/2", verify=trust, timeout=60) as client:
        check(client.get(f"{BASE}/x?y=z"), version, "GET /x?y=z 0 127.0.0.1")
        print(version, "get")
        answer = client.head(f"{BASE}/octets/77")
        check(answer, version)
        assert answer.headers["content-length"] == "77" and answer.content == b""
        print(version, "head")
        check(client.post(f"{BASE}/", content=b"y" * 300_000), version, "POST / 300000")
        print(version, "post")
        with client.stream("GET", f"{BASE}/pieces/2000") as answer:
            assert sum(map(len, answer.iter_bytes())) == 2_000_000
        print(version, "streamed")
        check(client.post(f"{BASE}/", content=pieces()), version, "POST / 1000000")
        print(version, "uploaded in pieces")


async def at_once(version, trust):
    async with httpx.AsyncClient(http1=version == "HTTP/1.1", http2=version == "HTTP/2", verify=trust, timeout=60) as client:
        answers = await asyncio.gather(*(client.get(f"{BASE}/octets/{number}") for number in range(50)))
    for number, answer in enumerate(answers):
        check(answer, version, "x" * number)
        assert len(answer.content) == number
    print(version, "fifty at once")


trust = ssl.create_default_context(cafile=CA)
for version in ("HTTP/1.1", "HTTP/2"):
    one_by_one(version, trust)
    asyncio.run(at_once(version, trust))
