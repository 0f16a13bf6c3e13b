#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The http port end to end: what a model reaches, and what it does not.

Usage: test_http.py GUILLOTINE GUEST.elf...
"""

import json
import os
import signal
import subprocess
import sys
import time

import http_world
from guest_test import Bench, Skip, Tap, children_named, one_line, wait_until

READY = http_world.enter_namespace()
bench = Bench(sys.argv[1], sys.argv[2:])
tap = Tap(after=bench.clean)
GUEST = bench.guests["http.elf"]
world = http_world.World(bench.folder) if READY else None

OK, NOT_FOUND, FAILED, DENIED, INVALID, TOO_LARGE, TIMED_OUT = 0, 2, 5, 13, 22, 90, 110
EXHAUSTED = 122
ALL = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
SECRET = "s3cr3t-tok3n-s3cr3t-tok3n-0042"
RAW = f"http://api.test:{http_world.RAW_PORT}"


def everything():
    """Rules for every host of the world; what is refused is refused for another reason."""
    rules = [{"origin": f"https://{host}"} for host in http_world.HOSTS if "forbidden" not in host]
    rules += [{"origin": f"https://api.test:{port}"} for port in
              (1443, 2443, 3443, 4443, 5443, 6443, 7443)]
    return rules


def settings(**keys):
    return {"allow": everything(), "nameservers": ["11.0.0.53"], "ca": world.path("ca.pem"),
            **keys}


def vm_file(http=None, **keys):
    if not READY:
        raise Skip("needs root, network namespaces, nginx and dnsmasq")
    port = {"kind": "http", "settings": http or settings(), **keys}
    return bench.write_vm("http.json", image=GUEST, ports=[{"kind": "console"}, port])


def join(commands):
    words = []
    for command in commands:
        words += (["--"] if words else []) + [str(word) for word in command]
    return words


def start(commands, http=None, options=(), **keys):
    return bench.start([*options, vm_file(http, **keys), "--", *join(commands)])


def run(commands, http=None, options=(), timeout=60, **keys):
    ended = bench.finish(start(commands, http, options, **keys), timeout=timeout)
    assert ended.outcome == "exit:0", ended
    return ended.stdout


class Reply:
    def __init__(self, status, http, headers, reason, body):
        self.status, self.http, self.headers = status, http, headers
        self.reason, self.body = reason, body

    def __repr__(self):
        return f"{self.status} {self.http} {self.headers} {self.reason!r} {self.body[:200]!r}"


def replies(output):
    """Takes the guest's output apart."""
    found = []
    while output.startswith(b"= "):
        line, output = output.split(b"\n", 1)
        status, http = (int(word) for word in line.split()[1:])
        headers, reason = [], ""
        while output.startswith(b"> "):
            line, output = output.split(b"\n", 1)
            headers.append(line[2:].decode("latin-1"))
        if output.startswith(b"reason "):
            line, output = output.split(b"\n", 1)
            reason = line[7:].decode()
        line, output = output.split(b"\n", 1)
        length = int(line.split()[1])
        found.append(Reply(status, http, headers, reason, output[:length]))
        output = output[length + 1:]
    assert not output, output
    return found


def get(*urls, **keys):
    found = replies(run([("get", url, 0) for url in urls], **keys))
    assert len(found) == len(urls)
    return found


def one(url, **keys):
    return get(url, **keys)[0]


def allowing(*rules, **keys):
    return settings(allow=list(rules), **keys)


def raw_allowed(**keys):
    return allowing({"origin": RAW}, **keys)


@tap.test("a page over TLS: headers, body, and what the server saw")
def page():
    reply = one("https://api.test/hello")
    assert (reply.status, reply.http, reply.body) == (OK, 200, b"hello from api.test\n"), reply
    assert "Content-Type: text/plain" in reply.headers, reply
    line = [line for line in world.log("access.log").splitlines() if " /hello " in line][-1]
    assert line.endswith("GET /hello host=api.test auth=- key=- ae=identity agent=- "
                         "proto=HTTP/1.1"), line
    missing = one("https://api.test/missing")
    assert (missing.status, missing.http) == (OK, 404), missing


