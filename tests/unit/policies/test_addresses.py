import ipaddress
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.addresses import METADATA, Openings, Target, UrlRefused, check_url, dial_refusal, refusal

CLOSED = Openings()
LOOPBACK = Openings.parse(["127.0.0.0/8", "::1/128"])

PRIVATE_V4 = [
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "100.64.0.1",
    "100.127.255.254",
    "127.0.0.1",
    "127.255.255.254",
    "169.254.1.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.8",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.19.255.255",
    "198.51.100.7",
    "203.0.113.9",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
]
PRIVATE_V6 = [
    "::",
    "::1",
    "::127.0.0.1",
    "::8.8.8.8",
    "::ffff:10.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::808:808",
    "64:ff9b:1::1",
    "100::1",
    "2001::1",
    "2001:10::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "2002:808:808::1",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd12:3456::1",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
    "2606:4700::5efe:10.0.0.1",
    "4000::1",
    "1::1",
]
PUBLIC = [
    "8.8.8.8",
    "1.1.1.1",
    "172.32.0.1",
    "100.128.0.1",
    "2606:4700:4700::1111",
    "2001:4860:4860::8888",
    "::ffff:8.8.8.8",
]


@pytest.mark.parametrize("address", PRIVATE_V4 + PRIVATE_V6 + sorted(map(str, METADATA)))
def test_an_address_that_is_not_public_is_refused(address: str) -> None:
    assert refusal(address, CLOSED)


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_may_be_dialled(address: str) -> None:
    assert refusal(address, CLOSED) is None


def test_text_that_is_no_address_is_refused() -> None:
    assert refusal("example.com", CLOSED) == "not an IP address"


private_v4 = st.sampled_from(PRIVATE_V4).map(ipaddress.IPv4Address) | st.ip_addresses(network="10.0.0.0/8")
EMBEDDINGS = {
    "mapped": lambda n: (0xFFFF << 32) | n,
    "compatible": lambda n: n,
    "nat64": lambda n: (0x0064FF9B << 96) | n,
    "local nat64": lambda n: (0x0064FF9B0001 << 80) | n,
    "6to4": lambda n: (0x2002 << 112) | (n << 80) | 1,
    "teredo": lambda n: (0x20010000 << 96) | (n ^ 0xFFFFFFFF),
    "isatap": lambda n: (0x26064700 << 96) | (0x5EFE << 32) | n,
}


@given(private_v4, st.sampled_from(sorted(EMBEDDINGS)))
def test_a_private_address_is_refused_in_every_embedding(address: ipaddress.IPv4Address, embedding: str) -> None:
    assert refusal(ipaddress.IPv6Address(EMBEDDINGS[embedding](int(address))), CLOSED)


@given(st.ip_addresses(v=6))
def test_of_ipv6_only_global_unicast_is_ever_allowed(address: ipaddress.IPv6Address) -> None:
    if refusal(address, CLOSED) is None:
        assert address in ipaddress.IPv6Network("2000::/3") or address.ipv4_mapped is not None


