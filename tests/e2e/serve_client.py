# SPDX-License-Identifier: Apache-2.0
"""Clients of a serve port's endpoint: HTTP over a Unix socket or TCP, with the standard library."""

import http.client
import json
import socket


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path, timeout=20):
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        # Paths of sockets are short: a long one goes by way of its folder.
        self.sock.connect(self.path)


class Reply:
    """A status, headers, and what the body says."""

    def __init__(self, response):
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def error(self):
        return self.json["error"]

    @property
    def text(self):
        """The text of a whole reply."""
        choice = self.json["choices"][0]
        return choice["message"]["content"] if "message" in choice else choice["text"]

    @property
    def events(self):
        """The events of a stream, the mark of its end left out."""
        lines = self.body.decode().split("\n")
        return [json.loads(line[6:]) for line in lines
                if line.startswith("data: ") and line != "data: [DONE]"]

    @property
    def is_done(self):
        return self.body.endswith(b"data: [DONE]\n\n")

    @property
    def streamed(self):
        """The text of a stream."""
        return "".join(choice.get("delta", choice).get("content", choice.get("text", ""))
                       for event in self.events for choice in event.get("choices", []))

    def __str__(self):
        return f"{self.status} {dict(self.headers)} {self.body[:500]!r}"


class Client:
    """Makes requests of one endpoint, each on a connection of its own."""

    def __init__(self, path=None, port=None, token=None):
        self.path = path
        self.port = port
        self.token = token

    def connect(self, timeout=20):
        if self.path:
            return UnixConnection(self.path, timeout)
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)

    def request(self, method, url, body=None, headers=None, timeout=20):
        connection = self.connect(timeout)
        given = {"Content-Type": "application/json"} if body is not None else {}
        if self.token:
            given["Authorization"] = f"Bearer {self.token}"
        given.update(headers or {})
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
        try:
            connection.request(method, url, body, given)
            return Reply(connection.getresponse())
        finally:
            connection.close()

    def get(self, url, **keys):
        return self.request("GET", url, **keys)

    def complete(self, prompt, **keys):
        return self.request("POST", "/v1/completions", {"prompt": prompt, **keys})

    def chat(self, *messages, **keys):
        """Messages are texts of the user, or pairs of role and content."""
        listed = [{"role": "user", "content": message} if isinstance(message, str)
                  else {"role": message[0], "content": message[1]} for message in messages]
        return self.request("POST", "/v1/chat/completions", {"messages": listed, **keys})
