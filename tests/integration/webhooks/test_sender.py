"""The sender against real sockets. 127.0.0.2 stands for the internet (its range is opened), 127.0.0.1 for what is private."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from policies.addresses import Openings
from tests.integration.webhooks.receivers import OK, Received, answer, hang, receiving
from workers.webhooks.resolver import Lookup
from workers.webhooks.sender import Sender

PUBLIC, PRIVATE = "127.0.0.2", "127.0.0.1"
OPEN = Openings.parse([f"{PUBLIC}/32"], http=True, any_port=True)
HEADERS = {"content-type": "application/json", "webhook-id": "evt_1"}

NewSender = Callable[..., Sender]


@pytest.fixture
async def new_sender() -> AsyncIterator[NewSender]:
    made: list[Sender] = []

    def make(lookup: Lookup | None = None, **options: object) -> Sender:
        options = {"timeout_s": 5.0, "dns_cache_s": 0, **options}
        made.append(Sender(OPEN, lookup=lookup, **options))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for sender in made:
        await sender.aclose()


def answering(*rounds: list[str]) -> Lookup:
    """A name server that changes its mind from question to question; the last answer stays."""
    left = list(rounds)

    async def lookup(_: str, __: int) -> list[tuple[int, str]]:
        found = left.pop(0) if len(left) > 1 else left[0]
        return [(socket.AF_INET6 if ":" in address else socket.AF_INET, address) for address in found]

    return lookup


async def test_a_webhook_arrives_as_it_was_sent(new_sender: NewSender) -> None:
    async with receiving(host=PUBLIC) as receiver:
        outcome = await new_sender().post(receiver.url, HEADERS, b'{"a":1}')
    assert (outcome.status, outcome.error) == (204, None)
    [request] = receiver.requests
    assert request.line == "POST /hook?x=1 HTTP/1.1"
    assert request.body == b'{"a":1}'
    assert request.headers["host"] == f"{PUBLIC}:{receiver.port}"
    assert request.headers["webhook-id"] == "evt_1"
    assert not {"accept-encoding", "cookie", "transfer-encoding", "proxy-authorization"} & set(request.headers)


async def test_a_redirect_is_not_followed(new_sender: NewSender) -> None:
    async with receiving(host=PRIVATE) as inside:
        for status in (301, 302, 303, 307, 308):
            for location in (inside.url, "http://169.254.169.254/latest/meta-data/"):
                async with receiving(answer(status, f"Location: {location}"), host=PUBLIC) as receiver:
                    outcome = await new_sender().post(receiver.url, HEADERS, b"{}")
                assert (outcome.status, outcome.error) == (status, "redirect")
                assert receiver.connections == 1
        assert inside.connections == 0


async def test_a_name_that_moves_inside_between_two_tries_is_not_dialled(new_sender: NewSender) -> None:
    async with receiving(host=PUBLIC) as outside, receiving(host=PRIVATE) as inside:
        sender = new_sender(answering([PUBLIC], [PRIVATE]))
        url = f"http://hooks.example.com:{outside.port}/"
        assert (await sender.post(url, HEADERS, b"{}")).error is None
        # Another port, so that no connection is at hand and the name is looked up again.
        outcome = await sender.post(f"http://hooks.example.com:{inside.port}/", HEADERS, b"{}")
        assert (outcome.status, outcome.error) == (None, "blocked_address")
        assert outside.connections == 1
        assert inside.connections == 0


async def test_the_checked_answer_is_the_one_that_is_dialled(new_sender: NewSender) -> None:
    """A resolver that is asked twice for one try could lie the second time; it is asked once."""
    async with receiving(host=PUBLIC) as outside, receiving(host=PRIVATE) as inside:
        asked: list[str] = []
        changing = answering([PUBLIC], [PRIVATE])

        async def lookup(host: str, port: int) -> list[tuple[int, str]]:
            asked.append(host)
            return await changing(host, port)

        outcome = await new_sender(lookup).post(f"http://hooks.example.com:{outside.port}/", HEADERS, b"{}")
        assert outcome.error is None
        assert asked == ["hooks.example.com"]
        assert outside.requests[0].headers["host"] == f"hooks.example.com:{outside.port}"
        assert inside.connections == 0


@pytest.mark.parametrize(
    "addresses",
    [
        [PUBLIC, PRIVATE],
        [PRIVATE, PUBLIC],
        [PUBLIC, "::1"],
        ["::ffff:127.0.0.1"],
        ["64:ff9b::7f00:1"],
        ["2002:7f00:1::"],
        ["169.254.169.254"],
        ["10.0.0.1"],
        ["fe80::1%lo"],
        ["0.0.0.0"],
        ["::"],
        ["2130706433"],
    ],
)
async def test_one_forbidden_address_blocks_the_name(new_sender: NewSender, addresses: list[str]) -> None:
    async with receiving(host=PUBLIC) as outside, receiving(host=PRIVATE) as inside:
        for port in (outside.port, inside.port):
            outcome = await new_sender(answering(addresses)).post(f"http://hooks.example.com:{port}/", HEADERS, b"{}")
            assert (outcome.status, outcome.error) == (None, "blocked_address")
        assert (outside.connections, inside.connections) == (0, 0)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f.1",
        "0177.0.0.1",
        "localhost",
        "localhost.",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "0",
    ],
)
async def test_a_url_that_is_refused_at_registration_is_not_dialled_either(new_sender: NewSender, host: str) -> None:
    async with receiving(host=PRIVATE) as inside:
        outcome = await new_sender().post(f"http://{host}:{inside.port}/", HEADERS, b"{}")
        assert outcome.error == "blocked_address"
        assert inside.connections == 0


async def test_the_last_check_is_on_the_address_that_is_dialled(new_sender: NewSender) -> None:
    """Even if the resolver's check were gone, the socket would not be made."""
    sender = new_sender()
    async with receiving(host=PRIVATE) as inside:
        connector = sender._sessions["http"].connector
        assert connector is not None
        connector._resolver._openings = Openings.parse(["0.0.0.0/0"])  # type: ignore[attr-defined]
        connector._resolver._lookup = answering([PRIVATE])  # type: ignore[attr-defined]
        outcome = await sender.post(f"http://hooks.example.com:{inside.port}/", HEADERS, b"{}")
        assert outcome.error == "blocked_address"
        assert inside.connections == 0