@given(st.ip_addresses())
def test_what_the_standard_library_calls_private_is_refused(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    if not address.is_global:
        assert refusal(address, CLOSED)


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_and_its_mapped_form_are_judged_alike(address: ipaddress.IPv4Address) -> None:
    mapped = ipaddress.IPv6Address((0xFFFF << 32) | int(address))
    assert refusal(address, CLOSED) == refusal(mapped, CLOSED)
    assert refusal(address, LOOPBACK) == refusal(mapped, LOOPBACK)


def test_an_opened_range_is_dialled_and_its_neighbours_are_not() -> None:
    assert refusal("127.0.0.1", LOOPBACK) is None
    assert refusal("::ffff:127.0.0.1", LOOPBACK) is None
    assert refusal("10.0.0.1", LOOPBACK)
    assert refusal("64:ff9b::7f00:1", LOOPBACK)


def test_an_opened_translator_range_does_not_open_what_it_translates_to() -> None:
    nat64 = Openings.parse(["64:ff9b::/96"])
    assert refusal("64:ff9b::808:808", nat64) is None
    assert refusal("64:ff9b::7f00:1", nat64)


@pytest.mark.parametrize("address", sorted(map(str, METADATA)))
def test_metadata_is_opened_only_by_its_very_address(address: str) -> None:
    assert refusal(address, Openings.parse(["0.0.0.0/0", "::/0"])) == "metadata address"
    assert refusal(address, Openings.parse([address])) is None


def test_a_zone_does_not_hide_a_metadata_address() -> None:
    assert refusal("fd00:ec2::254%eth0", Openings.parse(["fd00::/8"])) == "metadata address"


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/hook",
        "https://example.com",
        "https://EXAMPLE.com:8443/a?b=c",
        "https://8.8.8.8/",
        "https://[2606:4700::1]/x",
        "https://bücher.example/",
        "https://xn--bcher-kva.example/",
        "https://not-there.invalid/",
        "https://a_b.example.com./",
    ],
)
def test_a_public_https_url_is_accepted(url: str) -> None:
    assert check_url(url, CLOSED).scheme == "https"


REFUSED = [
    "http://example.com/",
    "ftp://example.com/",
    "file:///etc/passwd",
    "gopher://example.com/",
    "data:text/plain,x",
    "https://",
    "https:///x",
    "",
    "x",
    "//example.com",
    "https://user@example.com/",
    "https://user:pw@example.com/",
    "https://@example.com/",
    "https://example.com/#a",
    "https://example.com/#",
    "https://example.com:22/",
    "https://example.com:6379/",
    "https://example.com:80/",
    "https://example.com:0/",
    "https://example.com:99999/",
    "https://example.com:x/",
    "https://localhost/",
    "https://localhost./",
    "https://LOCALHOST/",
    "https://a.localhost/",
    "https://ｌｏｃａｌｈｏｓｔ/",
    "https://metadata.google.internal/",
    "https://metadata.google.internal./",
    "https://printer.local/",
    "https://internal/",
    "https://metadata/",
    "https://metadata./",
    "https://intranet:8443/hook",
    "https://127.0.0.1/",
    "https://127.0.0.1./",
    "https://127.1/",
    "https://2130706433/",
    "https://0x7f.1/",
    "https://0x7f000001/",
    "https://0177.0.0.1/",
    "https://0/",
    "https://0x/",
    "https://[::1]/",
    "https://[::]/",
    "https://[::ffff:127.0.0.1]/",
    "https://[::ffff:7f00:1]/",
    "https://[64:ff9b::7f00:1]/",
    "https://[fe80::1%25eth0]/",
    "https://169.254.169.254/latest/",
    "https://[fd00:ec2::254]/",
    "https://１２７.０.０.１/",
    "https://127。0。0。1/",
    "https://①②⑦.0.0.1/",
    "https://10.0.0.1:8443/",
    "https://256.256.256.256/",
    "https://1.2.3/",
    "https://example.com\\@127.0.0.1/",
    "https://exa mple.com/",
    "https://example.com/\r\nHost: x",
    "\thttps://example.com/",
    "https://example.com/\x00",
    "https://127.0.0.%31/",
    "https://a..b/",
    "https://-/",
    "https://[::1/",
    "https://[v1.x]/",
    "https://" + "a" * 64 + ".com/",
    "https://example.com/" + "a" * 3000,
    "https://xn--/",
    "https://ex\u200dample\u2028.com/",
]


