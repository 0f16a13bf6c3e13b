# SPDX-License-Identifier: Apache-2.0
"""A server of the Model Context Protocol over streamable HTTP, for tests."""

import http.server
import json
import threading
import time

TOOLS = [
    {"name": "echo", "description": "Says it again.",
     "inputSchema": {"type": "object", "properties": {"text": {"type": "string"}},
                     "required": ["text"]}},
    {"name": "slow", "description": "Never answers.", "inputSchema": {"type": "object"}},
    {"name": "token", "description": "Tells what it was told.", "inputSchema": {"type": "object"}},
]


class McpServer(http.server.ThreadingHTTPServer):
    """An MCP server whose replies are as `mode` says."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, mode, context=None):
        self.mode, self.seen, self.streams, self.described = mode, [], [], TOOLS
        super().__init__(("127.0.0.1", 0), Handler)
        if context:
            self.socket = context.wrap_socket(self.socket, server_side=True)
        self.url = f"{'https' if context else 'http'}://127.0.0.1:{self.server_address[1]}/mcp"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, request, client_address):
        pass  # connections that the client closes

    def count(self, method):
        """How often it was asked for that."""
        return sum(1 for _, _, message in self.seen if message and message.get("method") == method)

    def close(self):
        self.shutdown()
        self.server_close()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def reply(self, status, kind=None, body=b"", headers=()):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        if kind:
            self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self.server.seen.append(("GET", dict(self.headers), None))
        if self.server.mode != "events":
            self.reply(405)
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        self.wfile.write(b": welcome\r\n\r\n")
        self.wfile.flush()
        self.server.streams.append(self)
        while not self.server._BaseServer__is_shut_down.is_set():
            time.sleep(0.05)

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        message = json.loads(body)
        self.server.seen.append(("POST", dict(self.headers), message))
        mode = self.server.mode
        if mode == "status":
            self.reply(500)
        elif mode == "html":
            self.reply(200, "text/html", b"<html>")
        elif mode == "nonsense":
            self.reply(200, "application/json", b"{nonsense")
        elif mode == "session name":
            self.reply(200, "application/json", b"{}", [("Mcp-Session-Id", "a b")])
        elif mode == "endless":
            self.endless()
        elif mode == "forgets" and message.get("method") == "tools/call":
            self.reply(404)
        elif "id" not in message:
            self.reply(202)
        else:
            self.answer(message)

    def endless(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        while True:
            self.wfile.write(b"data: " + b"x" * 65536)

    def result(self, message):
        method = message["method"]
        if method == "initialize":
            return {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}},
                    "serverInfo": {"name": "test", "version": "1"}}
        if method == "tools/list":
            return {"tools": self.server.described}
        if method == "ping":
            return {}
        name, given = message["params"]["name"], message["params"]["arguments"]
        if name == "slow":
            time.sleep(60)
        text = given["text"] if name == "echo" else self.headers.get("Authorization", "none")
        return {"content": [{"type": "text", "text": text}]}

    def answer(self, message):
        text = json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": self.result(message)})
        headers = []
        if message["method"] == "initialize" and self.server.mode in ("events", "forgets"):
            headers.append(("Mcp-Session-Id", "session-0815"))
        if self.server.mode != "events":
            self.reply(200, "application/json; charset=utf-8", text.encode(), headers)
            return
        self.send_response(200)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        # In all ways that the format knows: comments, fields, ends of lines, data over two lines.
        note = json.dumps({"jsonrpc": "2.0", "method": "notifications/message", "params": {}})
        half = text.index(",") + 1
        events = f": comment\n\nevent: message\r\nid: 7\r\ndata: {note}\r\n\r\n" \
                 f"retry: 10\rdata:{text[:half]}\rdata: {text[half:]}\r\r"
        for letter in events.encode():
            self.wfile.write(bytes([letter]))
        self.wfile.flush()
        self.close_connection = True