@tap.test("methods, headers and bodies arrive as they were sent")
def methods():
    http = allowing({"origin": "https://api.test", "methods": ALL})
    output = run([("post", 100000, "https://api.test/post"),
                  ("ask", "POST", "https://api.test/v1/empty", "-", "-"),
                  ("ask", "PUT", "https://api.test/v1/put", "-", "b"),
                  ("ask", "DELETE", "https://api.test/v1/delete", "-", "-"),
                  ("ask", "HEAD", "https://api.test/hello", "-", "-"),
                  ("ask", "GET", "https://api.test/echo", "User-Agent: m|X-Key: k", "-")],
                 http, max_request_bytes=200000)
    post, empty, put, delete, head, echo = replies(output)
    assert post.body == b"posted 100000 %d" % (100000 * ord("x")), post
    assert empty.body == b"v1 POST /v1/empty\n", empty
    assert put.http == 200 and put.body == b"v1 PUT /v1/put\n", put
    assert delete.body == b"v1 DELETE /v1/delete\n", delete
    assert head.http == 200 and head.body == b"" and "Content-Length: 20" in head.headers, head
    assert echo.body == b"auth= key=k agent=m\n", echo


@tap.test("origins, methods and paths that are not allowed: no connection, no lookup")
def not_allowed():
    http = allowing({"origin": "https://api.test", "path": "/v1/[a-z]+"},
                    {"origin": "https://*.suffix.test"})
    before = world.log("access.log"), world.log("dns.log")
    refused = get("https://forbidden.test/hello", "https://unheard.of/x", "http://api.test/v1/a",
                  "https://api.test:444/v1/a", "https://api.test/hello", "https://api.test/v1/a/b",
                  "https://api.test/v1/", "https://api.test/x/v1/a", "https://suffix.test/hello",
                  "https://notsuffix.test/hello", "https://11.0.0.1/hello", http=http)
    assert all(reply.status == DENIED and not reply.http for reply in refused), refused
    assert (world.log("access.log"), world.log("dns.log")) == before
    post = replies(run([("ask", "POST", "https://api.test/v1/a", "-", "-")], http))[0]
    assert post.status == DENIED, post
    good = get("https://api.test/v1/a", "https://api.test/v1/a?query=/b", "https://a.suffix.test/hello",
               "https://a.b.suffix.test/hello", http=http)
    assert [reply.status for reply in good] == [OK] * 4, good
    assert good[1].body == b"v1 GET /v1/a?query=/b\n"


@tap.test("names that lead inside: private, loopback, link-local, metadata, own, unspecified")
def inside():
    names = ["private.test", "mixed.test", "meta.test", "local.test", "mapped.test", "own.test",
             "zero.test"]
    before = world.log("access.log")
    for reply in get(*(f"https://{name}/hello" for name in names)):
        assert reply.status == DENIED and "address" in reply.reason, reply
    numbers = ["10.9.0.1", "127.0.0.1", "169.254.169.254", "11.0.0.100", "[::1]", "[fe80::1]",
               "[::ffff:10.9.0.1]", "[64:ff9b::a09:1]", "[2002:a09:1::]"]
    http = allowing(*({"origin": f"https://{number}"} for number in numbers))
    for reply in get(*(f"https://{number}/hello" for number in numbers), http=http):
        assert reply.status == DENIED, reply
    assert world.log("access.log") == before


@tap.test("networks that the operator lists, metadata only alone")
def listed():
    http = settings(networks=["10.9.0.0/24", "169.254.0.0/16"])
    private, mixed, meta = get("https://private.test/hello", "https://mixed.test/hello",
                               "https://meta.test/hello", http=http)
    assert (private.http, mixed.http, meta.status) == (200, 200, DENIED), (private, mixed, meta)
    alone = one("https://meta.test/hello", http=settings(networks=["169.254.169.254/32"]))
    assert alone.http == 200, alone


