"""What the pool of connections remembers."""

import httpx

from workers.providers.transport import PooledTransport


def test_addresses_that_are_asked_once_are_not_remembered_for_ever() -> None:
    """Each file and each batch of a Batch API has an address of its own."""
    transport = PooledTransport()
    for number in range(5_000):
        url = httpx.URL(f"http://upstream.test/v1/files/file-{number}/content")
        assert str(transport._url(url)) == str(url)
    assert len(transport._urls) < 2_000