async def test_plain_http_is_not_sent_outside_of_the_trusted_ranges() -> None:
    sender = Sender(Openings.parse([f"{PUBLIC}/32"]), timeout_s=5, lookup=answering(["93.184.215.14"]))
    for url in ("http://localhost:80/", "http://hooks.example.com/", "https://hooks.example.com:22/"):
        assert (await sender.post(url, HEADERS, b"{}")).error == "blocked_address"
    await sender.aclose()


async def test_a_proxy_of_the_environment_is_not_used(new_sender: NewSender, monkeypatch: pytest.MonkeyPatch) -> None:
    async with receiving(host=PRIVATE) as proxy, receiving(host=PUBLIC) as receiver:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://{PRIVATE}:{proxy.port}")
        assert (await new_sender().post(receiver.url, HEADERS, b"{}")).error is None
        assert proxy.connections == 0


async def test_cookies_are_not_kept(new_sender: NewSender) -> None:
    async with receiving(answer(200, "Set-Cookie: a=b; Path=/"), host=PUBLIC) as receiver:
        sender = new_sender()
        for _ in range(2):
            await sender.post(receiver.url, HEADERS, b"{}")
        assert "cookie" not in receiver.requests[1].headers


async def test_a_connection_is_used_again(new_sender: NewSender) -> None:
    async with receiving(answer(200, body=b"thanks"), host=PUBLIC) as receiver:
        sender = new_sender()
        for _ in range(5):
            assert (await sender.post(receiver.url, HEADERS, b"{}")).error is None
        assert receiver.connections == 1


async def test_an_idle_connection_that_the_receiver_closed_costs_no_try(new_sender: NewSender) -> None:
    async def closes_on_the_second(_: Received, writer: asyncio.StreamWriter) -> bool:
        if len(receiver.requests) == 2:
            return False
        writer.write(OK)
        return True

    async with receiving(closes_on_the_second, host=PUBLIC) as receiver:
        sender = new_sender()
        for _ in range(2):
            assert (await sender.post(receiver.url, HEADERS, b"{}")).error is None
        assert receiver.connections == 2


