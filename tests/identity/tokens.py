"""The kinds of token, each as it comes into the world, and what each must be to the collector."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

import requests
from bed import Bed, Failed

# The shortest life a token can be given.
EXPIRES_SECONDS = 1


@dataclass(frozen=True)
class Kind:
    """One kind of token, and whose reports it may bring."""

    name: str
    token: str | None
    # Whose rows its agent writes: (user, server), or none at all.
    writes: tuple[str, str] | None
    # What the collector says of it where it does not pass.
    why: str
    # Statuses by route, in the order of `matrix.ROUTES`. To read, a token must be known and its
    # scopes say what; one that may not report may still read what is its owner's.
    reads: tuple[int, ...]


def all_kinds(bed: Bed) -> list[Kind]:
    """Every kind, made for real. Servers of Ann, Bob, Nora and the admin run."""
    ann = bed.start_server("ann")
    gpu = bed.start_server("ann", "gpu-1")
    bob = bed.start_server("bob")
    nora = bed.start_server("nora")
    admin = bed.start_server("admin")
    revoked = bed.start_server("tom")
    bed.stop_server("tom")
    own = ["access:servers!server=ann/", "users:activity!user=ann"]
    expired = bed.mint("ann", own, expires_in=EXPIRES_SECONDS)
    minted = bed.mint("ann", own)
    broad = bed.mint("ann")
    both = bed.mint("ann", [*own, "access:servers!server=ann/gpu-1"])
    helper = bed.mint("tom", ["access:servers!server=ann/", "users:activity!user=tom"])
    boss = bed.mint("admin")
    visitor = visit(bed, "tom", "ann", ann)
    owner = visit(bed, "ann", "ann", ann)
    time.sleep(EXPIRES_SECONDS + 1)
    unknown, wrong = "does not know this token", "not a single-user server's own"
    none_of_ours = (401, 401, 401, 401, 401)
    return [
        Kind("her server's", ann, ("ann", ""), "", (200, 200, 404, 200, 403)),
        Kind("her named server's", gpu, ("ann", "gpu-1"), "", (200, 200, 404, 200, 403)),
        Kind("somebody else's server's", bob, ("bob", ""), "", (200, 404, 200, 200, 403)),
        Kind("an admin's server's", admin, ("admin", ""), "", (200, 404, 404, 200, 403)),
        Kind("self-minted, the server's scopes", minted, ("ann", ""), "", (200, 200, 404, 200, 403)),
        Kind("self-minted, all of hers", broad, None, wrong, (200, 200, 404, 200, 403)),
        Kind("self-minted, two servers", both, None, wrong, (200, 200, 404, 200, 403)),
        Kind("wrong server: a helper's own", helper, None, wrong, (403, 403, 403, 403, 403)),
        Kind("visitor's, by OAuth", visitor, None, wrong, (403, 403, 403, 403, 403)),
        Kind("owner's browser's, by OAuth", owner, None, wrong, (403, 403, 403, 403, 403)),
        Kind("narrowed by server_token_scopes", nora, None, wrong, (403, 403, 403, 403, 403)),
        Kind("an admin's own", boss, None, wrong, (200, 200, 200, 200, 200)),
        Kind("our own service's", bed.secrets["service"], None, wrong, (200, 200, 200, 200, 200)),
        Kind("another service's, reads all", bed.secrets["script"], None, wrong, (200, 200, 200, 200, 200)),
        Kind("a service's, manages users", bed.secrets["tests"], None, wrong, (200, 200, 200, 200, 403)),
        Kind("revoked with its server", revoked, None, unknown, none_of_ours),
        Kind("expired", expired, None, unknown, none_of_ours),
        Kind("garbage", "f" * 32, None, unknown, none_of_ours),
        Kind("too long", "f" * 4096, None, "no usable bearer token", none_of_ours),
        Kind("none", None, None, "no usable bearer token", none_of_ours),
    ]


def visit(bed: Bed, visitor: str, owner: str, secret: str) -> str:
    """The token that `owner`'s server holds when `visitor` opens it in a browser."""
    browser = requests.Session()
    login = f"{bed.url}/hub/login"
    browser.get(login, timeout=30)
    form = {
        "username": visitor,
        "password": bed.secrets["password"],
        "_xsrf": browser.cookies.get("_xsrf", path="/hub/"),
    }
    browser.post(login, data=form, timeout=30)
    callback = f"/user/{owner}/oauth_callback"
    asked = {
        "client_id": f"jupyterhub-user-{owner}",
        "redirect_uri": callback,
        "response_type": "code",
        "state": "x",
    }
    authorize = f"{bed.url}/hub/api/oauth2/authorize"
    answer = browser.get(authorize, params=asked, allow_redirects=False, timeout=30)
    if answer.status_code == 200:  # the visitor is asked for consent
        xsrf = re.search(r'name="_xsrf" value="([^"]+)"', answer.text)
        scopes = re.findall(r'name="scopes"\s+value="([^"]+)"', answer.text)
        scopes += re.findall(r'value="([^"]+)"\s+name="scopes"', answer.text)
        form = {"scopes": scopes, "_xsrf": xsrf[1] if xsrf else browser.cookies.get("_xsrf", path="/hub/")}
        answer = browser.post(
            authorize,
            params=asked,
            data=form,
            headers={"Referer": answer.url},
            allow_redirects=False,
            timeout=30,
        )
    code = parse_qs(urlsplit(answer.headers.get("Location", "")).query).get("code")
    if not code:
        raise Failed(f"no code for {visitor} at {owner}'s: {answer.status_code} {answer.text[-500:]}")
    traded = requests.post(
        f"{bed.url}/hub/api/oauth2/token",
        data={
            "client_id": asked["client_id"],
            "client_secret": secret,
            "grant_type": "authorization_code",
            "code": code[0],
            "redirect_uri": callback,
        },
        timeout=30,
    )
    return traded.json()["access_token"]
