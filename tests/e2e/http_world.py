# SPDX-License-Identifier: Apache-2.0
"""An internet of two network namespaces: one for the VM, one for what it may meet.

The caller's process has to be alone in a network namespace (enter_namespace). The servers are
nginx, dnsmasq, and small ones of this file that do what no honest server does.
"""

import os
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time

OID = "2.25.233451672903425191231656163176940724868"

# Of the servers' end. All are public but those whose names say otherwise.
HOSTS = {
    "api.test": ["11.0.0.1"],
    "other.test": ["11.0.0.1"],
    "a.suffix.test": ["11.0.0.1"],
    "a.b.suffix.test": ["11.0.0.1"],
    "suffix.test": ["11.0.0.1"],
    "notsuffix.test": ["11.0.0.1"],
    "forbidden.test": ["11.0.0.2"],
    "v6.test": ["2600:abcd::1"],
    "two.test": ["11.0.0.9", "11.0.0.1"],
    "private.test": ["10.9.0.1"],
    "mixed.test": ["11.0.0.1", "10.9.0.1"],
    "meta.test": ["169.254.169.254"],
    "local.test": ["127.0.0.1"],
    "mapped.test": ["::ffff:11.0.0.1"],
    "own.test": ["11.0.0.100"],
    "zero.test": ["0.0.0.0"],
}
ADDRESSES = ["11.0.0.1/24", "11.0.0.2/24", "11.0.0.8/24", "11.0.0.53/24", "10.9.0.1/24",
             "169.254.169.254/32", "2600:abcd::1/64"]

RAW_PORT = 9000
PROXY = ("11.0.0.8", 3128)
TRICKY_DNS_PORT = 5353

NGINX = """
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 128; }}
http {{
  log_format wire '$server_addr $server_port $request_method $request_uri '
                  'host=$http_host auth=$http_authorization key=$http_x_key ae=$http_accept_encoding '
                  'agent=$http_user_agent proto=$server_protocol';
  access_log {folder}/access.log wire;
  default_type text/plain;
  root {folder}/www;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u;
  scgi_temp_path {folder}/s;
  ssl_certificate {folder}/api.pem;
  ssl_certificate_key {folder}/api.key;
  server {{
    listen 80; listen 443 ssl; listen [::]:443 ssl;
    location = /hello {{ return 200 "hello from $host\\n"; }}
    location = /echo {{
      add_header X-Seen "$http_authorization";
      return 200 "auth=$http_authorization key=$http_x_key agent=$http_user_agent\\n";
    }}
    location = /gzip {{ gzip on; gzip_min_length 1; gzip_types text/plain;
      try_files /big.txt =404; }}
    location = /encoded {{ add_header Content-Encoding gzip; return 200 "$http_authorization"; }}
    location = /here {{ return 302 /hello; }}
    location = /there {{ return 302 https://other.test/hello; }}
    location = /away {{ return 302 https://forbidden.test/hello; }}
    location = /plain {{ return 302 http://api.test/hello; }}
    location = /inside {{ return 302 https://private.test/hello; }}
    location = /round {{ return 302 /round; }}
    location = /file {{ return 302 file:///etc/passwd; }}
    location /v1/ {{ return 200 "v1 $request_method $request_uri\\n"; }}
    location = /post {{ client_max_body_size 2m; proxy_pass http://11.0.0.1:{raw}/post; }}
  }}
  server {{ listen 1443 ssl; ssl_certificate {folder}/self.pem; ssl_certificate_key {folder}/self.key;
    return 200 "self\\n"; }}
  server {{ listen 2443 ssl; ssl_certificate {folder}/expired.pem;
    ssl_certificate_key {folder}/expired.key; return 200 "expired\\n"; }}
  server {{ listen 3443 ssl; ssl_certificate {folder}/name.pem; ssl_certificate_key {folder}/name.key;
    return 200 "name\\n"; }}
  server {{ listen 4443 ssl; ssl_certificate {folder}/marked.pem;
    ssl_certificate_key {folder}/marked.key; return 200 "marked\\n"; }}
  server {{ listen 5443 ssl; ssl_client_certificate {folder}/ca.pem; ssl_verify_client on;
    return 200 "client $ssl_client_s_dn\\n"; }}
  server {{ listen 6443 ssl; ssl_certificate {folder}/under.pem; ssl_certificate_key {folder}/under.key;
    return 200 "under\\n"; }}
  server {{ listen 7443 ssl; ssl_protocols TLSv1.1; ssl_ciphers ALL:@SECLEVEL=0;
    return 200 "old\\n"; }}
}}
"""


