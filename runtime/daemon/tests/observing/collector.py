"""A collector: takes OTLP over HTTP, reads it with OpenTelemetry's own messages and shows each as a line of JSON.

The first word is the file with the status to answer with; a second word in it is how many spans are rejected, a third one the
status for figures."""

import json
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer

from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

KINDS = {
    "/v1/traces": (ExportTraceServiceRequest, ExportTraceServiceResponse),
    "/v1/metrics": (ExportMetricsServiceRequest, ExportMetricsServiceResponse),
}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        request, response = KINDS[self.path]
        body = self.rfile.read(int(self.headers["content-length"]))
        message = request()
        assert message.ParseFromString(body) == len(body)
        assert self.headers["content-type"] == "application/x-protobuf"
        told = open(sys.argv[1]).read().split()
        answer = response()
        if len(told) > 1 and self.path == "/v1/traces":
            answer.partial_success.rejected_spans = int(told[1])
            answer.partial_success.error_message = "no room"
        data = answer.SerializeToString()
        status = int(told[2] if len(told) > 2 and self.path == "/v1/metrics" else told[0])
        self.send_response(status)
        self.send_header("content-type", "application/x-protobuf")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
        seen = {"path": self.path, "token": self.headers.get("x-token"), "status": status, "body": MessageToDict(message)}
        print(json.dumps(seen), flush=True)

    def log_message(self, *_):
        pass


server = HTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