@tap.test("a name that changes its address between two requests")
def rebinding():
    http = allowing({"origin": "https://rebind.test"},
                    nameservers=[f"11.0.0.53:{http_world.TRICKY_DNS_PORT}"])
    # The certificate is not this name's: that is found out behind the connection.
    found = get(*["https://rebind.test/hello"] * 4, http=http)
    assert [reply.status for reply in found] == [FAILED, DENIED, FAILED, DENIED], found


@tap.test("name servers that answer nonsense, or nothing; names that do not exist")
def name_servers():
    tricky = [f"11.0.0.53:{http_world.TRICKY_DNS_PORT}"]
    names = ["nonsense.test", "silent.test"]
    http = allowing(*({"origin": f"https://{name}"} for name in names), nameservers=tricky)
    found = get(*(f"https://{name}/" for name in names), http=http)
    assert all(reply.status == FAILED and "name servers" in reply.reason for reply in found), found
    missing = one("https://nowhere.test/", http=allowing({"origin": "https://nowhere.test"}))
    assert missing.status in (NOT_FOUND, FAILED), missing
    known = settings(nameservers=[], names={"api.test": ["11.0.0.1"]})
    named, unknown = get("https://api.test/hello", "https://other.test/hello", http=known)
    assert named.http == 200 and unknown.status == FAILED, (named, unknown)


@tap.test("IPv6, and the next address where the first does not answer")
def addresses():
    v6, two = get("https://v6.test/hello", "https://two.test/hello",
                  http=settings(connect_ms=3000))
    assert v6.http == 200 and two.http == 200, (v6, two)


@tap.test("redirects come back; the client asks again, through the same rules")
def redirects():
    plain = one("https://api.test/there")
    assert plain.http == 302 and "Location: https://other.test/hello" in plain.headers, plain
    log = bench.path("redirects.audit")
    urls = ["here", "there", "away", "plain", "inside", "file"]
    found = replies(run([*(("get", f"https://api.test/{url}", 5) for url in urls),
                         ("get", "https://api.test/round", 3)], options=["--audit", log]))
    here, there, away, http, private, file, circle = found
    assert here.body == b"hello from api.test\n" and there.body == b"hello from other.test\n"
    assert [reply.status for reply in (away, http, private)] == [DENIED] * 3, found
    assert file.http == 302 and circle.http == 302, found
    requests = [record for record in bench.audit(log)
                if record["type"] == "request" and record["source"] == "vmm" and record["port"] == 1]
    assert len(requests) == 6 + 5 + 4, len(requests)  # one for every hop


@tap.test("certificates: self-signed, expired, of another name, old TLS")
def certificates():
    found = get(*(f"https://api.test:{port}/" for port in (1443, 2443, 3443, 7443)))
    assert all(reply.status == FAILED and not reply.body for reply in found), found
    other = one("https://api.test/hello", http=settings(ca="/etc/ssl/certs/ca-certificates.crt")) \
        if os.path.exists("/etc/ssl/certs/ca-certificates.crt") else None
    assert not other or other.status == FAILED, other


@tap.test("a server with the mark is refused, also behind a marked authority")
def contained():
    found = get("https://api.test:4443/", "https://api.test:6443/")
    assert all(reply.status == DENIED and "contained host" in reply.reason
               for reply in found), found
    # Another mark says nothing.
    found = get("https://api.test:4443/", http=settings(identity_oid="1.3.6.1.4.1.99999.1"))
    assert found[0].body == b"marked\n", found


@tap.test("the host's certificate is presented, and has to carry the mark")
def identity():
    def http(name):
        return settings(certificate=world.path(f"{name}.pem"), key=world.path(f"{name}.key"))

    reply = one("https://api.test:5443/", http=http("host"))
    assert reply.body == b"client CN=host.contained.test\n", reply
    assert one("https://api.test:5443/").http == 400
    for wrong, why in ((http("unmarked"), "lacks the extension"),
                       (settings(certificate=world.path("host.pem"), key=world.path("api.key")),
                        "private key")):
        ended = bench.finish(start([("get", "https://api.test:5443/", 0)], wrong,
                                   restart={"max": 0}))
        assert ended.outcome == "failed" and why in ended.stderr, ended


