"""websockets on both sides of the proxy: HOST PORT CA. Says where its server is, and goes on once it is told to."""

import asyncio
import ssl
import sys

from websockets.asyncio.client import connect
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed

HOST, PORT, CA = sys.argv[1:]
TRUST = ssl.create_default_context(cafile=CA)
SEEN = []


async def answer(connection):
    try:
        async for message in connection:
            if message == "go away":
                await connection.close(4001, "as you like")
                return
            await connection.send(message)
    finally:
        SEEN.append((connection.close_code, connection.close_reason))


def reach(**more):
    return connect(
        f"wss://{HOST}:{PORT}/socket", host="127.0.0.1", port=int(PORT), ssl=TRUST, max_size=None, proxy=None,
        open_timeout=60, ping_timeout=60, **more
    )


async def one_of_many(number):
    async with reach() as socket:
        for turn in range(10):
            await socket.send(f"{number} {turn}")
            assert await socket.recv() == f"{number} {turn}"


async def main():
    async with serve(answer, "127.0.0.1", 0, max_size=None, ping_timeout=60) as server:
        print("{}:{}".format(*server.sockets[0].getsockname()), flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
        async with reach() as socket:
            offered = socket.protocol.extensions
            assert [extension.name for extension in offered] == ["permessage-deflate"], offered
            print("compressed")
            await socket.send("grüße")
            assert await socket.recv() == "grüße"
            print("text")
            octets = bytes(range(256)) * 8192
            await socket.send(octets)
            assert await socket.recv() == octets
            print("binary")
            await socket.send(["a" * 70_000, "b", "c" * 200_000])
            assert await socket.recv() == "a" * 70_000 + "b" + "c" * 200_000
            print("fragments")
            await asyncio.wait_for(await socket.ping(b"are you there"), 60)
            print("ping")
            await socket.close(4000, "enough")
        while not SEEN:
            await asyncio.sleep(0.01)
        assert SEEN == [(4000, "enough")], SEEN
        print("closed by the client")
        async with reach(compression=None) as socket:
            await socket.send("go away")
            try:
                await socket.recv()
                raise AssertionError("it was not closed")
            except ConnectionClosed as closed:
                assert (closed.rcvd.code, closed.rcvd.reason) == (4001, "as you like"), closed
        print("closed by the server")
        await asyncio.gather(*(one_of_many(number) for number in range(30)))
        print("many")


asyncio.run(main())