@pytest.mark.parametrize("url", REFUSED)
def test_a_hostile_url_is_refused_with_a_reason(url: str) -> None:
    with pytest.raises(UrlRefused) as refused:
        check_url(url, CLOSED)
    assert str(refused.value)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("https://127.0.0.1/", "it points to a loopback address"),
        ("https://0.0.0.1/", "it points to an unspecified address"),
        ("https://[::8.8.8.8]/", "it points to an IPv4-compatible address"),
        ("https://[4000::1]/", "it does not point to a global unicast address"),
        ("https://169.254.169.254/", "it points to a metadata address"),
        ("https://metadata/", "host names without a dot are refused"),
    ],
)
def test_the_reason_is_half_a_sentence_about_the_url(url: str, reason: str) -> None:
    with pytest.raises(UrlRefused) as refused:
        check_url(url, CLOSED)
    assert str(refused.value) == reason


def test_a_name_without_a_dot_is_for_operators_who_opened_a_private_network() -> None:
    with pytest.raises(UrlRefused):
        check_url("https://receiver/", LOOPBACK)
    assert check_url("https://receiver/", Openings.parse(["172.16.0.0/12"])).host == "receiver"


def _spell(number: int, base: str) -> str:
    return {"dec": str(number), "oct": f"0{number:o}", "hex": f"0x{number:x}", "HEX": f"0X{number:X}"}[base]


@given(
    st.sampled_from(PRIVATE_V4).map(lambda text: int(ipaddress.IPv4Address(text))),
    st.integers(1, 4),
    st.lists(st.sampled_from(["dec", "oct", "hex", "HEX"]), min_size=4, max_size=4),
    st.sampled_from(["", "."]),
    st.booleans(),
)
def test_no_spelling_of_a_private_ipv4_address_passes(
    number: int, parts: int, bases: list[str], dot: str, wide: bool
) -> None:
    head = [(number >> (24 - 8 * i)) & 0xFF for i in range(parts - 1)]
    host = ".".join(
        _spell(n, base) for n, base in zip([*head, number & (0xFFFFFFFF >> (8 * (parts - 1)))], bases, strict=False)
    )
    assert socket.inet_aton(host) == number.to_bytes(4, "big")
    if wide:
        host = "".join(chr(ord(char) + 0xFEE0) for char in host)
    with pytest.raises(UrlRefused):
        check_url(f"https://{host}{dot}/", CLOSED)


@given(st.text(max_size=40), st.text(max_size=40))
def test_any_text_is_either_refused_or_a_target(host: str, path: str) -> None:
    try:
        target = check_url(f"https://{host}/{path}", CLOSED)
    except UrlRefused:
        return
    assert target.host.isascii() and target.port in (443, 8443)
    assert target.address is None or refusal(target.address, CLOSED) is None


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:9999/hook", "http://localhost:8080/", "https://localhost/", "http://[::1]:81/"]
)
def test_an_opened_loopback_takes_http_and_any_port(url: str) -> None:
    assert check_url(url, LOOPBACK)


@pytest.mark.parametrize(
    "url",
    ["http://example.com/", "https://example.com:9000/", "http://10.0.0.1/", "https://127.1/", "https://x.internal/"],
)
def test_an_opened_loopback_opens_nothing_else(url: str) -> None:
    with pytest.raises(UrlRefused):
        check_url(url, LOOPBACK)


def test_http_and_ports_can_be_opened_for_public_names() -> None:
    openings = Openings.parse([], http=True, any_port=True)
    assert check_url("http://example.com:9000/", openings) == Target("http", "example.com", 9000, None)
    assert dial_refusal(Target("http", "example.com", 9000, None), "8.8.8.8", openings) is None


def test_plain_http_to_a_name_is_dialled_only_inside_the_trusted_ranges() -> None:
    target = Target("http", "localhost", 9000, None)
    assert dial_refusal(target, "127.0.0.1", LOOPBACK) is None
    assert dial_refusal(target, "8.8.8.8", LOOPBACK)
    assert dial_refusal(Target("https", "example.com", 9000, None), "8.8.8.8", LOOPBACK)
    assert dial_refusal(Target("https", "example.com", 443, None), "8.8.8.8", LOOPBACK) is None