def with_secret(value="Bearer secret:token", origin="https://api.test", source=None, **keys):
    path = bench.write("token", SECRET + "\n")
    os.chmod(path, 0o600)
    origins = keys.pop("rules", everything() + [{"origin": "https://api.test:9001"}])
    return settings(allow=origins, secrets={"token": source or {"file": path}},
                    inject=[{"origin": origin, "header": "Authorization", "value": value}], **keys)


def auth_seen():
    return world.log("access.log").count(f"auth=Bearer {SECRET}")


@tap.test("a secret goes to its origin, and comes back to nobody")
def secret():
    log = bench.path("secret.audit")
    before = auth_seen()
    output = run([("get", "https://api.test/echo", 0), ("get", "https://other.test/echo", 0),
                  ("get", "https://api.test/there", 1),
                  ("ask", "GET", "https://api.test/echo", "aUTHORIZATION: Bearer mine", "-"),
                  ("ask", "GET", "https://other.test/echo", "Authorization: Bearer mine", "-")],
                 with_secret(), options=["--audit", log], audit="full")
    api, other, there, own, free = replies(output)
    stars = "*" * len(SECRET)
    assert auth_seen() == before + 2, "to the origin, and not behind its redirect"
    assert api.body == f"auth=Bearer {stars} key= agent=\n".encode(), api
    assert f"X-Seen: Bearer {stars}" in api.headers, api
    assert other.body == b"auth= key= agent=\n" and there.http == 200, (other, there)
    assert own.status == DENIED and "operator" in own.reason, own
    assert free.body == b"auth=Bearer mine key= agent=\n", free
    assert SECRET.encode() not in output
    with open(log, "rb") as file:
        assert SECRET.encode() not in file.read()


@tap.test("a secret that comes back in pieces, whole or as a stream")
def secret_pieces():
    http = with_secret(origin="https://api.test:9001")
    output = run([("get", "https://api.test:9001/leak", 0),
                  ("stream", "https://api.test:9001/leak")], http)
    text = SECRET.encode()
    stars = b"*" * len(text)
    piece = b"<" + stars + b">" + stars + stars + b"|"
    assert text not in output, output
    for length in range(8, len(text)):
        assert text[:length] not in output and text[-length:] not in output, length
    count = 3 * len(text) + 3
    assert output.count(piece) >= count - 1, (output.count(piece), count)
    assert piece * (count - 1) + b"end" in output


@tap.test("an encoded reply is refused where a secret was sent")
def secret_encoded():
    http = with_secret()
    found = get("https://api.test/encoded", "https://other.test/encoded", http=http)
    assert found[0].status == FAILED and "encoded" in found[0].reason, found
    assert found[1].http == 200, found


@tap.test("secrets from the service manager; files that others can read are refused")
def secret_sources():
    folder = bench.path("credentials")
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "token"), "w", encoding="utf-8") as file:
        file.write(SECRET)
    os.chmod(os.path.join(folder, "token"), 0o400)
    http = with_secret(source={"credential": "token"})
    before = auth_seen()
    process = bench.start([vm_file(http), "--", *join([("get", "https://api.test/echo", 0)])],
                          env={**os.environ, "CREDENTIALS_DIRECTORY": folder})
    assert bench.finish(process).outcome == "exit:0"
    assert auth_seen() == before + 1
    ended = bench.finish(start([("say", "x")], http))
    assert ended.status == 65 and "CREDENTIALS_DIRECTORY" in ended.stderr, ended
    http = with_secret()
    os.chmod(bench.path("token"), 0o644)
    ended = bench.finish(start([("say", "x")], http))
    assert ended.status == 65 and "0600" in ended.stderr and SECRET not in ended.stderr, ended


