"""Only what is about this server is passed on from the collector, and its token goes nowhere else."""

from __future__ import annotations

import asyncio
import json
import logging
import ssl

import pytest
import tornado.httpserver
import tornado.netutil
import tornado.web

from hubmeter import collector
from hubmeter.addresses import addresses
from hubmeter.collector import Away, Collector, Refused

TOKEN = "t0p"
ROW = {"user": "jo", "server": "gpu", "state": "live", "memory_used_bytes": 7}
PUBLIC = "https://hub.example.org/services/hubmeter/"


class Hub:
    """What answers at the collector's address, as a test says."""

    def __init__(self):
        self.asked = []
        self.status, self.headers, self.body = 200, {"Content-Type": "application/json"}, b"{}"
        self.url = ""

    def answer(self, body, status=200, kind="application/json", **headers):
        self.status, self.headers = status, {"Content-Type": kind, **headers}
        self.body = body if isinstance(body, bytes) else json.dumps(body).encode()


@pytest.fixture
def hub(jp_asyncio_loop):
    one = Hub()

    class Handler(tornado.web.RequestHandler):
        def prepare(self):
            headers = self.request.headers
            one.asked.append(
                (self.request.method, self.request.uri, headers.get("Authorization"), self.request.body)
            )
            self.set_status(one.status)
            for name, value in one.headers.items():
                self.set_header(name, value)
            self.finish(one.body)

    async def listen():
        server = tornado.httpserver.HTTPServer(tornado.web.Application([(r".*", Handler)]))
        (socket,) = tornado.netutil.bind_sockets(0, "127.0.0.1")
        server.add_socket(socket)
        one.url = f"http://127.0.0.1:{socket.getsockname()[1]}/services/hubmeter/"
        return server

    server = jp_asyncio_loop.run_until_complete(listen())
    yield one
    server.stop()


def asking(url, **environ):
    said = {
        "JUPYTERHUB_USER": "jo",
        "JUPYTERHUB_SERVER_NAME": "gpu",
        "JUPYTERHUB_API_TOKEN": TOKEN,
        **environ,
    }
    return Collector(lambda: {"api_url": url}, logging.getLogger("test"), said)


@pytest.mark.parametrize(
    ("link", "environ", "found"),
    [
        ({}, {}, []),
        ({"api_url": PUBLIC}, {}, [PUBLIC]),
        ({"api_url": PUBLIC[:-1]}, {}, [PUBLIC]),
        # The operator's word is the last.
        ({"api_url": PUBLIC}, {"HUBMETER_API_URL": "http://10.0.0.1:81/x"}, ["http://10.0.0.1:81/x/"]),
        # The road that carries the link is known to work from here.
        (
            {"api_url": PUBLIC, "collector": "ws://proxy-public/services/hubmeter/link"},
            {},
            ["http://proxy-public/services/hubmeter/", PUBLIC],
        ),
        (
            {"api_url": PUBLIC, "collector": "grpcs://10.0.0.1:9"},
            {"HUBMETER_COLLECTOR": "grpcs://10.0.0.1:9 wss://proxy/services/hubmeter/link"},
            [PUBLIC, "https://proxy/services/hubmeter/"],
        ),
        # No token in the clear that the agent would not send so.
        ({}, {"HUBMETER_COLLECTOR": "ws://proxy-public/services/hubmeter/link"}, []),
        ({"collector": None}, {"HUBMETER_COLLECTOR": "ws://proxy-public/services/hubmeter/link"}, []),
        (
            {},
            {
                "HUBMETER_COLLECTOR": "ws://proxy-public/services/hubmeter/link",
                "HUBMETER_ALLOW_PLAINTEXT": "1",
            },
            ["http://proxy-public/services/hubmeter/"],
        ),
        (
            {"collector": "grpcs://10.0.0.1:9"},
            {"HUBMETER_COLLECTOR": "ws://proxy-public/services/hubmeter/link"},
            [],
        ),
        ({"api_url": "http://hub.example.org/services/hubmeter/"}, {}, []),
        (
            {"api_url": "http://hub.example.org/x/"},
            {"HUBMETER_ALLOW_PLAINTEXT": "1"},
            ["http://hub.example.org/x/"],
        ),
        ({"api_url": "http://127.0.0.1:8/"}, {}, ["http://127.0.0.1:8/"]),
        ({"api_url": "http://[::1]:8/"}, {}, ["http://[::1]:8/"]),
        ({"api_url": "http://127.0.0.1.evil.org/"}, {}, []),
        # Garbage.
        ({"api_url": 7, "collector": None}, {}, []),
        ({"api_url": "https://a@evil.org/"}, {}, []),
        ({"api_url": "https://hub.org\\@evil.org/"}, {}, []),
        ({"api_url": "https://x/?q=1"}, {}, []),
        ({"api_url": "https://x:999999/"}, {}, []),
        ({"api_url": "https:///x"}, {}, []),
        ({"api_url": "file:///etc/passwd"}, {}, []),
        ({"api_url": "https://x/\r\nHost: y"}, {}, []),
        ({"api_url": "https://" + "x" * 5000}, {}, []),
        ({"collector": "unix:///run/hubmeter.sock"}, {}, []),
    ],
)
def test_where_the_collector_is_asked(link, environ, found):
    assert addresses(environ, link) == found


