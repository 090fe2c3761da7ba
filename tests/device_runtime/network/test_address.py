import pytest

from device_runtime.network.address import InsecureAddress, check_address


@pytest.mark.parametrize(
    "address", ["https://keys.example.org/", "http://127.0.0.1:8000", "http://localhost:1", "http://[::1]:80"]
)
def test_secure_addresses_are_taken(address):
    assert check_address(address) == address.rstrip("/")


@pytest.mark.parametrize(
    "address",
    [
        "http://keys.example.org",
        "http://127.0.0.1.example.org",
        "http://localhost.example.org",
        "ftp://127.0.0.1",
        "https://user:word@keys.example.org",
        "https://",
        "https://host:port",
        "",
        "keys.example.org",
        "file:///etc/passwd",
    ],
)
def test_other_addresses_are_refused(address):
    with pytest.raises(InsecureAddress) as error:
        check_address(address)
    assert "user:word" not in str(error.value)