@tap.test("servers that send too much")
def too_much():
    http = raw_allowed()
    paths = ["headers", "line", "endless", "huge", "bomb"]
    found = get(*(f"{RAW}/{path}" for path in paths), http=http, timeout=60)
    assert [reply.status for reply in found] == [FAILED, FAILED, TOO_LARGE, TOO_LARGE, TOO_LARGE], \
        found
    # What was sent before the end was seen is what sockets hold.
    sent = [int(line.split()[1]) for line in world.log("raw.log").splitlines()
            if line.startswith("sent ")]
    assert sent and max(sent) < 16384, sent


@tap.test("servers that are slow, break off, or do not speak HTTP")
def wrong_servers():
    slow = get(f"{RAW}/silent", f"{RAW}/loris", http=raw_allowed(request_ms=1500))
    assert all(reply.status == TIMED_OUT for reply in slow), slow
    idle = one(f"{RAW}/silent", http=raw_allowed(idle_ms=1000))
    assert idle.status == TIMED_OUT, idle
    broken = get(*(f"{RAW}/{path}" for path in ("short", "old", "nonsense", "two")),
                 http=raw_allowed())
    assert all(reply.status == FAILED and not reply.body for reply in broken), broken
    control, hints = get(f"{RAW}/control", f"{RAW}/hints", http=raw_allowed())
    assert "X-Control: a [2Jb " in control.headers and control.body == b"ok", control
    assert hints.http == 200 and not any("Link" in line for line in hints.headers), hints
    closed = one("http://api.test:9999/", http=allowing({"origin": "http://api.test:9999"}))
    assert closed.status == FAILED, closed


WRONG = [
    # method, scheme, host, port, path, headers
    ("get", "https", "api.test", "443", "/", "-"),
    ("CONNECT", "https", "api.test", "443", "/", "-"),
    ("TRACE", "https", "api.test", "443", "/", "-"),
    ("GET\r\nX: y", "https", "api.test", "443", "/", "-"),
    ("GET", "file", "api.test", "443", "/", "-"),
    ("GET", "HTTPS", "api.test", "443", "/", "-"),
    ("GET", "https", "API.test", "443", "/", "-"),
    ("GET", "https", "api.test.", "443", "/", "-"),
    ("GET", "https", "user@api.test", "443", "/", "-"),
    ("GET", "https", "api.test:443", "443", "/", "-"),
    ("GET", "https", "api.test/x", "443", "/", "-"),
    ("GET", "https", "api.test#", "443", "/", "-"),
    ("GET", "https", "127.1", "443", "/", "-"),
    ("GET", "https", "0x7f000001", "443", "/", "-"),
    ("GET", "https", "2130706433", "443", "/", "-"),
    ("GET", "https", "127.0.0.01", "443", "/", "-"),
    ("GET", "https", "[::1]", "443", "/", "-"),
    ("GET", "https", "::1%lo", "443", "/", "-"),
    ("GET", "https", "api.test", "0443", "/", "-"),
    ("GET", "https", "api.test", "0", "/", "-"),
    ("GET", "https", "api.test", "65536", "/", "-"),
    ("GET", "https", "api.test", "443", "-", "-"),
    ("GET", "https", "api.test", "443", "hello", "-"),
    ("GET", "https", "api.test", "443", "/a/../b", "-"),
    ("GET", "https", "api.test", "443", "/a/./b", "-"),
    ("GET", "https", "api.test", "443", "//a", "-"),
    ("GET", "https", "api.test", "443", "/a//b", "-"),
    ("GET", "https", "api.test", "443", "/%2e%2e/b", "-"),
    ("GET", "https", "api.test", "443", "/a%2Fb", "-"),
    ("GET", "https", "api.test", "443", "/a%5Cb", "-"),
    ("GET", "https", "api.test", "443", "/a\\b", "-"),
    ("GET", "https", "api.test", "443", "/..;/b", "-"),
    ("GET", "https", "api.test", "443", "/%41", "-"),
    ("GET", "https", "api.test", "443", "/%00", "-"),
    ("GET", "https", "api.test", "443", "/%zz", "-"),
    ("GET", "https", "api.test", "443", "/%4", "-"),
    ("GET", "https", "api.test", "443", "/a b", "-"),
    ("GET", "https", "api.test", "443", "/a#b", "-"),
    ("GET", "https", "api.test", "443", "/ HTTP/1.1\r\nHost: forbidden.test\r\n\r\nGET /", "-"),
    ("GET", "https", "api.test", "443", "/", "Host: forbidden.test"),
    ("GET", "https", "api.test", "443", "/", "Content-Length: 5"),
    ("GET", "https", "api.test", "443", "/", "Transfer-Encoding: chunked"),
    ("GET", "https", "api.test", "443", "/", "connection: upgrade"),
    ("GET", "https", "api.test", "443", "/", "Accept-Encoding: gzip"),
    ("GET", "https", "api.test", "443", "/", "Proxy-Authorization: x"),
    ("GET", "https", "api.test", "443", "/", "X-HTTP-Method-Override: DELETE"),
    ("GET", "https", "api.test", "443", "/", "X-A: b\r"),
    ("GET", "https", "api.test", "443", "/", "X-A : b"),
    ("GET", "https", "api.test", "443", "/", "X_A: b"),
    ("GET", "https", "api.test", "443", "/", " X-A: b"),
    ("GET", "https", "api.test", "443", "/", "no colon"),
]