async def test_the_row_of_this_server_is_asked_for_with_its_own_token(hub):
    hub.answer(ROW)
    assert await asking(hub.url).server() == ROW
    assert hub.asked == [("GET", "/services/hubmeter/api/v1/users/jo/servers/gpu", f"token {TOKEN}", b"")]


async def test_hostile_names_stay_one_part_of_the_path(hub):
    hub.answer({"user": "../a b/ü@x", "server": ""})
    await asking(hub.url, JUPYTERHUB_USER="../a b/ü@x", JUPYTERHUB_SERVER_NAME="").server()
    assert hub.asked[0][1] == "/services/hubmeter/api/v1/users/..%2Fa%20b%2F%C3%BC%40x/server"


async def test_a_token_file_is_read_anew_each_time(hub, tmp_path):
    file = tmp_path / "token"
    hub.answer(ROW)
    one = asking(hub.url, HUBMETER_TOKEN_FILE=str(file))
    for token in ("first", "second"):
        file.write_text(token + "\n")
        await one.server()
    assert [asked[2] for asked in hub.asked] == ["token first", "token second"]
    file.unlink()
    with pytest.raises(Away, match="token"):
        await one.server()
    file.write_text("a\r\nX-Evil: 1")
    with pytest.raises(Away, match="characters"):
        await one.server()


@pytest.mark.parametrize("over", [{"user": "al"}, {"server": ""}, {"user": None}])
async def test_a_row_of_somebody_else_is_not_passed_on(hub, over):
    hub.answer({**ROW, **over})
    with pytest.raises(Away, match="another server"):
        await asking(hub.url).server()


async def test_verdicts_of_other_servers_are_left_out_and_the_rest_is_bounded(hub):
    other = {"user": "jo", "server": "", "episode": "other"}
    hub.answer(
        {"items": [other, 3, None, *[{**ROW, "episode": str(index)} for index in range(300)]], "next": None}
    )
    items = await asking(hub.url).verdicts()
    assert [one["episode"] for one in items] == [str(index) for index in range(collector.VERDICTS_MAX)]
    assert "state=all&user=jo" in hub.asked[0][1]


@pytest.mark.parametrize(
    "columns",
    [None, 3, {"time": 3}, {"time": ["a"], "rss_bytes": []}, {"time": ["a"], "rss_bytes": {"0": 1}}],
)
async def test_history_that_is_no_table_is_not_passed_on(hub, columns):
    hub.answer({"columns": columns})
    with pytest.raises(Away, match="column"):
        await asking(hub.url).history({"from": "-10m"})


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (dict(body=b"<html>", kind="text/html"), "no collector"),
        (dict(body=b"{", kind="application/json"), "no JSON"),
        (dict(body=b"[" * 100_000), "no JSON"),
        (dict(body=b'{"a": NaN}'), "no JSON"),
        (dict(body=b"x" * (collector.ANSWER_BYTES_MAX + 1)), "reached"),
        (dict(body={}, status=401, kind="application/problem+json"), "token"),
        (dict(body={}, status=403), "token"),
        (dict(body={}, status=404, kind="text/html"), "404"),
        (dict(body={}, status=503, kind="application/problem+json"), "503"),
        (dict(body=ROW, Location="http://127.0.0.2:1/", status=302), "302"),
    ],
)
async def test_an_answer_that_is_none_says_why(hub, answer, why):
    hub.answer(**answer)
    with pytest.raises(Away, match=why):
        await asking(hub.url).server()
    assert len(hub.asked) == 1, "no redirect is followed"


async def test_a_refusal_is_passed_on_with_its_words_cut(hub):
    hub.answer({"detail": "x" * 5000}, 422, "application/problem+json; charset=utf-8")
    with pytest.raises(Refused) as refused:
        await asking(hub.url).hold("2026-11-22T00:00:00Z")
    assert (refused.value.status, str(refused.value)) == (422, "x" * collector.DETAIL_CHARS_MAX)
    assert hub.asked[0][0::3] == ("PUT", b'{"until": "2026-11-22T00:00:00Z"}')