def enter_namespace():
    """Runs the program again in a network namespace of its own, which ends with it."""
    if os.geteuid() != 0 or not shutil.which("nginx", path="/usr/sbin:/usr/bin") or \
            not shutil.which("dnsmasq", path="/usr/sbin:/usr/bin"):
        return False
    if os.environ.get("GUILLOTINE_TEST_NAMESPACE") != "1":
        if subprocess.run(["unshare", "--net", "true"], capture_output=True, check=False).returncode:
            return False
        environment = {**os.environ, "GUILLOTINE_TEST_NAMESPACE": "1"}
        os.execvpe("unshare", ["unshare", "--net", sys.executable, *sys.argv], environment)
    return True


def call(*command):
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode == 0, (command, done.stderr)
    return done.stdout.decode()


class World:
    """Starts it all; close() ends it."""

    def __init__(self, folder):
        self.folder = os.path.join(folder, "world")
        os.makedirs(os.path.join(self.folder, "www"))
        os.chmod(self.folder, 0o755)
        self.processes = []
        self.make_network()
        self.make_certificates()
        with open(os.path.join(self.folder, "www", "big.txt"), "wb") as file:
            file.write(b"0123456789abcdef" * 12500)
        self.start_servers()

    def path(self, name):
        return os.path.join(self.folder, name)

    def spawn(self, *command, **keys):
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, **keys)
        self.processes.append(process)
        return process

    def inside(self, *command, **keys):
        """Starts a program where the servers are."""
        return self.spawn("nsenter", "-t", str(self.keeper.pid), "-n", *command, **keys)

    def make_network(self):
        self.keeper = self.spawn("unshare", "--net", "sleep", "infinity")
        own = os.readlink("/proc/self/ns/net")
        deadline = time.monotonic() + 10
        while os.readlink(f"/proc/{self.keeper.pid}/ns/net") == own:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        there = ("nsenter", "-t", str(self.keeper.pid), "-n")
        call("ip", "link", "set", "lo", "up")
        call("ip", "link", "add", "near", "type", "veth", "peer", "name", "far", "netns",
             str(self.keeper.pid))
        call("ip", "addr", "add", "11.0.0.100/24", "dev", "near")
        call("ip", "-6", "addr", "add", "2600:abcd::100/64", "dev", "near", "nodad")
        call("ip", "link", "set", "near", "up")
        call("ip", "route", "add", "default", "via", "11.0.0.1")
        call(*there, "ip", "link", "set", "lo", "up")
        for address in ADDRESSES:
            call(*there, "ip", "addr", "add", address, "dev", "far",
                 *(["nodad"] if ":" in address else []))
        call(*there, "ip", "link", "set", "far", "up")

    def openssl(self, *arguments):
        call("openssl", *arguments)

    def make_certificate(self, name, subject="api.test", issuer="ca", extra=(), expired=False,
                         authority=False):
        key, request, certificate = (self.path(f"{name}.{end}") for end in ("key", "csr", "pem"))
        names = ",".join(f"DNS:{host}" for host in
                         ([*HOSTS, "*.suffix.test"] if subject == "api.test" else [subject]))
        extensions = self.path(f"{name}.ext")
        with open(extensions, "w", encoding="utf-8") as file:
            file.write("basicConstraints=critical,CA:TRUE\n" if authority else
                       f"subjectAltName={names},IP:11.0.0.1\n")
            file.writelines(f"{line}\n" for line in extra)
        self.openssl("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                     "-nodes", "-keyout", key, "-out", request, "-subj", f"/CN={name}.{subject}")
        signer = ["-signkey", key] if issuer is None else \
            ["-CA", self.path(f"{issuer}.pem"), "-CAkey", self.path(f"{issuer}.key"),
             "-CAcreateserial"]
        days = ["-days", "-1"] if expired else ["-days", "30"]
        self.openssl("x509", "-req", "-in", request, *signer, *days, "-extfile", extensions,
                     "-out", certificate)

    def make_certificates(self):
        mark = f"{OID}=ASN1:UTF8String:guillotine-host/1"
        self.make_certificate("ca", "authority", issuer=None, authority=True)
        self.make_certificate("api")
        self.make_certificate("self", issuer=None)
        self.make_certificate("expired", expired=True)
        self.make_certificate("name", subject="somebody.test")
        self.make_certificate("marked", extra=[mark])
        self.make_certificate("host", subject="contained.test", extra=[mark])
        self.make_certificate("unmarked", subject="contained.test")
        # A marked authority: its certificates are those of contained hosts.
        self.make_certificate("middle", "middle", authority=True, extra=[mark])
        self.make_certificate("under", issuer="middle")
        with open(self.path("under.pem"), "a", encoding="utf-8") as file, \
                open(self.path("middle.pem"), encoding="utf-8") as middle:
            file.write(middle.read())

    def start_servers(self):
        with open(self.path("nginx.conf"), "w", encoding="utf-8") as file:
            file.write(NGINX.format(folder=self.folder, raw=RAW_PORT))
        environment = {**os.environ, "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
        with open(self.path("nginx.out"), "wb") as output:
            self.inside("nginx", "-c", self.path("nginx.conf"), "-p", self.folder, stdout=output,
                        stderr=output, env=environment)
        records = []
        for host, addresses in HOSTS.items():
            records += [f"--host-record={host},{address}" for address in addresses]
        with open(self.path("dns.log"), "wb") as output:
            self.inside("dnsmasq", "--keep-in-foreground", "--no-resolv", "--local=/test/", "--no-hosts", "--no-daemon",
                        "--listen-address=11.0.0.53", "--bind-interfaces", "--log-queries",
                        "--conf-file=/dev/null", "--user=root", *records, stdout=output,
                        stderr=output, env=environment)
        with open(self.path("raw.log"), "wb") as output:
            self.inside(sys.executable, os.path.abspath(__file__), "serve", self.folder,
                        stdout=output, stderr=output)
        for address in (("11.0.0.1", 443), ("11.0.0.53", 53), ("11.0.0.1", RAW_PORT), PROXY):
            self.wait_for(address)

    def wait_for(self, address):
        deadline = time.monotonic() + 15
        while True:
            try:
                socket.create_connection(address, 1).close()
                return
            except OSError:
                if time.monotonic() > deadline:
                    raise AssertionError(f"{address} does not answer: {self.log('nginx.out')} "
                                         f"{self.log('error.log')} {self.log('dns.log')} "
                                         f"{self.log('raw.log')}") from None
                time.sleep(0.02)

    def log(self, name):
        try:
            with open(self.path(name), encoding="utf-8", errors="replace") as file:
                return file.read()
        except OSError:
            return ""

    def close(self):
        for process in reversed(self.processes):
            process.send_signal(signal.SIGKILL if process is self.keeper else signal.SIGTERM)
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


# What follows runs where the servers are.


def note(text):
    print(text, flush=True)


def read_head(connection):
    head = b""
    while b"\r\n\r\n" not in head and len(head) < 65536:
        more = connection.recv(4096)
        if not more:
            break
        head += more
    return head


def send_forever(connection, piece, most=1 << 30):
    sent = 0
    try:
        while sent < most:
            connection.sendall(piece)
            sent += len(piece)
    except OSError:
        pass
    note(f"sent {sent // 1024} KiB")


def chunk(data):
    return b"%x\r\n%s\r\n" % (len(data), data)


def serve_post(connection, head):
    length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
    body = head.split(b"\r\n\r\n", 1)[1]
    while len(body) < length:
        body += connection.recv(65536)
    answer = b"posted %d %d" % (length, sum(body))
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(answer), answer))