@tap.test(f"{len(WRONG)} requests that could be read in two ways")
def two_ways():
    http = allowing({"origin": "https://api.test", "methods": ALL})
    before = world.log("access.log")
    output = run([("fields", *case) for case in WRONG], http).decode().splitlines()
    assert len(output) == len(WRONG)
    for case, line in zip(WRONG, output):
        assert line.startswith(f"fields {INVALID} ") and len(line) > 14, (case, line)
    assert world.log("access.log") == before


@tap.test("payloads that are not made of fields")
def payloads():
    cases = [(1, 0, "00"), (1, 0, ""), (1, 0, "ff" * 64), (1, 5, ""), (2, 0, "01" * 8),
             (3, 7, ""), (4, 7, ""), (3, 0, ""), (9, 0, "")]
    output = run([("raw", *case) for case in cases]).decode().splitlines()
    assert len(output) == len(cases), output
    assert all(int(line.split()[1]) in (INVALID, NOT_FOUND, DENIED) for line in output), output


@tap.test("streams: pieces as they come, large ones at the model's pace, closed ones stay closed")
def streams():
    output = run([("stream", f"{RAW}/pieces")], raw_allowed()).decode()
    assert "".join(f"piece {n}\n" for n in range(5)) in output, output
    words = output.splitlines()[-1].split()
    assert words[1] == "0" and int(words[3]) >= 4 and words[-1] == "0", words
    output = run([("stream", "https://api.test/big.txt")], max_reply_bytes=8192).decode()
    assert " bytes 200000 close 0" in output, output[-200:]
    output = run([("open", f"{RAW}/wait"), ("read", 1), ("close", 1), ("read", 1), ("close", 1),
                  ("read", 2), ("close", 999999)], raw_allowed()).decode().splitlines()
    assert output == ["open 0 1", "read 0 5", "close 0", "read 2 0", "close 2", "read 2 0",
                      "close 2"], output


@tap.test("at most 16 streams at once; they do not keep others from working")
def many_streams():
    output = run([*[("open", f"{RAW}/wait")] * 17, ("get", f"{RAW}/hints", 0)],
                 raw_allowed()).decode()
    lines = output.splitlines()
    assert [line.split()[1] for line in lines[:17]] == ["0"] * 16 + [str(EXHAUSTED)], lines
    assert "= 0 200" in output


@tap.test("replies that do not fit the port")
def large():
    found = get("https://api.test/big.txt", "https://api.test/hello", max_reply_bytes=1024)
    assert found[0].status == TOO_LARGE and found[1].http == 200, found
    found = get("https://api.test/big.txt", max_reply_bytes=300000)
    assert len(found[0].body) == 200000, found