async def test_a_hold_that_policy_forbids_is_not_taken_for_a_bad_token(hub):
    hub.answer({"detail": "holds are off"}, 403, "application/problem+json")
    with pytest.raises(Refused, match="holds are off"):
        await asking(hub.url).hold(None)
    with pytest.raises(Away, match="token"):
        await asking(hub.url).server()


async def test_a_hold_is_taken_back(hub):
    hub.answer({"held_until": None})
    assert await asking(hub.url).hold(None) == {"held_until": None}
    assert hub.asked[0][:2] == ("DELETE", "/services/hubmeter/api/v1/users/jo/servers/gpu/hold")


async def test_an_address_that_answered_is_asked_first(hub):
    hub.answer(ROW)
    gone = "ws://127.0.0.1:1/services/hubmeter/link"
    said = {"JUPYTERHUB_USER": "jo", "JUPYTERHUB_SERVER_NAME": "gpu"}
    one = Collector(lambda: {"api_url": hub.url, "collector": gone}, logging.getLogger("test"), said)
    assert await one.server() == ROW
    assert one._last == hub.url
    assert hub.asked[0][2] is None, "without a hub there is no token"


async def test_nobody_there_and_a_silent_other_end_are_not_waited_for(monkeypatch):
    monkeypatch.setattr(collector, "ANSWER_S_MAX", 0.2)
    with pytest.raises(Away, match="reached"):
        await asking("http://127.0.0.1:1/").server()

    async def silent(reader, writer):
        await reader.read()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    with pytest.raises(Away, match="reached"):
        await asking(f"http://127.0.0.1:{port}/").server()
    server.close()


async def test_questions_that_wait_are_bounded(monkeypatch):
    one = asking("http://127.0.0.1:1/")
    one._waiting = collector.WAITING_MAX
    with pytest.raises(Refused):
        await one.server()


async def test_only_the_named_certificates_vouch_for_a_collector(tmp_path):
    none = tmp_path / "ca.pem"
    with pytest.raises(Away, match="certificates"):
        await asking("https://127.0.0.1:1/", HUBMETER_CA_FILE=str(none)).server()
    none.write_text("no certificate\n")
    with pytest.raises(Away, match="certificates"):
        await asking("https://127.0.0.1:1/", HUBMETER_CA_FILE=str(none)).server()
    with pytest.raises(Away, match="reached"):
        await asking("https://127.0.0.1:1/").server()


async def test_a_private_authority_vouches_for_a_collector_where_it_is_named_and_only_there(hub, tmp_path):
    certificates = pytest.importorskip("cryptography.x509", reason="comes with JupyterHub")
    ca, chain = authority(certificates, tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain)
    plain = hub.url.split("/")[2]

    async def pass_on(reader, writer):
        """TLS in front of the collector, as a proxy has it."""
        to_reader, to_writer = await asyncio.open_connection(*plain.split(":"))

        async def pump(source, sink):
            while part := await source.read(4096):
                sink.write(part)
            sink.close()

        await asyncio.gather(pump(reader, to_writer), pump(to_reader, writer))

    server = await asyncio.start_server(pass_on, "127.0.0.1", 0, ssl=context)
    url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    hub.answer(ROW)
    assert await asking(url, HUBMETER_CA_FILE=str(ca)).server() == ROW
    asked = len(hub.asked)
    with pytest.raises(Away, match="reached"):
        await asking(url).server()
    assert len(hub.asked) == asked, "no token was sent to whom nobody vouches for"
    server.close()


def authority(x509, folder):
    """An authority's certificate, and a server's for 127.0.0.1 with its key."""
    from datetime import datetime, timedelta, timezone
    from ipaddress import ip_address

    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    now = datetime.now(timezone.utc)

    def certificate(name, key, issuer, signer, extension):
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer or subject)
        builder = builder.public_key(key.public_key()).serial_number(x509.random_serial_number())
        builder = builder.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
        return builder.add_extension(extension, critical=True).sign(signer, hashes.SHA256())

    ca_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    ca = certificate("ca", ca_key, None, ca_key, x509.BasicConstraints(ca=True, path_length=None))
    names = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    own = certificate("collector", key, ca.subject, ca_key, names)
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "ca.pem").write_bytes(ca.public_bytes(pem))
    (folder / "chain.pem").write_bytes(own.public_bytes(pem) + private)
    return folder / "ca.pem", folder / "chain.pem"