def serve_bad(connection, path, head):
    """What is wrong is the path."""
    ok = b"HTTP/1.1 200 OK\r\n"
    if path == "/headers":
        connection.sendall(ok)
        send_forever(connection, b"X-Padding: " + b"p" * 1000 + b"\r\n")
    elif path == "/line":
        connection.sendall(ok + b"X-Long: ")
        send_forever(connection, b"l" * 65536)
    elif path == "/endless":
        connection.sendall(ok + b"\r\n")
        send_forever(connection, b"e" * 65536)
    elif path == "/huge":
        connection.sendall(ok + b"Content-Length: 99999999999\r\n\r\n")
        send_forever(connection, b"h" * 65536)
    elif path == "/bomb":
        import zlib
        packer = zlib.compressobj(9, zlib.DEFLATED, 31)
        bomb = packer.compress(bytes(64 << 20)) + packer.flush()
        connection.sendall(ok + b"Transfer-Encoding: gzip, chunked\r\n\r\n" + chunk(bomb) + chunk(b""))
    elif path == "/silent":
        time.sleep(30)
    elif path == "/loris":
        connection.sendall(ok)
        for letter in b"X-Slow: " + b"s" * 60:
            connection.sendall(bytes([letter]))
            time.sleep(0.5)
    elif path == "/short":
        connection.sendall(ok + b"Content-Length: 100\r\n\r\nshort")
    elif path == "/old":
        connection.sendall(b"no status line, just text")
    elif path == "/nonsense":
        connection.sendall(b"HTTP/1.1 abc\r\n\r\n")
    elif path == "/two":
        connection.sendall(ok + b"Content-Length: 5\r\nContent-Length: 50\r\n\r\nhello")
    elif path == "/control":
        connection.sendall(ok + b"X-Control: a\x1b[2Jb\x07\r\nContent-Length: 2\r\n\r\nok")
    elif path == "/hints":
        connection.sendall(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + ok +
                           b"Content-Length: 2\r\n\r\nok")
    elif path == "/pieces":
        connection.sendall(ok + b"Transfer-Encoding: chunked\r\n\r\n")
        for number in range(5):
            connection.sendall(chunk(b"piece %d\n" % number))
            time.sleep(0.15)
        connection.sendall(chunk(b""))
    elif path == "/wait":
        connection.sendall(ok + b"Content-Length: 1000000\r\n\r\nbegun")
        note("waiting")
        connection.settimeout(60)
        note("closed" if connection.recv(1) == b"" else "spoken to")
    else:
        note(f"unknown {path} {head[:80]!r}")


