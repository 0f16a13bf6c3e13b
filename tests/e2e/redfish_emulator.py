# SPDX-License-Identifier: Apache-2.0
"""A management controller that speaks Redfish over TLS, honestly or not, and its certificates."""

import base64
import hashlib
import http.server
import json
import os
import socket
import ssl
import subprocess
import threading

SYSTEM = "/redfish/v1/Systems/1"
SESSIONS = "/redfish/v1/SessionService/Sessions"
USER = "operator"
PASSWORD = 'pa"ss\\word'


def openssl(folder, *arguments):
    done = subprocess.run(["openssl", *arguments], cwd=folder, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def make_authority(folder, name):
    """A self-made CA: NAME.pem and NAME.key."""
    openssl(folder, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
            "-nodes", "-keyout", f"{name}.key", "-out", f"{name}.pem", "-days", "30",
            "-subj", f"/CN=Test {name}", "-addext", "basicConstraints=critical,CA:TRUE")


def make_certificate(folder, authority, name, alternative="IP:127.0.0.1", days="30"):
    """A server certificate NAME.pem with NAME.key. Negative days: it has expired."""
    openssl(folder, "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
            "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", "/CN=bmc")
    with open(os.path.join(folder, f"{name}.ext"), "w", encoding="utf-8") as file:
        file.write(f"subjectAltName={alternative}\nbasicConstraints=CA:FALSE\n")
    openssl(folder, "x509", "-req", "-in", f"{name}.csr", "-CA", f"{authority}.pem", "-CAkey",
            f"{authority}.key", "-CAcreateserial", "-out", f"{name}.pem", "-days", days,
            "-extfile", f"{name}.ext")


def pin_of(folder, name):
    """What spki_sha256 wants for a certificate."""
    public = openssl(folder, "x509", "-in", f"{name}.pem", "-pubkey", "-noout")
    der = base64.b64decode("".join(public.decode().splitlines()[1:-1]))
    return base64.b64encode(hashlib.sha256(der).digest()).decode()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def answer(self, status, body=b"", headers=()):
        if isinstance(body, (dict, list)):
            body = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        for key, value in headers:
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(body)

    def cut(self):
        """The connection breaks without a reply."""
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def authenticated(self):
        bmc = self.server.bmc
        if self.headers.get("X-Auth-Token") in bmc.tokens:
            return True
        basic = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        return self.headers.get("Authorization") == basic

    def do_POST(self):
        bmc = self.server.bmc
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        bmc.requests.append(("POST", self.path, body))
        if self.path == SESSIONS:
            if json.loads(body) != {"UserName": USER, "Password": PASSWORD} or bmc.denies:
                self.answer(401)
                return
            token = os.urandom(8).hex()
            bmc.tokens.add(token)
            self.answer(201, {}, [("X-Auth-Token", token),
                                  ("Location", f"{SESSIONS}/{token}")])
            return
        if not self.authenticated() or bmc.denies:
            self.answer(401)
            return
        assert self.path == SYSTEM + "/Actions/ComputerSystem.Reset", self.path
        bmc.reset(self, json.loads(body)["ResetType"])

    def do_GET(self):
        bmc = self.server.bmc
        bmc.requests.append(("GET", self.path, b""))
        if not self.authenticated() or bmc.denies:
            self.answer(401)
            return
        bmc.show(self)

    def do_DELETE(self):
        bmc = self.server.bmc
        bmc.requests.append(("DELETE", self.path, b""))
        bmc.tokens.discard(self.path.rsplit("/", 1)[1])
        self.answer(204)


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        pass  # peers that refuse us are what is tested


class Bmc:
    """A controller that runs while the context lasts. `reset` and `show` may be replaced."""

    def __init__(self, folder, certificate="bmc", reset=None, show=None, denies=False, tls=True):
        self.power = "On"
        self.tokens = set()
        self.requests = []
        self.denies = denies
        self.shows = 0
        self.resets = []
        self.own_reset = reset
        self.own_show = show
        self.server = Server(("127.0.0.1", 0), Handler)
        self.server.bmc = self
        self.port = self.server.server_address[1]
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(os.path.join(folder, f"{certificate}.pem"),
                                    os.path.join(folder, f"{certificate}.key"))
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True,
                                                     do_handshake_on_connect=False)

    def reset(self, handler, kind):
        self.resets.append(kind)
        if self.own_reset:
            self.own_reset(self, handler, kind)
            return
        self.obey(kind)
        handler.answer(204)

    def obey(self, kind):
        self.power = "Off" if kind == "ForceOff" else "On"

    def show(self, handler):
        self.shows += 1
        if self.own_show:
            self.own_show(self, handler)
            return
        handler.answer(200, self.system())

    def system(self, **more):
        return {"@odata.id": SYSTEM, "Id": "1", "PowerState": self.power,
                "Status": {"State": "Enabled"}, **more}

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *arguments):
        self.server.shutdown()
        self.server.server_close()
