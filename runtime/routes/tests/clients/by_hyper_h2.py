"""hyper-h2 before the proxy, frame by frame: HOST PORT CA."""

import socket
import ssl
import sys

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions

HOST, PORT, CA = sys.argv[1:]


class Client:
    def __init__(self, careful=True):
        trust = ssl.create_default_context(cafile=CA)
        trust.set_alpn_protocols(["h2"])
        raw = socket.create_connection(("127.0.0.1", int(PORT)), timeout=60)
        self.socket = trust.wrap_socket(raw, server_hostname=HOST)
        assert self.socket.selected_alpn_protocol() == "h2"
        config = h2.config.H2Configuration(
            client_side=True, validate_outbound_headers=careful, normalize_outbound_headers=careful
        )
        self.h2 = h2.connection.H2Connection(config)
        self.h2.initiate_connection()
        self.flush()
        self.over = False

    def flush(self):
        self.socket.sendall(self.h2.data_to_send())

    def events(self):
        data = self.socket.recv(65536)
        if not data:
            self.over = True
            return []
        events = self.h2.receive_data(data)
        self.flush()
        return events

    def until(self, kind, stream=None):
        """The events up to the first of a kind, on a stream or any."""
        seen = []
        while True:
            for event in self.events():
                seen.append(event)
                if isinstance(event, kind) and stream in (None, getattr(event, "stream_id", None)):
                    return seen
            assert not self.over, f"it is over before {kind}: {seen}"

    def ask(self, path, method="GET", more=(), ends=True):
        stream = self.h2.get_next_available_stream_id()
        head = [(":method", method), (":scheme", "https"), (":authority", HOST), (":path", path), *more]
        self.h2.send_headers(stream, head, end_stream=ends)
        self.flush()
        return stream

    def bodies(self, streams, acknowledge=True):
        """Statuses and bodies by stream, once all have ended."""
        left, statuses, bodies = set(streams), {}, {stream: 0 for stream in streams}
        while left:
            for event in self.events():
                if isinstance(event, h2.events.ResponseReceived):
                    statuses[event.stream_id] = dict(event.headers)[b":status"].decode()
                elif isinstance(event, h2.events.DataReceived):
                    bodies[event.stream_id] += len(event.data)
                    if acknowledge:
                        self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                elif isinstance(event, h2.events.StreamEnded):
                    left.discard(event.stream_id)
                elif isinstance(event, (h2.events.StreamReset, h2.events.ConnectionTerminated)):
                    raise AssertionError(event)
            self.flush()
            assert not self.over, "it is over too early"
        return statuses, bodies


client = Client()
seen = client.until(h2.events.RemoteSettingsChanged)
changed = seen[-1].changed_settings
streams = changed[h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS].new_value
assert 10 <= streams <= 1000, streams
print("settings")

client.h2.ping(b"12345678")
client.flush()
answer = client.until(h2.events.PingAckReceived)[-1]
assert answer.ping_data == b"12345678"
print("ping")

asked = {client.ask(f"/octets/{number * 1000}"): number * 1000 for number in range(20)}
statuses, bodies = client.bodies(asked)
assert bodies == asked and set(statuses.values()) == {"200"}, (statuses, bodies)
print("interleaved")

# 64 KiB are all that may come unacknowledged; four times as much does, piece by piece.
stream = client.ask("/pieces/256")
statuses, bodies = client.bodies([stream])
assert bodies[stream] == 256_000
print("windows")

stream = client.ask("/pieces/100000")
client.until(h2.events.DataReceived, stream)
client.h2.reset_stream(stream, h2.errors.ErrorCodes.CANCEL)
client.flush()
# What was under way of it counts for the connection's window all the same: h2 gives it back by itself.
other = client.ask("/x")
left = True
while left:
    for event in client.events():
        if isinstance(event, h2.events.DataReceived):
            client.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        left = left and not (isinstance(event, h2.events.StreamEnded) and event.stream_id == other)
    client.flush()
    assert not client.over
print("taken back")

stream = client.ask("/", "POST", [("content-length", "200000")], ends=False)
sent = 0
while sent < 200_000:
    window = client.h2.local_flow_control_window(stream)
    if window == 0:
        client.events()
        continue
    size = min(window, 200_000 - sent, client.h2.max_outbound_frame_size)
    sent += size
    client.h2.send_data(stream, b"y" * size, end_stream=sent == 200_000)
    client.flush()
statuses, bodies = client.bodies([stream])
assert statuses[stream] == "200"
print("uploaded")

# A name in capitals is malformed: its stream ends, or the connection; an answer it never gets.
rude = Client(careful=False)
rude.until(h2.events.RemoteSettingsChanged)
stream = rude.ask("/", more=[("X-Capital", "1")])
seen = []
while not rude.over:
    for event in rude.events():
        if isinstance(event, h2.events.ResponseReceived):
            status = dict(event.headers)[b":status"]
            assert status == b"400", status
            rude.over = True
        if isinstance(event, (h2.events.StreamReset, h2.events.ConnectionTerminated)):
            assert event.error_code == h2.errors.ErrorCodes.PROTOCOL_ERROR, event
            rude.over = True
print("malformed")

long = Client()
long.until(h2.events.RemoteSettingsChanged)
stream = long.ask("/", more=[(f"x-{number}", "y" * 4000) for number in range(12)])
refused = None
while refused is None and not long.over:
    for event in long.events():
        if isinstance(event, h2.events.ResponseReceived):
            refused = dict(event.headers)[b":status"].decode()
        if isinstance(event, (h2.events.StreamReset, h2.events.ConnectionTerminated)):
            refused = str(event.error_code)
assert refused == "431", refused
print("too large")

client.h2.close_connection()
client.flush()
while not client.over:
    client.events()
print("goodbye")
