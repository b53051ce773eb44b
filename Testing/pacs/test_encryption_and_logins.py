"""TLS by both protocols, tokens, keyrings; and that nothing but the configuration decides where data go."""

from __future__ import annotations

import http.client
import http.server
import shutil
import ssl
import subprocess
import threading
from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cutting_proxy import CuttingProxy
from orthanc_server import PASSWORD, USER, Orthanc
from pacs_command import Objects, Pacs, dimse_table, web_table
from storage_peer import Peer

Configure = Callable[..., Path]


@dataclass(frozen=True)
class Certificates:
    """A small authority, a server of this computer and a client, and an authority nobody trusts."""

    folder: Path

    def file(self, name: str) -> str:
        return str(self.folder / name)

    def server_context(self, ask_client: bool = False) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.file("server.pem"), self.file("server.key"))
        if ask_client:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(self.file("ca.pem"))
        return context


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    if shutil.which("openssl") is None:
        pytest.skip("needs the program openssl, to make certificates")
    folder = tmp_path_factory.mktemp("certificates")

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    (folder / "names").write_text("subjectAltName = IP:127.0.0.1\n")
    new_key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256")
    for authority in ("ca", "stranger"):
        openssl(
            *("req", "-x509", *new_key, "-nodes", "-keyout", f"{authority}.key", "-out", f"{authority}.pem"),
            *("-days", "2", "-subj", f"/CN={authority}"),
        )
    for name in ("server", "client"):
        lock = ("-passout", "pass:key secret") if name == "client" else ("-nodes",)
        openssl("req", *new_key, *lock, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        openssl(
            *("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial"),
            *("-out", f"{name}.pem", "-days", "2", "-extfile", "names"),
        )
    for key in folder.glob("*.key"):
        key.chmod(0o600)
    return Certificates(folder)


@pytest.fixture
def peer(certificates: Certificates) -> Iterator[Peer]:
    """A DIMSE peer that wants a certificate of us."""
    peer = Peer(tls=certificates.server_context(ask_client=True))
    yield peer
    peer.stop()


def test_dimse_over_tls_with_certificates_on_both_sides(
    peer: Peer, certificates: Certificates, configure: Configure, objects: Objects, pacs: Pacs
) -> None:
    ours = {
        "certificate_file": certificates.file("client.pem"),
        "key_file": certificates.file("client.key"),
        "key_password": "key secret",
    }
    ca = certificates.file("ca.pem")
    wrong_key = {**ours, "key_password": "wrong"}
    configure(
        dimse_table("good", peer.port, tls=True, ca_file=ca, **ours),
        dimse_table("untrusted", peer.port, tls=True, ca_file=certificates.file("stranger.pem"), attempts=1, **ours),
        dimse_table("nameless", peer.port, tls=True, ca_file=ca, attempts=1),
        dimse_table("elsewhere", peer.port, tls=True, ca_file=ca, server_name="pacs.example", attempts=1, **ours),
        dimse_table("plain", peer.port, attempts=1),
        dimse_table("locked", peer.port, tls=True, ca_file=ca, **wrong_key),
    )
    assert pacs("check", "good").json["encrypted"]
    sent = pacs("send", "good", objects.binary)
    assert sent.json["verified"] == 1
    assert pacs("check", "untrusted").code == "PACS_TLS"
    assert pacs("check", "elsewhere").code == "PACS_TLS"
    assert pacs("check", "locked").code == "PACS_TLS"
    for name in ("nameless", "plain"):
        assert pacs("check", name).code in ("PACS_TLS", "PACS_ASSOCIATION", "PACS_CONNECTION_LOST")
        assert pacs("send", name, objects.labelmap).status == 3
    assert len(peer.kept) == 1


def test_dicomweb_over_tls(
    orthanc: Orthanc,
    certificates: Certificates,
    configure: Configure,
    objects: Objects,
    pacs: Pacs,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    proxy = CuttingProxy(orthanc.http_port, 1 << 40, lambda: None, tls=certificates.server_context())
    url = f"https://127.0.0.1:{proxy.port}/dicom-web"
    configure(
        web_table("good", url, tls=True, ca_file=certificates.file("ca.pem")),
        web_table("untrusted", url, tls=True, ca_file=certificates.file("stranger.pem"), attempts=1),
        web_table(
            "elsewhere", url, tls=True, ca_file=certificates.file("ca.pem"), server_name="pacs.example", attempts=1
        ),
        web_table("public", url, tls=True, attempts=1),
    )
    # The environment has no say: neither in whom to trust nor through whom to go.
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", certificates.file("ca.pem"))
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    assert pacs("send", "good", objects.binary, objects.contours).json["verified"] == 2
    for name in ("untrusted", "elsewhere", "public"):
        assert pacs("check", name).code == "PACS_TLS"
    proxy.close()


@pytest.fixture
def gateway(orthanc: Orthanc) -> Iterator[http.server.ThreadingHTTPServer]:
    """What stands before many archives: it wants a token, and sends those who come to /moved elsewhere."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            if self.path.startswith("/moved"):
                self._answer(307, {"Location": "http://127.0.0.1:9/dicom-web/studies"}, b"")
            elif self.headers["Authorization"] != "Bearer token-1.2~3":
                self._answer(401, {}, b"")
            else:
                self._pass_on()

        do_POST = do_GET

        def _pass_on(self) -> None:
            headers = {key: value for key, value in self.headers.items() if key not in ("Authorization", "Host")}
            headers["Authorization"] = "Basic " + b64encode(f"{USER}:{PASSWORD}".encode()).decode()
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            behind = http.client.HTTPConnection("127.0.0.1", orthanc.http_port, timeout=10)
            behind.request(self.command, self.path, body, headers)
            answer = behind.getresponse()
            kept = {"Content-Type": answer.headers.get("Content-Type", "")}
            if "Content-Encoding" in answer.headers:
                kept["Content-Encoding"] = answer.headers["Content-Encoding"]
            self._answer(answer.status, kept, answer.read())

        def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
            self.send_response(status)
            for key, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(key, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_token_opens_the_archive_and_redirections_are_not_followed(
    gateway: http.server.ThreadingHTTPServer,
    configure: Configure,
    objects: Objects,
    pacs: Pacs,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import keyring
    from keyring.backend import KeyringBackend

    class Keyring(KeyringBackend):
        priority = 1  # type: ignore[assignment]

        def get_password(self, service: str, username: str) -> str | None:
            return "token-1.2~3" if (service, username) == ("archive", "me") else None

        def set_password(self, service: str, username: str, password: str) -> None:
            raise NotImplementedError

    before = keyring.get_keyring()
    keyring.set_keyring(Keyring())
    base = f"http://127.0.0.1:{gateway.server_port}"
    common = {"user": "", "attempts": 1}

    def token_table(name: str, path: str, token: str) -> str:
        text = web_table(name, base + path, token=token, **common)
        return "".join(line for line in text.splitlines(True) if not line.startswith(("user", "password")))

    configure(
        token_table("variable", "/dicom-web", '{ environment = "ARCHIVE_TOKEN" }'),
        token_table("keyring", "/dicom-web", '{ keyring = "archive", user = "me" }'),
        token_table("unknown", "/dicom-web", '{ keyring = "archive", user = "you" }'),
        token_table("wrong", "/dicom-web", "no-such-token"),
        token_table("moved", "/moved", "token-1.2~3"),
    )
    try:
        assert pacs("check", "variable").code == "PACS_SECRET"
        monkeypatch.setenv("ARCHIVE_TOKEN", "token-1.2~3")
        assert pacs("send", "variable", objects.contours).json["verified"] == 1
        assert pacs("check", "keyring").status == 0
        assert pacs("check", "unknown").code == "PACS_SECRET"
        assert pacs("check", "wrong").code == "PACS_LOGIN"
        assert pacs("check", "moved").code == "PACS_REDIRECTED"
        assert pacs("send", "moved", objects.contours).code == "PACS_REDIRECTED"
    finally:
        keyring.set_keyring(before)
