"""The dashboard below a path prefix, through a real reverse proxy that takes the prefix away."""

from __future__ import annotations

import re
from contextlib import closing

import pytest
from browsing import wait_until
from conftest import served
from filled import POOL
from playwright.sync_api import expect
from reverse_proxy import reverse_proxy

from cdsel_backend.server.app import create_app

PREFIX = "/tools/cdsel"
PROXY = "127.0.0.1"
ADDRESS = re.compile(r'(?:href|src|action|data-[\w-]+)="(/[^"]*)"')


def below(filled, **settings):
    """The server's settings with a login and these."""
    login = {"basic_auth_user": "admin", "basic_auth_pass": "for-the-test"}
    return filled.server.model_copy(update={**login, **settings})


def test_a_prefix_is_believed_of_the_trusted_proxy_and_of_the_setting_only(filled):
    said = {"X-Forwarded-Prefix": PREFIX, "X-Forwarded-Proto": "https", "X-Forwarded-For": "203.0.113.9"}
    for settings, headers, prefix in (
        ({}, said, ""),
        ({"trusted_proxy": "10.0.0.1"}, said, ""),
        ({"trusted_proxy": PROXY}, said, PREFIX),
        ({"trusted_proxy": PROXY}, {"X-Forwarded-Prefix": "//evil.org"}, ""),
        ({"trusted_proxy": PROXY}, {"X-Forwarded-Prefix": '/a"b'}, ""),
        ({"dashboard_url": f"http://localhost{PREFIX}"}, {}, PREFIX),
        ({"dashboard_url": f"http://localhost{PREFIX}"}, said, PREFIX),
    ):
        client = create_app(below(filled, **settings), filled.store).test_client()
        for asked in {"", prefix}:  # taken away by the proxy, or handed on
            reply = client.get(f"{asked}/projects/{POOL}?page=2", headers={"Accept": "text/html", **headers})
            assert reply.status_code == 303
            assert reply.headers["Location"] == f"{prefix}/login?next={prefix}/projects/{POOL}%3Fpage%3D2"
            page = client.get(f"{asked}/login", headers=headers)
            assert page.status_code == 200
            assert all(address.startswith(f"{prefix}/") for address in ADDRESS.findall(page.text))
            cookie = page.headers.get("Set-Cookie", "")
            assert f"Path={prefix or '/'}" in cookie.split("; ") or not cookie
    bare = client.get("/", headers={"Accept": "text/html"})
    assert bare.headers["Location"] == f"{PREFIX}/projects"
    assert client.get("/").json["status"] == "UP"


@pytest.mark.parametrize("by_setting", [True, False])
def test_an_admin_clicks_through_below_a_prefix(filled, tab, by_setting):
    with reverse_proxy(PREFIX) as proxy:
        proxy.headers = {} if by_setting else {"X-Forwarded-Prefix": PREFIX}
        settings = {"dashboard_url": proxy.url} if by_setting else {"trusted_proxy": PROXY}
        with served(below(filled, **settings), filled.store) as direct, closing(tab()) as page:
            proxy.target = direct
            failed = []
            page.on("response", lambda reply: failed.append(reply.url) if reply.status >= 400 else None)
            page.goto(f"{proxy.url}/projects/{POOL}/queue")
            page.get_by_label("User").fill("admin")
            page.get_by_label("Password").fill("for-the-test")
            page.get_by_role("button", name="Sign in").click()
            page.wait_for_url(f"{proxy.url}/projects/{POOL}/queue")
            loaded = "[...document.querySelectorAll('img.thumb')].some(one => one.naturalWidth > 1)"
            wait_until(page, loaded)
            for name in ("Overview", "Confounders", "Map", "Models", "Settings", "Activity"):
                page.get_by_role("navigation").get_by_role("link", name=name, exact=True).click()
                part = "" if name == "Overview" else f"/{name.lower()}"
                expect(page).to_have_url(f"{proxy.url}/projects/{POOL}{part}")
                page.wait_for_load_state("networkidle")
            page.locator("a.help").click()
            expect(page).to_have_url(re.compile(f"^{re.escape(proxy.url)}/help#"))
            page.wait_for_load_state("networkidle")
            page.locator("a.mark").click()
            page.wait_for_url(f"{proxy.url}/projects")
            wait_until(page, "getComputedStyle(document.querySelector('header.top')).display !== ''")
            page.get_by_role("button", name="Sign out").click()
            page.wait_for_url(f"{proxy.url}/login")
            assert failed == []
            # What browsers ask for by themselves.
            assert set(proxy.missed) <= {"/favicon.ico"}