@tap.test("a proxy is told the address that was checked")
def proxy():
    http = settings(proxy="http://%s:%d" % http_world.PROXY)
    found = get("https://api.test/hello", "https://private.test/hello", http=http)
    assert found[0].body == b"hello from api.test\n" and found[1].status == DENIED, found
    lines = [line for line in world.log("raw.log").splitlines() if line.startswith("proxy ")]
    assert "proxy CONNECT 11.0.0.1:443 HTTP/1.1" in lines, lines
    assert not any("test" in line or "10.9" in line for line in lines), lines


@tap.test("the environment changes nothing: proxies, keys, authorities")
def environment():
    keys = bench.path("keylog")
    process = bench.start([vm_file(), "--", *join([("get", "https://api.test/hello", 0)])],
                          env={**os.environ, "https_proxy": "http://11.0.0.2:1",
                               "ALL_PROXY": "socks5://11.0.0.2:1", "SSLKEYLOGFILE": keys,
                               "RES_OPTIONS": "attempts:1", "LOCALDOMAIN": "evil.test"})
    ended = bench.finish(process)
    assert ended.outcome == "exit:0" and b"hello from api.test" in ended.stdout, ended
    assert not os.path.exists(keys)


def waits():
    return world.log("raw.log").count("waiting")


def backend_of(process):
    def find():
        for pid in os.listdir("/proc"):
            if pid.isdigit():
                try:
                    with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
                        text = file.read()
                    name, parent = text[text.index("("):].split()[0], \
                        text[text.rindex(")") + 2:].split()[1]
                    if name == "(guillotine-http)" and int(parent) == process.pid:
                        return int(pid)
                except OSError:
                    pass
        return None

    assert wait_until(find, 10), bench.finish(process)
    return find()


@tap.test("the process is locked down, holds no file, and its secret is in no argument")
def sandbox():
    waiting = waits()
    process = start([("open", f"{RAW}/wait"), ("read", 1), ("read", 1)],
                    with_secret(rules=[{"origin": RAW}]))
    try:
        assert wait_until(lambda: waits() > waiting, 10)
        pid = backend_of(process)
        with open(f"/proc/{pid}/status", encoding="utf-8") as file:
            status = dict(line.split(":\t", 1) for line in file.read().splitlines() if ":\t" in line)
        assert status["Seccomp"] == "2" and status["NoNewPrivs"] == "1", status
        assert status["CapEff"].strip("0\n") == "" and status["CapBnd"].strip("0\n") == "", status
        assert status["Uid"].split()[0] == "65534", status
        assert os.listdir(f"/proc/{pid}/root") == []
        files = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
        kinds = {name.split(":")[0] for name in files}
        assert kinds <= {"socket", "anon_inode", "pipe", "/dev/null"}, files
        with open(f"/proc/{pid}/environ", "rb") as environ, \
                open(f"/proc/{pid}/cmdline", "rb") as words:
            assert SECRET.encode() not in environ.read() + words.read()
    finally:
        process.kill()
        bench.finish(process)


@tap.test("raising the level cuts connections that are open")
def severed():
    closed = world.log("raw.log").count("closed")
    waiting = waits()
    process = start([("open", f"{RAW}/wait"), ("read", 1), ("read", 1)],
                    raw_allowed(), options=["--name", "cut"])
    status = bench.wait_running("cut", process)
    assert status
    assert wait_until(lambda: waits() > waiting, 10)
    done = bench.command("isolate", "--runtime-dir", bench.runtime, "cut", "severed")
    assert done.returncode == 0, done
    assert wait_until(lambda: world.log("raw.log").count("closed") > closed, 10), \
        world.log("raw.log")[-500:]
    process.kill()
    bench.finish(process)


@tap.test("a process that dies is started again; requests say so")
def restart():
    waiting = waits()
    process = start([("open", f"{RAW}/wait"), ("read", 1), ("read", 1),
                     ("until", "https://api.test/hello"),
                     ("repeat", 50, "https://api.test/hello")],
                    allowing({"origin": RAW}, {"origin": "https://api.test"}))
    pid = backend_of(process)
    assert wait_until(lambda: waits() > waiting, 10)
    time.sleep(0.3)  # until the second read waits
    os.kill(pid, signal.SIGKILL)
    ended = bench.finish(process)
    assert ended.outcome == "exit:0", ended
    lines = ended.stdout.decode().splitlines()
    assert lines == ["open 0 1", "read 0 5", "read 104 0", "until 0 200", "repeat 50"], lines