async def test_an_endless_answer_is_cut_off(new_sender: NewSender) -> None:
    async def pour(_: Received, writer: asyncio.StreamWriter) -> bool:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n")
        while True:
            writer.write(b"x" * 65536)
            await writer.drain()

    async with receiving(pour, host=PUBLIC) as receiver:
        outcome = await new_sender().post(receiver.url, HEADERS, b"{}")
        assert (outcome.status, outcome.error) == (200, None)
        await asyncio.wait_for(receiver.closed_early.wait(), 10)


async def test_a_trickling_answer_is_not_waited_for(new_sender: NewSender) -> None:
    async def trickle(_: Received, writer: asyncio.StreamWriter) -> bool:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nx")
        return await hang(_, writer)

    async with receiving(trickle, host=PUBLIC) as receiver:
        outcome = await new_sender(timeout_s=30).post(receiver.url, HEADERS, b"{}")
        assert (outcome.status, outcome.error) == (200, None)


async def test_a_bomb_is_not_unpacked(new_sender: NewSender) -> None:
    async with receiving(answer(200, "Content-Encoding: gzip", body=b"not gzip at all"), host=PUBLIC) as receiver:
        assert (await new_sender().post(receiver.url, HEADERS, b"{}")).error is None


async def test_a_receiver_that_hangs_times_out(new_sender: NewSender) -> None:
    async with receiving(hang, host=PUBLIC) as receiver:
        outcome = await new_sender(timeout_s=0.2).post(receiver.url, HEADERS, b"{}")
        assert (outcome.status, outcome.error) == (None, "timeout")


@pytest.mark.parametrize(
    ("reply", "status", "error"),
    [
        (answer(200), 200, None),
        (answer(299), 299, None),
        (answer(400), 400, "http_error"),
        (answer(410), 410, "gone"),
        (answer(503), 503, "http_error"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", None, "bad_response"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n", None, "bad_response"),
    ],
)
async def test_an_answer_is_judged_by_its_status(
    new_sender: NewSender, reply: bytes, status: int | None, error: str | None
) -> None:
    async with receiving(reply, host=PUBLIC) as receiver:
        outcome = await new_sender().post(receiver.url, HEADERS, b"{}")
        assert (outcome.status, outcome.error) == (status, error)


async def test_retry_after_is_reported(new_sender: NewSender) -> None:
    async with receiving(answer(429, "Retry-After: 120"), host=PUBLIC) as receiver:
        assert (await new_sender().post(receiver.url, HEADERS, b"{}")).retry_after_s == 120


async def test_no_connection_and_no_name_are_told_apart(new_sender: NewSender) -> None:
    async with receiving(host=PUBLIC) as receiver:
        url = receiver.url
    assert (await new_sender().post(url, HEADERS, b"{}")).error == "connect_error"

    async def unknown(_: str, __: int) -> list[tuple[int, str]]:
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    assert (await new_sender(unknown).post("https://nowhere.example/", HEADERS, b"{}")).error == "dns_error"


def _certificate(name: str, folder: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Contexts of a server that shows a certificate for `name`, and of a client that trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = folder / f"{name}.pem"
    plain = serialization.NoEncryption()
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    pem.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(pem)
    return server, ssl.create_default_context(cafile=str(pem))


async def test_tls_is_checked_against_the_name_and_not_the_address(new_sender: NewSender, tmp_path: Path) -> None:
    tls, trust = _certificate("hooks.example.com", tmp_path)
    asked: list[str | None] = []
    tls.sni_callback = lambda _, name, __: asked.append(name)
    async with receiving(host=PUBLIC, tls=tls) as receiver:
        sender = new_sender(answering([PUBLIC]), ssl_context=trust)
        assert (await sender.post(f"https://hooks.example.com:{receiver.port}/", HEADERS, b"{}")).error is None
        assert asked == ["hooks.example.com"]
        assert (await sender.post(f"https://other.example.com:{receiver.port}/", HEADERS, b"{}")).error == "tls_error"
        untrusting = new_sender(answering([PUBLIC]))
        assert (
            await untrusting.post(f"https://hooks.example.com:{receiver.port}/", HEADERS, b"{}")
        ).error == "tls_error"
        assert len(receiver.requests) == 1