def serve_one(connection, peer, port):
    del peer
    try:
        head = read_head(connection)
        words = head.split(b" ")
        path = words[1].decode() if len(words) > 1 else ""
        note(f"raw {port} {path}")
        if path == "/post":
            serve_post(connection, head)
        elif path == "/leak":
            leak(connection, head)
        else:
            serve_bad(connection, path, head)
    except OSError as error:
        note(f"{error}")
    finally:
        connection.close()


def leak(connection, head):
    """The secret comes back in pieces, at every place, in a chunk or across two."""
    secret = head.split(b"uthorization: Bearer ")[1].split(b"\r\n")[0]
    connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    text = b"<" + secret + b">" + secret + secret + b"|"
    for cut in range(1, len(text)):
        connection.sendall(chunk(text[:cut]))
        time.sleep(0.002)
        connection.sendall(chunk(text[cut:]))
    connection.sendall(chunk(b"end") + chunk(b""))


def listen(address, serve, context=None):
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(address)
    listener.listen(64)

    def loop():
        while True:
            connection, peer = listener.accept()

            def one(connection=connection, peer=peer):
                if context:
                    try:
                        connection = context.wrap_socket(connection, server_side=True)
                    except OSError as error:
                        note(f"handshake: {error}")
                        return
                serve(connection, peer, address[1])

            threading.Thread(target=one, daemon=True).start()

    threading.Thread(target=loop, daemon=True).start()


def serve_proxy(connection, peer, port):
    """CONNECT only; says what it was asked for."""
    del peer, port
    head = read_head(connection)
    note(f"proxy {head.split(chr(13).encode())[0].decode()}")
    host, port = head.split(b" ")[1].decode().rsplit(":", 1)
    server = socket.create_connection((host.strip("[]"), int(port)))
    connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")

    def pump(source, target):
        try:
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    threading.Thread(target=pump, args=(connection, server), daemon=True).start()
    pump(server, connection)


def answer_dns(question, turn):
    """Public first, private then, and so on; nonsense for names that ask for it."""
    name_end = question.index(b"\0", 12)
    kind = struct.unpack(">H", question[name_end + 1:name_end + 3])[0]
    asked = question[12:name_end + 5]
    if b"\x08nonsense" in asked:
        return os.urandom(40)
    if b"\x06silent" in asked:
        return None
    if kind != 1:
        return question[:2] + b"\x81\x80" + struct.pack(">HHHH", 1, 0, 0, 0) + asked
    address = bytes([11, 0, 0, 1]) if turn % 2 == 0 else bytes([10, 9, 0, 1])
    return question[:2] + b"\x81\x80" + struct.pack(">HHHH", 1, 1, 0, 0) + asked + \
        b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 0, 4) + address


def serve_dns():
    turns = {}
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("11.0.0.53", TRICKY_DNS_PORT))
    while True:
        question, peer = server.recvfrom(2048)
        name_end = question.index(b"\0", 12)
        key = question[12:name_end + 3]
        turns[key] = turns.get(key, -1) + 1
        answer = answer_dns(question, turns[key])
        if answer:
            server.sendto(answer, peer)


def main():
    folder = sys.argv[2]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(os.path.join(folder, "api.pem"), os.path.join(folder, "api.key"))
    for address in ("11.0.0.1", "10.9.0.1", "169.254.169.254"):
        listen((address, RAW_PORT), serve_one)
    listen(("11.0.0.1", RAW_PORT + 1), serve_one, context)
    listen(PROXY, serve_proxy)
    threading.Thread(target=serve_dns, daemon=True).start()
    signal.sigwait([signal.SIGTERM])


if __name__ == "__main__" and len(sys.argv) > 1 and sys.argv[1] == "serve":
    main()
