"""HTTPS with a certificate of a house's own authority."""

from __future__ import annotations

import datetime
import ipaddress

import pytest
from reverse_proxy import reverse_proxy
from test_images import DATA, HERE, reply, serve

from cdsel_backend.labelstudio.client import LabelStudio, LabelStudioUnreachable
from cdsel_backend.labelstudio.images import ImageReader, ImageUnavailable
from cdsel_backend.settings import read_server_settings

x509 = pytest.importorskip("cryptography.x509", reason="certificates are made with cryptography")
from cryptography.hazmat.primitives import hashes, serialization  # noqa: E402
from cryptography.hazmat.primitives.asymmetric import ec  # noqa: E402


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    """The files of an authority's certificate, of a server's for 127.0.0.1, and of the server's key."""
    folder = tmp_path_factory.mktemp("authority")
    now = datetime.datetime.now(datetime.timezone.utc)
    keys = {name: ec.generate_private_key(ec.SECP256R1()) for name in ("ca", "server")}
    names = {
        name: x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, f"cdsel test {name}")]) for name in keys
    }
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(keys["ca"].public_key())
    for name, key in keys.items():
        is_ca = name == "ca"
        usage = dict.fromkeys(
            ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement"), False
        )
        usage |= {"encipher_only": False, "decipher_only": False, "digital_signature": True}
        certificate = (
            x509.CertificateBuilder()
            .subject_name(names[name])
            .issuer_name(names["ca"])
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
            .add_extension(x509.KeyUsage(**usage, key_cert_sign=is_ca, crl_sign=is_ca), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(issuer, critical=False)
            .add_extension(
                x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
                critical=False,
            )
            .sign(keys["ca"], hashes.SHA256())
        )
        (folder / f"{name}.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private = keys["server"].private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "key.pem").write_bytes(private)
    return str(folder / "ca.pem"), str(folder / "server.pem"), str(folder / "key.pem")


@pytest.mark.parametrize("name", ["CDSEL_CA_BUNDLE", "REQUESTS_CA_BUNDLE"])
def test_a_certificate_of_an_own_authority_is_trusted_where_a_setting_names_it(authority, monkeypatch, name):
    bundle, certificate, key = authority
    for unset in ("CDSEL_CA_BUNDLE", "REQUESTS_CA_BUNDLE"):
        monkeypatch.delenv(unset, raising=False)

    def answer(request):
        if request.path.startswith("/api/"):
            reply(request, 200, b'{"release": "1.23.2", "templates": []}')
        else:
            reply(request, 200, DATA)

    with serve(answer) as (target, _), reverse_proxy("/ls", certificate=(certificate, key)) as proxy:
        proxy.target = target
        stranger = LabelStudio(proxy.url, "0" * 40, image_hosts=HERE)
        with pytest.raises(LabelStudioUnreachable, match="CDSEL_CA_BUNDLE"):
            stranger.version()
        elsewhere = LabelStudio("http://127.0.0.1:9", "0" * 40, image_hosts=HERE)
        with pytest.raises(ImageUnavailable, match="CDSEL_CA_BUNDLE"):
            ImageReader(elsewhere).read(f"{proxy.url}/a.png", 1)

        monkeypatch.setenv(name, bundle)
        client = LabelStudio(proxy.url, "0" * 40, image_hosts=HERE)
        assert client.version() == "1.23.2"
        assert ImageReader(client).read("/data/upload/1/a.png", 1) == DATA
        elsewhere = LabelStudio("http://127.0.0.1:9", "0" * 40, image_hosts=HERE)
        assert ImageReader(elsewhere).read(f"{proxy.url}/a.png", 1) == DATA


@pytest.mark.parametrize("name", ["CDSEL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"])
def test_a_bundle_that_is_none_is_named(tmp_path, monkeypatch, name):
    monkeypatch.setenv(name, str(tmp_path / "none.pem"))
    with pytest.raises(ValueError, match=rf"^{name} = .*none\.pem': there is no such file"):
        read_server_settings()
    (tmp_path / "none.pem").write_text("no certificate")
    with pytest.raises(ValueError, match=rf"^{name} = .*PEM"):
        read_server_settings()


def test_a_bundle_that_is_gone_since_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("CDSEL_CA_BUNDLE", str(tmp_path / "none.pem"))
    with pytest.raises(ValueError, match="PEM"):
        LabelStudio("https://127.0.0.1:9", "0" * 40)