@tap.test("a policy document decides on hosts and paths, and redacts replies")
def policy():
    document = {"format": "guillotine-policy/1", "ports": {"console": {"kind": "console", "rules": [
        {"name": "talk", "outcome": "allow"}]}, "http": {"kind": "http", "rules": [
        {"name": "writes", "outcome": "deny",
         "where": {"method": {"equals": "POST"}}},
        {"name": "api", "outcome": "allow", "operations": ["fetch"],
         "where": {"host": {"equals": "api.test"}, "path": {"prefix": "/v1/"}}}]}}}
    path = bench.write("policy.json", json.dumps(document))
    done = bench.command("policy", "check", path)
    assert done.returncode == 0, done
    http = allowing({"origin": "https://api.test", "methods": ALL})
    output = run([("get", "https://api.test/v1/a", 0), ("get", "https://api.test/hello", 0),
                  ("ask", "POST", "https://api.test/v1/a", "-", "-")], http,
                 options=["--policy", path])
    assert [reply.status for reply in replies(output)] == [OK, DENIED, DENIED], output


BAD = [
    ({}, "allow"),
    ({"allow": [{"origin": "api.test"}]}, "origin"),
    ({"allow": [{"origin": "https://API.test"}]}, "lower case"),
    ({"allow": [{"origin": "https://api.test/path"}]}, "host"),
    ({"allow": [{"origin": "https://api.test:99999"}]}, "port"),
    ({"allow": [{"origin": "https://*.1.2.3.4"}]}, "host"),
    ({"allow": [{"origin": "https://api.test", "methods": ["CONNECT"]}]}, "GET"),
    ({"allow": [{"origin": "https://api.test", "path": "("}]}, "1"),
    ({"allow": [{"origin": "https://api.test", "path": "a)|(b"}]}, "1"),
    ({"allow": [], "networks": ["10.0.0.1/8"]}, "BITS"),
    ({"allow": [], "nameservers": ["dns.test"]}, "ADDRESS"),
    ({"allow": [], "names": {"API": ["10.0.0.1"]}}, "lower case"),
    ({"allow": [], "names": {"api": []}}, "address"),
    ({"allow": [], "proxy": "http://proxy.test:3128"}, "http://ADDRESS:PORT"),
    ({"allow": [], "certificate": "x.pem"}, "key"),
    ({"allow": [], "request_ms": 3600000}, "timeout_ms"),
    ({"allow": [], "secrets": {"a": {}}}, "either"),
    ({"allow": [], "inject": [{"origin": "https://a.test", "header": "X", "value": "secret:b"}]},
     "no secret"),
    ({"allow": [], "secrets": {"a": {"file": "f"}},
      "inject": [{"origin": "http://a.test", "header": "X", "value": "secret:a"}]}, "https only"),
    ({"allow": [], "secrets": {"a": {"file": "f"}},
      "inject": [{"origin": "https://a.test", "header": "X Y", "value": "secret:a"}]}, "header"),
    ({"allow": [], "secrets": {"a": {"file": "f"}},
      "inject": [{"origin": "https://a.test", "header": "X", "value": "a"}]}, "secret:NAME"),
]


@tap.test("settings that make no sense are refused with their place", needs_kvm=False)
def bad_settings():
    for http, part in BAD:
        port = {"kind": "http", "settings": http}
        path = bench.write_vm("bad.json", image=GUEST, ports=[{"kind": "console"}, port])
        done = bench.command("run", *bench.directories(), path)
        text = done.stderr.decode()
        assert done.returncode == 65, (http, done)
        one_line(text, "bad.json:1:", "/ports/1", part)


def main():
    try:
        return 0 if tap.run() else 1
    finally:
        if world:
            world.close()
        bench.close()


if __name__ == "__main__":
    sys.exit(main())
